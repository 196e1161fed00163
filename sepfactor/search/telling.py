"""What is told of a search while it goes on: the best plan so far that keeps the budget, what is tried."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from sepfactor.budgets import Cost, QualityLimits
from sepfactor.results import Quality, Ratio


class Tried(Protocol):
    """A plan that was built and judged."""

    @property
    def quality(self) -> Quality:
        """On held-out data."""

    @property
    def speed(self) -> Ratio | None:
        """Over the original file, where it was timed."""

    @property
    def cost(self) -> Cost:
        """As it came out."""


def trying(
    label: str, expected: Cost, original: Cost, kept: Iterable[Tried], limit: QualityLimits | None
) -> str:
    """What is built now, such as ``best so far 3.41×, 37.5 dB; now about 3.9×: a milder one``.

    Args:
        label: why it is built.
        expected: what it is expected to cost.
        original: what the network as handed in costs.
        kept: plans built before that keep the budget.
        limit: on what is lost; None where cost alone counts.
    """
    now = f"about {original.ms / expected.ms:.2g}×: {label}" if expected.ms > 0 else label
    best = min(kept, key=lambda point: point.cost.ms, default=None)
    return f"trying {now}" if best is None else f"best so far {told(best, limit, original)}; now {now}"


def told(point: Tried, limit: QualityLimits | None, original: Cost) -> str:
    """``3.41×, 37.5 dB``: what a plan came to."""
    ratio = original.ms / point.cost.ms if point.speed is None else point.speed.ratio
    lost = "" if limit is None else f", {limit.main.reached_text(point.quality)}"
    return f"{ratio:.2f}×{lost}"
