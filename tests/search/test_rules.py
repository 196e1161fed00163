"""By a rule the best candidate that measures faster is taken; without one the layer is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sepfactor
from sepfactor.codes import Reason
from sepfactor.factor import Factorization, Stage
from sepfactor.plans.document import PlannedLayer
from sepfactor.search import rules
from sepfactor.search.candidate import Candidate, Factorized
from sepfactor.search.candidates import Proposal
from sepfactor.search.layer_timing import LayerTime, LayerTimer
from sepfactor.search.stored import StoredFactorization
from tests.fit.small import residual_network, smooth
from tests.strategies import unpadded
from tests.timing import decide_engine


def timed(low: float, speedup: float, high: float, *, blocked: bool = True) -> LayerTime:
    return LayerTime(1.0, 1.0 / speedup, speedup, low, high, blocked)


FASTER, SLOWER, SAME = timed(1.2, 1.3, 1.4), timed(0.5, 0.6, 0.7), timed(0.98, 1.01, 1.04)
FASTEST, UNBLOCKED = timed(2.2, 2.3, 2.4), timed(3.2, 3.3, 3.4, blocked=False)


def candidate(name: str, *, exact: bool = False) -> Factorized:
    stage: Stage = unpadded(np.ones((1, 1, 1, 1)))
    return Factorized(
        scheme=name,
        form="a → b",
        rank=(16,),
        stored=StoredFactorization(Factorization.of(stage)),
        macs=1,
        weight_error=0.1,
        output_error=0.1,
        weighted_error=0.1,
        exact=exact,
    )


def first_layer(
    monkeypatch: pytest.MonkeyPatch,
    times: Sequence[LayerTime],
    *,
    exact: Sequence[int] = (),
    reason: Reason | None = None,
    **rule: Any,
) -> PlannedLayer:
    """What a rule makes of a layer that has candidates of these times, some of them lossless."""
    tried: Sequence[Candidate] = [candidate(f"number-{n}", exact=n in exact) for n in range(len(times))]
    with monkeypatch.context() as patch:
        decide_engine(patch)
        patch.setattr(rules, "propose", lambda *_, **__: Proposal(tuple(tried), reason))
        patch.setattr(LayerTimer, "times", lambda _, dense, others, place: list(times)[: len(others)])
        options: dict[str, Any] = rule or {"max_error": 0.5}
        _, (plan,) = sepfactor.plan(
            residual_network(), data={"x": smooth(4)}, refit=False, bench_seconds=0, **options
        )
    return plan.layers[0]


def test_the_fastest_is_taken_or_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    times = (SLOWER, FASTER, FASTEST)
    assert first_layer(monkeypatch, times).scheme == "number-2"
    assert first_layer(monkeypatch, times, rank=16).scheme == "number-1"


def test_a_lossless_one_goes_before_a_faster_one(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = first_layer(monkeypatch, (FASTER, FASTEST), exact=[0])
    assert layer.scheme == "number-0"
    assert layer.alone is not None
    assert layer.alone.speedup == FASTER.speedup


def test_what_leaves_the_blocked_layout_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_layer(monkeypatch, (UNBLOCKED, FASTER)).scheme == "number-1"
    layer = first_layer(monkeypatch, (UNBLOCKED,))
    assert layer.is_kept
    assert layer.reason is not None
    assert layer.reason.code == "leaves-layout"


@pytest.mark.parametrize("time", [SLOWER, SAME, timed(1.0, 1.2, 1.4)], ids=["slower", "same", "unsure"])
def test_what_is_not_surely_faster_is_put_back(time: LayerTime, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = first_layer(monkeypatch, (time,))
    assert layer.is_kept
    assert layer.reason is not None
    assert layer.reason.code == "no-faster"
    assert layer.reason.detail.startswith(f"number-0 16, {time.speedup:.2f}×")
    assert layer.alone is not None
    assert layer.alone.low == time.low


def test_the_reason_names_the_best_that_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = first_layer(monkeypatch, (SLOWER, SAME, timed(0.7, 0.8, 0.9), SLOWER, FASTER))
    assert layer.reason is not None
    assert layer.reason.detail.startswith("number-1")  # four tries, so that the time is bounded


def test_without_candidates_the_reason_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Reason("nothing", "nothing to factor here")
    layer = first_layer(monkeypatch, (), reason=nothing)
    assert (layer.scheme, layer.reason, layer.alone) == ("keep", nothing, None)


@given(st.lists(st.sampled_from((FASTER, SLOWER, SAME)), min_size=1, max_size=6))
def test_there_is_a_candidate_or_a_reason(times: list[LayerTime]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        layer = first_layer(monkeypatch, times)
    assert layer.is_kept == (layer.reason is not None) == (FASTER not in times[:4])


def test_nothing_is_written_of_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first_layer(monkeypatch, (FASTER,))
    assert list(tmp_path.iterdir()) == []
