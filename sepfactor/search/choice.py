"""Pick one candidate, or *keep*, for a site on its own: by a rule its user gave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sepfactor.search.candidates import Proposal
from sepfactor.search.subject import Candidate

_TRIES = 4
"""Candidates timed per site before the layer is kept."""


class Trial(Protocol):
    """How a candidate compares with the layer it would replace, as timed."""

    @property
    def ms(self) -> float:
        """Milliseconds of the candidate."""

    @property
    def speedup(self) -> float:
        """Time of the layer over time of the candidate."""

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval of the speedup."""

    @property
    def high(self) -> float:
        """Upper end of it."""

    @property
    def blocked(self) -> bool:
        """Whether it keeps to onnxruntime's blocked layout where the layer did."""


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


def choose(
    proposal: Proposal, times: Callable[[Sequence[Candidate]], Sequence[Trial]], *, fastest: bool
) -> Choice:
    """A candidate that measures faster than the layer it would replace, lossless ones first.

    Args:
        proposal: candidates in order of preference.
        times: times candidates against the dense layer.
        fastest: take the fastest of them; else the first in the order of preference.
    """
    tried = proposal.candidates[:_TRIES]
    if not tried:
        return Choice(reason=proposal.reason)
    trials = times(tried)
    faster = [(c, t) for c, t in zip(tried, trials, strict=True) if is_faster(t)]
    if faster:
        lossless = [pair for pair in faster if pair[0].exact]
        best = min(lossless or faster, key=lambda p: p[1].ms) if fastest else (lossless or faster)[0]
        return Choice(best[0], trial=best[1])
    nearest, trial = max(zip(tried, trials, strict=True), key=lambda pair: pair[1].speedup)
    return Choice(reason=no_gain(nearest, trial), trial=trial)


def is_faster(trial: Trial) -> bool:
    """Whether the gain is certain, and holds in a network that works in blocks."""
    return trial.low > 1.0 and trial.blocked


def no_gain(candidate: Candidate, trial: Trial) -> str:
    """Why a layer is kept though it has candidates."""
    if trial.low > 1.0:
        return f"put back: {candidate.label} leaves onnxruntime's blocked layout, where the layer is"
    interval = f", {trial.low:.2f}–{trial.high:.2f}" if trial.speedup > 1.0 else ""
    return f"put back: {candidate.label} measured no faster ({trial.speedup:.2f}×{interval} alone)"
