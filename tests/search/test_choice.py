"""The best candidate that measures faster is taken; without one the layer is kept, and it is said why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor import Factorization, Stage
from sepfactor.search.candidates import Proposal
from sepfactor.search.choice import Choice, choose
from sepfactor.search.subject import Candidate
from tests.strategies import unpadded


@dataclass(frozen=True)
class Timed:
    """A trial as it might have come out."""

    low: float
    speedup: float
    high: float
    blocked: bool = True

    @property
    def ms(self) -> float:
        return 1.0 / self.speedup


FASTER, SLOWER, SAME = Timed(1.2, 1.3, 1.4), Timed(0.5, 0.6, 0.7), Timed(0.98, 1.01, 1.04)
FASTEST, UNBLOCKED = Timed(2.2, 2.3, 2.4), Timed(3.2, 3.3, 3.4, blocked=False)


def candidate(name: str, exact: bool = False) -> Candidate:
    stage: Stage = unpadded(np.ones((1, 1, 1, 1)))
    return Candidate(name, "a → b", (16,), Factorization.of(stage), 1, 0.1, 0.1, 0.1, exact)


def chosen(*trials: Timed, fastest: bool = True, exact: Sequence[int] = ()) -> Choice:
    """The choice among as many candidates, some of them lossless."""
    candidates = {candidate(f"number-{n}", n in exact): trial for n, trial in enumerate(trials)}
    return choose(Proposal(tuple(candidates)), lambda tried: [candidates[c] for c in tried], fastest=fastest)


def scheme(choice: Choice) -> str | None:
    return None if choice.candidate is None else choice.candidate.scheme


def test_the_fastest_is_taken_or_the_first() -> None:
    assert scheme(chosen(SLOWER, FASTER, FASTEST)) == "number-2"
    assert scheme(chosen(SLOWER, FASTER, FASTEST, fastest=False)) == "number-1"


def test_a_lossless_one_goes_before_a_faster_one() -> None:
    choice = chosen(FASTER, FASTEST, exact=[0])
    assert scheme(choice) == "number-0"
    assert choice.trial == FASTER


def test_what_leaves_the_blocked_layout_is_not_taken() -> None:
    assert scheme(chosen(UNBLOCKED, FASTER)) == "number-1"
    choice = chosen(UNBLOCKED)
    assert choice.candidate is None
    assert "blocked layout" in choice.reason


@pytest.mark.parametrize("ratio", [SLOWER, SAME, Timed(1.0, 1.2, 1.4)], ids=["slower", "same", "unsure"])
def test_what_is_not_surely_faster_is_put_back(ratio: Timed) -> None:
    choice = chosen(ratio)
    assert choice.candidate is None
    assert choice.trial == ratio
    assert "put back: number-0 16" in choice.reason
    assert f"{ratio.speedup:.2f}" in choice.reason


def test_the_reason_names_the_best_that_was_tried() -> None:
    choice = chosen(SLOWER, SAME, Timed(0.7, 0.8, 0.9), SLOWER, FASTER)
    assert choice.trial == SAME  # four tries, so that the time is bounded
    assert "number-1" in choice.reason


def test_without_candidates_the_reason_is_handed_on_and_nothing_timed() -> None:
    def times(_: Sequence[Candidate]) -> list[Timed]:
        raise AssertionError

    choice = choose(Proposal((), "nothing to factor here"), times, fastest=True)
    assert (choice.candidate, choice.reason, choice.trial) == (None, "nothing to factor here", None)


@given(st.lists(st.sampled_from((FASTER, SLOWER, SAME)), min_size=1, max_size=6), st.booleans())
def test_there_is_a_candidate_or_a_reason(trials: list[Timed], fastest: bool) -> None:
    choice = chosen(*trials, fastest=fastest)
    assert (choice.candidate is None) == bool(choice.reason)
    assert choice.trial is not None
    assert (choice.candidate is not None) == (FASTER in trials[:4])
