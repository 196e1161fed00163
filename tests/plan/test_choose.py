"""The first candidate that measures faster is taken; without one the layer is kept, and it is said why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor import Chain, Factorization, Stage
from sepfactor.plan.candidates import Candidate, Proposal
from sepfactor.plan.choose import Choice, choose
from tests.strategies import unpadded


@dataclass(frozen=True)
class Timed:
    """A trial as it might have come out."""

    low: float
    speedup: float
    high: float


FASTER, SLOWER, SAME = Timed(1.2, 1.3, 1.4), Timed(0.5, 0.6, 0.7), Timed(0.98, 1.01, 1.04)


def candidate(name: str, rank: int = 16) -> Candidate:
    stage: Stage = unpadded(np.ones((1, 1, 1, 1)))
    return Candidate(name, "a → b", (rank,), Factorization((Chain((stage,)),)), 1, 0.1, 0.1, False)


def chosen(*trials: Timed) -> tuple[Choice, list[str]]:
    """The choice among as many candidates, and which of them were timed."""
    candidates = {candidate(f"number-{n}"): trial for n, trial in enumerate(trials)}
    asked: list[str] = []

    def trial(one: Candidate) -> Timed:
        asked.append(one.scheme)
        return candidates[one]

    return choose(Proposal(tuple(candidates)), trial), asked


def test_the_first_faster_one_is_taken_and_no_other_timed() -> None:
    choice, asked = chosen(SLOWER, FASTER, FASTER)
    assert choice.candidate is not None
    assert choice.candidate.scheme == "number-1"
    assert choice.trial == FASTER
    assert choice.reason == ""
    assert asked == ["number-0", "number-1"]


@pytest.mark.parametrize("ratio", [SLOWER, SAME, Timed(1.0, 1.2, 1.4)], ids=["slower", "same", "unsure"])
def test_what_is_not_surely_faster_is_put_back(ratio: Timed) -> None:
    choice, _ = chosen(ratio)
    assert choice.candidate is None
    assert choice.trial == ratio
    assert "put back" in choice.reason
    assert "number-0 16" in choice.reason
    assert f"{ratio.speedup:.2f}" in choice.reason


def test_the_reason_names_the_best_that_was_tried() -> None:
    choice, asked = chosen(SLOWER, SAME, Timed(0.7, 0.8, 0.9), FASTER)
    assert choice.candidate is None
    assert choice.trial == SAME
    assert "number-1" in choice.reason
    assert asked == ["number-0", "number-1", "number-2"]  # three tries, so that the time is bounded


def test_without_candidates_the_reason_is_handed_on_and_nothing_timed() -> None:
    def trial(_: Candidate) -> Timed:
        raise AssertionError

    choice = choose(Proposal((), "nothing to factor here"), trial)
    assert (choice.candidate, choice.reason, choice.trial) == (None, "nothing to factor here", None)


@given(st.lists(st.sampled_from((FASTER, SLOWER, SAME)), min_size=1, max_size=6))
def test_there_is_a_candidate_or_a_reason(trials: list[Timed]) -> None:
    choice, asked = chosen(*trials)
    assert (choice.candidate is None) == bool(choice.reason)
    assert choice.trial is not None
    assert len(asked) == len(set(asked)) <= 3
    assert (choice.candidate is not None) == (FASTER in trials[:3])
