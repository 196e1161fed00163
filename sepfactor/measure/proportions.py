"""What labels and targets say of two models: shares of samples, and nearness to the truth."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.paired import PairedDrop

_FLOAT32_STEP = 2.0**-24  # of the peak: errors below it are rounding
_Z = 1.959963984540054  # of a 95 % interval


@dataclass(frozen=True)
class Share:
    """A share of samples, between 0 and 1, with its Wilson 95 % interval.

    >>> half = Share(5, 10)
    >>> f"{half.value:.2f} ({half.low:.2f}–{half.high:.2f})"
    '0.50 (0.24–0.76)'
    """

    hits: int
    total: int

    @property
    def value(self) -> float:
        """``hits / total``."""
        return self.hits / self.total

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return max(0.0, self._centre - self._half_width)

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return min(1.0, self._centre + self._half_width)

    @property
    def _centre(self) -> float:
        return (self.hits + _Z**2 / 2) / (self.total + _Z**2)

    @property
    def _half_width(self) -> float:
        spread = self.hits * (self.total - self.hits) / self.total + _Z**2 / 4
        return _Z * math.sqrt(spread) / (self.total + _Z**2)

    def as_dict(self) -> dict[str, float]:
        """Value and interval, ready for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class TopK:
    """How often the label is among the k best classes.

    Attributes:
        reference: share of the reference.
        candidate: share of the candidate.
        lost: samples only the reference gets right.
        gained: samples only the candidate gets right.
    """

    reference: Share
    candidate: Share
    lost: int
    gained: int

    @property
    def drop(self) -> float:
        """Share lost; negative when the candidate is better."""
        return self.paired.value

    @property
    def paired(self) -> PairedDrop:
        """The drop with its interval, and whether it may be chance."""
        return PairedDrop(self.lost, self.gained, self.reference.total)

    def as_dict(self) -> dict[str, Any]:
        """Shares, the drop, their intervals and McNemar's test, ready for JSON."""
        shares = {"reference": self.reference.as_dict(), "candidate": self.candidate.as_dict()}
        paired = self.paired
        return {
            **shares,
            "drop": paired.value,
            "drop_low": paired.low,
            "drop_high": paired.high,
            "p_value": paired.p_value,
            "verdict": paired.verdict,
            "lost": self.lost,
            "gained": self.gained,
        }


@dataclass(frozen=True)
class TargetComparison:
    """Both outputs against what they should be, as for super-resolution.

    Attributes:
        reference_psnr_db: dB, the mean over samples, as super-resolution reports it.
        candidate_psnr_db: dB.
        peak: 1 if the target lies within [0, 1], otherwise its maximum − minimum.
    """

    reference_psnr_db: float
    candidate_psnr_db: float
    peak: float

    @property
    def drop_db(self) -> float:
        """PSNR lost, dB; negative when the candidate is closer to the target."""
        if self.reference_psnr_db == self.candidate_psnr_db:
            return 0.0
        return self.reference_psnr_db - self.candidate_psnr_db

    def as_dict(self) -> dict[str, Any]:
        """The fields and the drop."""
        return {**asdict(self), "drop_db": self.drop_db}


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

    def result(self) -> TargetComparison | None:
        """The comparison; None if nothing was fed."""
        if not self._errors:
            return None
        within_one = self._low >= 0.0 and self._high <= 1.0
        peak = 1.0 if within_one else self._high - self._low
        reference, candidate = np.concatenate(self._errors, axis=1)
        return TargetComparison(_mean_psnr(reference, peak), _mean_psnr(candidate, peak), peak)


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
