"""What a plan must keep to, and the search for the loss it may predict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

_AIM = 0.92
"""Aim a little inside the limit: the last step must not fall outside."""

_STEP = 8.0
"""At most so much is the predicted loss changed at once."""

_CLOSE = 1.15
"""Two bounds this close leave nothing worth another build."""


@dataclass
class LossSearch:
    """Find the largest predicted loss whose plan, built and measured, stays within a limit.

    Predicted losses order plans well and are off by a factor; so each build tells the factor at one place,
    and the next prediction is read off a power law through what was measured.

    Attributes:
        limit: of what is measured. exponent: measured ~ predictedᵉˣᵖᵒⁿᵉⁿᵗ where nothing else is known.
        most: no plan predicts more.
        steps_at_most: predictions tried at most.
    """

    limit: float
    exponent: float
    most: float
    steps_at_most: int = 16
    good: list[tuple[float, float]] = field(default_factory=list)
    bad: list[tuple[float, float]] = field(default_factory=list)

    def steps(self, start: float) -> Iterator[float]:
        """Predicted losses to try one after the other; call :meth:`tell` between two."""
        loss = min(start, self.most)
        for _ in range(self.steps_at_most):
            yield loss
            following = self._next()
            if following is None:
                return
            loss = following

    def tell(self, predicted: float, measured: float) -> None:
        """What a plan of this predicted loss measured."""
        (self.good if measured <= self.limit else self.bad).append((predicted, measured))

    def _next(self) -> float | None:
        below = max(self.good, default=None)
        above = min(self.bad, default=None)
        if above is None:
            assert below is not None  # something was told
            if below[0] >= self.most * (1 - 1e-9):
                return None
            return min(below[0] * self._factor(below[1]), self.most)
        if below is None:
            return above[0] * self._factor(above[1])
        low, high = below[0], above[0]
        if high <= low * _CLOSE:
            return None
        return self._between(below, above)

    def _factor(self, measured: float) -> float:
        if measured <= 0:
            return _STEP
        wanted = float((_AIM * self.limit / measured) ** (1 / self.exponent))
        least = _CLOSE if measured <= self.limit else 1 / _STEP
        most = _STEP if measured <= self.limit else 1 / _CLOSE
        return min(max(wanted, least), most)

    def _between(self, below: tuple[float, float], above: tuple[float, float]) -> float:
        (low, at_low), (high, at_high) = below, above
        share = 0.5
        if 0 < at_low < at_high:
            share = math.log(_AIM * self.limit / at_low) / math.log(at_high / at_low)
        share = min(max(share, 0.2), 0.8)
        return float(low ** (1 - share) * high**share)
