"""Pick one candidate, or *keep*, for every site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sepfactor.plan.candidates import Candidate, Proposal

_TRIES = 3
"""Candidates timed per site before the layer is kept."""


class Trial(Protocol):
    """How a candidate compares with the layer it would replace, as timed."""

    @property
    def speedup(self) -> float:
        """Time of the layer over time of the candidate."""

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval of the speedup."""

    @property
    def high(self) -> float:
        """Upper end of it."""


@dataclass(frozen=True, eq=False)
class Choice:
    """What is done with a site.

    Attributes:
        candidate: what replaces it; None keeps it.
        reason: why it is kept.
        trial: the layer alone, before and after, as timed.
    """

    candidate: Candidate | None = None
    reason: str = ""
    trial: Trial | None = None


def choose(proposal: Proposal, trial: Callable[[Candidate], Trial]) -> Choice:
    """The first candidate that measures faster than the layer it would replace.

    Args:
        proposal: candidates in order of preference.
        trial: times the dense layer against a candidate.
    """
    if not proposal.candidates:
        return Choice(reason=proposal.reason)
    tried: list[tuple[Candidate, Trial]] = []
    for candidate in proposal.candidates[:_TRIES]:
        ratio = trial(candidate)
        if ratio.low > 1.0:
            return Choice(candidate, trial=ratio)
        tried.append((candidate, ratio))
    best, ratio = max(tried, key=lambda pair: pair[1].speedup)
    return Choice(
        reason=f"put back: {best.label} measured no faster ({ratio.speedup:.2f}× alone)", trial=ratio
    )
