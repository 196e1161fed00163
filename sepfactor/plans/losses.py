"""What an error inside a layer costs at the output, without labels.

Layers differ by a factor of fifty in how much the output suffers from the same relative error, and
one small probe does not tell: some answer harmlessly to small errors and collapse under large ones.
So a layer is replaced alone at several error levels, and the divergence of the output read off as a
function of the layer's error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

_SLOPE = 2.0
"""Divergences (KL, squared error) grow with the square of a small error."""

_USUALLY_LEFT, _SPREAD_LEFT = 0.35, 0.7
"""Of the loss of layers with others behind them; networks differ by a factor of two (of eˢᵖʳᵉᵃᵈ)."""

_SPREAD_LAST = 0.3
"""Losses of the last layers are off by a third."""

_NOISE = 0.2
"""A measured divergence is off by as much, as is the sum of what single layers lose."""

_LEAST = 1e-12
"""Errors and losses below are rounding."""


@dataclass(frozen=True)
class LossCurve:
    """Divergence at the output by the error of one layer.

    Between measured points the curve is a power law, below the first it is quadratic, above the last it goes
    on as steeply as before, and at least quadratically. It never falls: of a larger error nothing better is
    expected.

    Attributes:
        points: ``(error, divergence)``, errors rising, divergences not falling.
    """

    points: tuple[tuple[float, float], ...]

    @classmethod
    def through(cls, measured: Iterable[tuple[float, float]]) -> LossCurve:
        """The curve through measured points; what lies below an earlier one is lifted to it."""
        points: list[tuple[float, float]] = []
        for error, loss in sorted(measured):
            loss = max(loss, _LEAST, points[-1][1] if points else 0.0)
            if points and error <= points[-1][0] * (1 + 1e-9):
                points[-1] = (points[-1][0], loss)
            elif error > _LEAST:
                points.append((error, loss))
        return cls(tuple(points))

    def __call__(self, error: float) -> float:
        """Divergence to expect of an error; without any point, its square."""
        if error <= _LEAST:
            return 0.0
        if not self.points:
            return float(error**_SLOPE)
        (first, least), (last, most) = self.points[0], self.points[-1]
        if error <= first:
            return float(least * (error / first) ** _SLOPE)
        if error >= last:
            return float(most * (error / last) ** max(_SLOPE, self._slope(len(self.points) - 2)))
        i = max(k for k, (e, _) in enumerate(self.points) if e <= error)
        e, loss = self.points[i]
        return float(loss * (error / e) ** self._slope(i))

    def _slope(self, i: int) -> float:
        """Exponent between point ``i`` and the next."""
        if i < 0:
            return 0.0
        (e0, l0), (e1, l1) = self.points[i : i + 2]
        return math.log(l1 / l0) / math.log(e1 / e0)


def shares_left(built: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """What share of the losses that layers have alone is left once all are fitted in sequence.

    Layers behind make up for errors of those before; the last ones have nobody behind them. The most
    likely shares, given what plans measured and what is usual (log-normal errors).

    Args:
        built: of each plan the sum of the losses its layers have alone, of those with layers behind them
            and of the last ones, and the divergence measured; what is not finite is left out.

    Returns:
        The share of layers with others behind them, and of the last ones.
    """
    before = np.log(_USUALLY_LEFT) + _SPREAD_LEFT * np.linspace(-3, 3, 121)[:, None]
    last = _SPREAD_LAST * np.linspace(-3, 3, 61)
    unlikely = (before - np.log(_USUALLY_LEFT)) ** 2 / _SPREAD_LEFT**2 + last**2 / _SPREAD_LAST**2
    for of_before, of_last, measured in built:
        expected = np.exp(before) * of_before + np.exp(last) * of_last
        if np.isfinite(measured) and expected.min() > _LEAST:
            unlikely = unlikely + np.log(max(measured, _LEAST) / expected) ** 2 / _NOISE**2
    i, j = np.unravel_index(np.argmin(unlikely), unlikely.shape)
    return float(np.exp(before[i, 0])), float(np.exp(last[j]))
