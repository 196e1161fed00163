"""How far a candidate's output is from the reference's, summed up run by run.

For a reference ``a`` and a candidate ``b``, over every element of every run (float64 sums)::

    relative error   ‖a − b‖ / ‖a‖
    SNR              10 log10( Σ a² / Σ (a − b)² )            dB
    PSNR             10 log10( peak² / mean (a − b)² )        dB, peak = max a − min a
    KL               mean over samples of Σ_c p_c (log p_c − log q_c),   p, q = softmax(a), softmax(b)
                     (or a, b themselves where both are probabilities already)
    against targets  mean over samples of 10 log10( peak² / mean (target − output)² ),  dB

An element that is finite in the reference and not in the candidate makes the errors infinite and
is counted. One that is not finite in the reference is left out: nothing can be said of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.errors import DataError
from sepfactor.measure.histogram import HistogramMeter
from sepfactor.measure.parts import PartMeter, samples_of
from sepfactor.measure.proportions import TargetMeter, compare_hits
from sepfactor.measure.spread import pieces_of
from sepfactor.results import OutputDifference, TopK

Array = NDArray[Any]
Shape = tuple[int | None, ...]

_SUM_TOLERANCE = 1e-3  # of rows that are probabilities already
_LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)  # a softmax in float32 underflows to 0


def looks_like_class_scores(output: Array) -> bool:
    """Whether this is ``(N, C)`` or ``(N, C, 1, …)`` of floats, with at least two classes."""
    scores = output.ndim >= 2 and output.shape[1] >= 2 and set(output.shape[2:]) <= {1}
    return scores and _is_float(output)


@dataclass
class Noise:
    """Sums over a signal and its error, fed array by array."""

    count: int = 0
    signal: float = 0.0
    other: float = 0.0
    product: float = 0.0
    noise: float = 0.0
    max_abs: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    nonfinite: int = 0

    def update(self, signal: Array, other: Array) -> None:
        """Add ``signal`` and ``other``, numbers of one shape."""
        a, b = signal.astype(np.float64).ravel(), other.astype(np.float64).ravel()
        a_finite, b_finite = np.isfinite(a), np.isfinite(b)
        both = a_finite & b_finite
        self.nonfinite += int(np.count_nonzero(a_finite & ~b_finite))
        if not both.all():
            a, b = a[both], b[both]
        if not a.size:
            return
        error = a - b
        self.count += a.size
        self.signal += float(a @ a)
        self.other += float(b @ b)
        self.product += float(a @ b)
        self.noise += float(error @ error)
        self.max_abs = max(self.max_abs, float(np.abs(error).max()))
        self.low, self.high = min(self.low, float(a.min())), max(self.high, float(a.max()))

    @property
    def relative_error(self) -> float:
        """``‖a − b‖ / ‖a‖``; nan if nothing was seen."""
        return math.sqrt(self._quotient(self.noise, self.signal))

    @property
    def snr_db(self) -> float:
        """Signal to noise, dB."""
        return -_decibel(self._quotient(self.noise, self.signal))

    @property
    def psnr_db(self) -> float:
        """Peak signal to noise, dB; the peak is ``max a − min a``."""
        return -_decibel(self._quotient(self.noise, self.count * (self.high - self.low) ** 2))

    @property
    def cosine(self) -> float:
        """Cosine of the angle between the two; 1 if both are zero, 0 if one is."""
        if self.nonfinite or not self.count:
            return math.nan
        if self.noise == 0.0:
            return 1.0
        norms = math.sqrt(self.signal) * math.sqrt(self.other)
        return min(1.0, max(-1.0, self.product / norms)) if norms else 0.0

    @property
    def largest(self) -> float:
        """Largest ``|a − b|``."""
        return self._or_broken(self.max_abs)

    def _quotient(self, noise: float, signal: float) -> float:
        if not noise:
            return self._or_broken(0.0)
        return self._or_broken(noise / signal if signal else math.inf)

    def _or_broken(self, value: float) -> float:
        if self.nonfinite:
            return math.inf
        return value if self.count else math.nan


@dataclass
class OutputMeter:
    """Compares one output, fed with a pair of arrays for each run.

    Feeding runs one by one or concatenated gives the same figures, up to rounding.
    """

    name: str
    _noise: Noise = field(default_factory=Noise)
    _shape: Shape | None = None
    _samples: int = 0
    _mismatched: int = 0
    _scores: bool = True
    _exact: bool = False
    _equal: int = 0
    _compared: int = 0
    _kl: float = 0.0
    _kl_rows: int = 0
    _lost: float = 0.0
    _lost_of: int = 0
    _ranks: list[NDArray[np.int64]] = field(default_factory=list)
    _classes: int = 0
    _targets: TargetMeter = field(default_factory=TargetMeter)
    _errors: HistogramMeter = field(default_factory=HistogramMeter)
    _parts: PartMeter = field(default_factory=PartMeter)

    def update(
        self,
        reference: Array,
        candidate: Array,
        *,
        labels: Array | None = None,
        target: Array | None = None,
        batch: int | None = None,
    ) -> None:
        """Add one run.

        Args:
            reference: ``(N, …)``.
            candidate: of the same shape and kind, or the run is counted as mismatched and left out.
            labels: ``(N,)`` class indices, for class scores; −1 where unknown.
            target: what the output should be, of the same shape.
            batch: samples of the run; the first axis where it is not given.

        Raises:
            DataError: labels or a target do not fit the output.
        """
        self._shape = _merged(self._shape, reference.shape[1:])
        self._samples += reference.shape[0] if reference.ndim else 1
        if (reference.shape, reference.dtype.kind) != (candidate.shape, candidate.dtype.kind):
            self._mismatched += 1
            return
        are_scores = looks_like_class_scores(reference) and (batch is None or len(reference) in (1, batch))
        self._scores = self._scores and are_scores
        if reference.dtype.kind in "biuf":
            for (_, ours), (_, theirs) in zip(pieces_of(reference), pieces_of(candidate), strict=True):
                self._noise.update(ours, theirs)
                self._errors.update(ours, theirs)
            self._update_parts(reference, candidate, batch)
        if are_scores:
            self._update_scores(_rows(reference), _rows(candidate), labels)
        elif labels is not None:
            raise DataError(
                f"Output {self.name!r} of shape {reference.shape} holds no class scores (N, C) to "
                "compare with labels. Name the output that does, or leave the labels out."
            )
        if not _is_float(reference):
            self._exact = True
            self._equal += int(np.count_nonzero(reference == candidate))
            self._compared += reference.size
        if target is not None:
            self._update_target(reference, candidate, target)

    def _update_parts(self, reference: Array, candidate: Array, batch: int | None) -> None:
        rows = len(reference) if reference.ndim and batch is None else batch or 1
        pairs = zip(samples_of(reference, rows), samples_of(candidate, rows), strict=True)
        for sample, other in pairs:
            self._parts.update(sample, other)

    def _update_scores(self, reference: Array, candidate: Array, labels: Array | None) -> None:
        self._equal += int(np.count_nonzero(_top1(reference, -1) == _top1(candidate, -2)))
        self._compared += len(reference)
        known = _has_answer(reference)
        usable = known & _has_answer(candidate)
        self._kl += float(class_divergences(reference[usable], candidate[usable]).sum())
        self._kl_rows += int(np.count_nonzero(usable))
        self._lost += float(estimated_losses(reference[known], candidate[known]).sum())
        self._lost_of += int(np.count_nonzero(known))
        if labels is not None:
            self._update_ranks(reference, candidate, labels)

    def _update_ranks(self, reference: Array, candidate: Array, labels: Array) -> None:
        rows, self._classes = reference.shape
        if labels.shape != (rows,) or not ((labels >= -1) & (labels < self._classes)).all():
            raise DataError(
                f"Labels {labels.tolist()[:8]} do not fit output {self.name!r} of shape "
                f"{reference.shape}. Give one class index from 0 to {self._classes - 1} per sample "
                "(−1 where unknown), or name another output."
            )
        known = labels >= 0
        sides = [_label_ranks(side[known], labels[known]) for side in (reference, candidate)]
        self._ranks.append(np.stack(sides))

    def _update_target(self, reference: Array, candidate: Array, target: Array) -> None:
        if target.shape != reference.shape or not np.isfinite(target).all():
            what = f"shape {target.shape}" if target.shape != reference.shape else "infinities or nan"
            raise DataError(
                f"A target of {what} cannot be compared with output {self.name!r} of shape "
                f"{reference.shape}. Give one array of finite numbers per sample, in that shape."
            )
        self._targets.update(target, reference, candidate)

    def result(self) -> OutputDifference:
        """The figures over everything fed so far; nan where nothing could be compared."""
        noise = self._noise
        worst_snr_db, worst_part = self._parts.result()
        return OutputDifference(
            name=self.name,
            shape=self._shape or (),
            samples=self._samples,
            relative_error=noise.relative_error,
            snr_db=noise.snr_db,
            psnr_db=noise.psnr_db,
            worst_snr_db=worst_snr_db,
            worst_part=worst_part,
            cosine=noise.cosine,
            max_abs=noise.largest,
            nonfinite=noise.nonfinite,
            mismatched=self._mismatched,
            agreement=self._agreement(),
            kl=self._kl / self._kl_rows if self._scores and self._kl_rows else None,
            estimated_drop=self._lost / self._lost_of if self._scores and self._lost_of else None,
            top1=self._top(1),
            top5=self._top(5),
            target=self._targets.result(),
            errors=self._errors.result(),
        )

    def _agreement(self) -> float | None:
        known = (self._scores or self._exact) and self._compared
        return self._equal / self._compared if known else None

    def _top(self, k: int) -> TopK | None:
        ranks = np.concatenate(self._ranks, axis=1) if self._ranks else np.empty((2, 0), np.int64)
        if not ranks.shape[1] or self._classes <= k:
            return None
        before, after = ranks < k
        return compare_hits(before, after)


def log_scores(scores: Array) -> NDArray[np.float64]:
    """``(N, C)`` scores as logarithms of probabilities, whether they were scores or probabilities."""
    logs: NDArray[np.float64] = np.log(_probabilities(scores, are_probabilities(scores)))
    return logs


def class_divergences(reference: Array, candidate: Array) -> NDArray[np.float64]:
    """``(N,)`` nats: KL(reference ‖ candidate) of ``(N, C)`` finite scores or probabilities."""
    are = are_probabilities(reference) & are_probabilities(candidate)
    p, q = _probabilities(reference, are), _probabilities(candidate, are)
    divergences: NDArray[np.float64] = (p * (np.log(p) - np.log(q))).sum(axis=1)
    return np.maximum(divergences, 0.0)


def estimated_losses(reference: Array, candidate: Array) -> NDArray[np.float64]:
    """``(N,)``: how much less likely than its own answer the reference holds that of the candidate.

    If the reference is as often right as it is sure, their mean is the accuracy lost. A row of the candidate
    with nan, or whose largest score is infinite, answers nothing, and loses all.
    """
    likely = np.exp(log_scores(reference))
    rows = np.arange(len(likely))
    answer, other = likely.argmax(axis=1), candidate.argmax(axis=1)
    still = np.where(_has_answer(candidate), likely[rows, other], 0.0)
    return np.asarray(likely[rows, answer] - still, np.float64)


def _has_answer(rows: Array) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(rows.max(axis=1)), np.bool_)


def are_probabilities(rows: Array) -> NDArray[np.bool_]:
    """``(N,)``: which rows of ``(N, C)`` are not negative and sum to 1."""
    sums = rows.sum(axis=1, dtype=np.float64)
    found: NDArray[np.bool_] = (rows >= 0).all(axis=1) & (np.abs(sums - 1.0) <= _SUM_TOLERANCE)
    return found


def _probabilities(scores: Array, are: NDArray[np.bool_]) -> NDArray[np.float64]:
    """``(N, C)`` positive rows that sum to 1; softmax of the rows that ``are`` not probabilities."""
    wide = scores.astype(np.float64)
    softmax = np.exp(wide - wide.max(axis=1, keepdims=True))
    likely = np.maximum(np.where(are[:, None], wide, softmax), _LEAST_PROBABILITY)
    return np.asarray(likely / likely.sum(axis=1, keepdims=True), np.float64)


def _label_ranks(rows: Array, labels: Array) -> NDArray[np.int64]:
    """``(N,)`` classes that come before the label's; of equal scores the first wins, as in argmax."""
    own = np.take_along_axis(rows, labels[:, None], axis=1)
    earlier = np.arange(rows.shape[1]) < labels[:, None]
    before: NDArray[np.int64] = ((rows > own) | ((rows == own) & earlier)).sum(axis=1)
    return np.where(np.isnan(rows).any(axis=1), np.int64(rows.shape[1]), before)


def _decibel(power: float) -> float:
    return 10.0 * math.log10(power) if power > 0.0 else power if math.isnan(power) else -math.inf


def _top1(rows: Array, unknown: int) -> NDArray[np.int64]:
    """``(N,)`` index of the best class; ``unknown`` for a row with a nan."""
    best: NDArray[np.int64] = np.where(np.isnan(rows).any(axis=1), unknown, rows.argmax(axis=1))
    return best


def _rows(scores: Array) -> Array:
    return scores.reshape(scores.shape[0], scores.shape[1])


def _is_float(array: Array) -> bool:
    return array.dtype.kind == "f"


def _merged(known: Shape | None, shape: tuple[int, ...]) -> Shape:
    if known is None or len(known) != len(shape):
        return shape
    return tuple(a if a == b else None for a, b in zip(known, shape, strict=True))
