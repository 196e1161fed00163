"""How long networks take, and what may be concluded from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from sepfactor.codes import Verdict
from sepfactor.results.base import Amount, Count, Frozen, Probability

Clock = Literal["cpu", "wall"]
"""What a time is of: the work of the processor, or all that passed."""


class Timing(Frozen):
    """How long one run takes.

    Attributes:
        median_ms: median, milliseconds.
        low_ms: 25th percentile, milliseconds.
        high_ms: 75th percentile, milliseconds.
        rounds: number of runs these are of.
        clock: ``cpu``, the work of the processor, or ``wall``, the time that passed.
        wall_ms: median of the time that passed in all runs, milliseconds.
        disturbed: share of all runs from which other programs took a core away.
        is_disturbed: so many were that the figures are of disturbed runs.
        inputs: number of different inputs these are on.
    """

    median_ms: Amount
    low_ms: Amount
    high_ms: Amount
    rounds: Count
    clock: Clock = "wall"
    wall_ms: Amount | None = None
    disturbed: Probability = 0.0
    is_disturbed: bool = False
    inputs: Count = 1


def conclude(figures: Mapping[str, Any]) -> Verdict:
    """What a ratio with its interval says, such as ``1.84× faster (95 % interval 1.81–1.88)``.

    >>> conclude({"ratio": 1 / 1.3, "low": 1 / 1.35, "high": 1 / 1.25}).text
    '1.30× slower (95 % interval 1.25–1.35)'
    >>> conclude({"ratio": 1.0, "low": 0.98, "high": 1.03})
    Verdict(code='unchanged', text='no measurable change (0.98–1.03)')
    """
    # Before pydantic 2.14 this is also asked where a figure was refused, and the answer thrown away.
    ratio, low, high = (float(figures.get(name, math.nan)) for name in ("ratio", "low", "high"))
    if low <= 1.0 <= high:
        return Verdict("unchanged", f"no measurable change ({low:.2f}–{high:.2f})")
    if low > 1.0:
        return Verdict("faster", _factor(ratio, low, high, " faster"))
    ratio, low, high = (1 / max(end, _LEAST) for end in (ratio, high, low))
    return Verdict("slower", _factor(ratio, low, high, " slower"))


_APART = 0.05
"""Share by which two ratios may differ and nothing is said of it."""

_LEAST = 1e-9
"""A ratio is not smaller, so that it can be turned around."""


def _factor(ratio: float, low: float, high: float, word: str) -> str:
    digits = 2 if low >= 1.01 else 3  # "1.00× faster" would contradict itself
    return f"{ratio:.{digits}f}×{word} (95 % interval {low:.{digits}f}–{high:.{digits}f})"


class Ratio(Frozen):
    """How many times faster a candidate is than the baseline.

    Attributes:
        ratio: median of the baseline / median of the candidate; above 1 is faster.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
        clock: what it is of: ``cpu``, the work of the processor, or ``wall``, the time that passed.
        wall_ratio: the same of the time that passed in all runs.
        disturbed: share of all runs of the two from which other programs took a core away.
        is_disturbed: so many were that the figures are of disturbed runs.
        verdict: ``faster``, ``slower`` or ``unchanged`` where the interval holds 1; made from the figures.
    """

    ratio: Amount
    low: Amount
    high: Amount
    clock: Clock = "wall"
    wall_ratio: Amount | None = None
    disturbed: Probability = 0.0
    is_disturbed: bool = False
    verdict: Verdict = Field(default_factory=conclude)

    @property
    def measurable(self) -> bool:
        """Whether the interval leaves out 1."""
        return not self.low <= 1.0 <= self.high

    @property
    def caveat(self) -> str | None:
        """What other programs did to the figures; None where that is nothing to speak of."""
        taken = f"other programs took a core away from {100 * self.disturbed:.0f} % of the runs"
        if self.is_disturbed:
            return f"{taken}, so the figures are of disturbed runs: time it again when the machine is free"
        if self.wall_ratio is None or abs(self.wall_ratio - self.ratio) <= _APART * self.ratio:
            return None
        if self.clock == "cpu":
            return f"the work of the processor; by the wall clock {self.wall_ratio:.2f}×, for {taken}"
        return f"of undisturbed runs; of all {self.wall_ratio:.2f}×, for {taken}"


class Speed(Ratio):
    """Interleaved timing of whole networks: the original against the result.

    A file may run faster for its graph being tidied alone (weights that are no inputs any more, constants
    folded). Where that is so, what tidying did and what factoring did are told apart: their product is
    the ratio of the whole.

    Attributes:
        original: time of the network as it was given.
        result: time of the network as it was written.
        prepared: time of the original with its graph tidied and nothing factored; None where tidying
            cannot change the speed.
        tidying: the original against ``prepared``; None where that is no measurable change.
        factoring: ``prepared`` against the result; None likewise.
    """

    original: Timing
    result: Timing
    prepared: Timing | None = None
    tidying: Ratio | None = None
    factoring: Ratio | None = None

    @property
    def line(self) -> str:
        """How much faster; where tidying the graph alone changed the speed, also what factoring gained."""
        if self.tidying is None or self.factoring is None:
            return self.verdict.text
        part = self.factoring
        is_faster = part.verdict.code == "faster"
        factored = _factor(part.ratio, part.low, part.high, "") if is_faster else part.verdict.text
        tidied = f"tidying the graph alone {self.tidying.ratio:.2f}×"
        return f"{self.verdict.text}: {tidied}, factoring alone {factored}"


__all__ = ["Clock", "Ratio", "Speed", "Timing", "conclude"]
