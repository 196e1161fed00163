"""Networks that were built and are not likely to be asked for again take no memory."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sepfactor
from sepfactor.search import planner
from tests.fit.small import residual_network, smooth
from tests.timing import fit_briefly, times_by_macs


@pytest.mark.parametrize("asked", [{"min_snr": 15.0}, {"max_macs": "60%"}], ids=str)
def test_two_networks_at_most_are_held(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    times_by_macs(monkeypatch)
    fit_briefly(monkeypatch)
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", x=smooth(16))
    made: list[weakref.ref[Any]] = []
    alive: list[int] = []
    build = planner.build

    def noted(*arguments: Any) -> Any:
        gc.collect()
        alive.append(sum(one() is not None for one in made))
        built = build(*arguments)
        made.append(weakref.ref(built.model))
        return built

    monkeypatch.setattr(planner, "build", noted)
    sepfactor.compress(residual_network(), data="data.npz", bench_seconds=0, **asked)
    assert len(alive) >= 3
    assert max(alive) <= 2
