"""What labels and targets say of two models: shares of samples, and nearness to the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.paired import PairedDrop
from sepfactor.results import Share, Target, TopK

_FLOAT32_STEP = 2.0**-24  # of the peak: errors below it are rounding
_Z = 1.959963984540054  # of a 95 % interval


def wilson(hits: int, total: int) -> Share:
    """A share of samples with its Wilson 95 % interval.

    >>> half = wilson(5, 10)
    >>> f"{half.value:.2f} ({half.low:.2f}–{half.high:.2f})"
    '0.50 (0.24–0.76)'
    """
    centre = (hits + _Z**2 / 2) / (total + _Z**2)
    spread = hits * (total - hits) / total + _Z**2 / 4
    half_width = _Z * math.sqrt(spread) / (total + _Z**2)
    return Share(value=hits / total, low=max(0.0, centre - half_width), high=min(1.0, centre + half_width))


def compare_hits(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> TopK:
    """How much less often a candidate is right, and whether that may be chance.

    Args:
        before: ``(N,)`` which samples the reference gets right.
        after: ``(N,)`` which the candidate does.
    """
    lost, gained = int(np.count_nonzero(before & ~after)), int(np.count_nonzero(after & ~before))
    paired = PairedDrop(lost, gained, len(before))
    reference, candidate = (wilson(int(np.count_nonzero(side)), len(side)) for side in (before, after))
    return TopK(
        reference=reference,
        candidate=candidate,
        drop=paired.value,
        drop_low=paired.low,
        drop_high=paired.high,
        p_value=paired.p_value,
        verdict=paired.verdict,
        lost=lost,
        gained=gained,
    )


@dataclass
class TargetMeter:
    """Nearness of two outputs to what they should be, fed run by run."""

    _low: float = math.inf
    _high: float = -math.inf
    _errors: list[NDArray[np.float64]] = field(default_factory=list)

    def update(self, target: NDArray[Any], reference: NDArray[Any], candidate: NDArray[Any]) -> None:
        """Add ``(N, …)`` arrays of one shape, the target finite."""
        if not target.size:
            return
        truth = target.astype(np.float64)
        self._low = min(self._low, float(truth.min()))
        self._high = max(self._high, float(truth.max()))
        self._errors.append(np.stack([_squared_errors(side, truth) for side in (reference, candidate)]))

    def result(self) -> Target | None:
        """The comparison; None if nothing was fed."""
        if not self._errors:
            return None
        within_one = self._low >= 0.0 and self._high <= 1.0
        peak = 1.0 if within_one else self._high - self._low
        reference, candidate = np.concatenate(self._errors, axis=1)
        before, after = _mean_psnr(reference, peak), _mean_psnr(candidate, peak)
        drop = 0.0 if before == after else before - after  # both may be infinite
        return Target(reference_psnr_db=before, candidate_psnr_db=after, drop_db=drop, peak=peak)


def _squared_errors(output: NDArray[Any], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(N,)`` mean squared errors; inf where the output is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(output.astype(np.float64) - truth)
    errors = squares.reshape(truth.shape[0] if truth.ndim else 1, -1).mean(axis=1)
    return np.where(np.isfinite(errors), errors, np.inf)


def _mean_psnr(errors: NDArray[np.float64], peak: float) -> float:
    """dB; a sample that is met exactly counts as one met within rounding, unless all of them are."""
    if not errors.any():
        return math.inf
    if not peak:
        return -math.inf
    seen = np.maximum(errors, (peak * _FLOAT32_STEP) ** 2)
    return float(np.mean(20.0 * math.log10(peak) - 10.0 * np.log10(seen)))
