"""What moments are expected to take is what they do: budgets of memory go by it."""

from __future__ import annotations

import numpy as np
import pytest

from sepfactor.factor import Stage
from sepfactor.factor.moment_sums import ROWS_FROM, _Inputs
from sepfactor.fit import settings
from sepfactor.threads import Threads


@pytest.mark.parametrize(("group", "entries"), [(1, 40), (6, 40), (1, ROWS_FROM), (2, ROWS_FROM)])
def test_what_they_take_is_foreseen(monkeypatch: pytest.MonkeyPatch, group: int, entries: int) -> None:
    """Also of many groups of few entries, of which matrices are formed however few patches were seen."""
    monkeypatch.setattr(settings, "_ENTRIES", 2 * entries**2 - 1)
    stage = Stage.pointwise(np.zeros((group, entries), np.float32), group=group)
    foreseen = settings.moment_bytes(stage) // 2
    held = _Inputs(group, entries, Threads())
    assert (held._sums is None) == (entries >= ROWS_FROM)
    formed = 8 * group * entries**2
    assert foreseen == (formed if entries < ROWS_FROM or group == 1 else 4 * settings._ENTRIES)
