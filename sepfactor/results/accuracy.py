"""How far a candidate's outputs are from the reference's, and what that costs in accuracy."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from sepfactor.codes import Verdict
from sepfactor.results.base import Count, Frozen, Probability, Unbounded, Unknown
from sepfactor.results.quality import Quality
from sepfactor.words import decibel, percent, points, signed

_LEAST_LABELLED = 50
_POOR = 0.05
_SAME_DB = 1.0
"""SNRs closer than that say the same."""

_LEAST_TOLD = 8
"""Samples under which no accuracy is told."""


class Share(Frozen):
    """A share of samples with its Wilson 95 % interval.

    Attributes:
        value: from 0 to 1.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    value: Probability
    low: Probability
    high: Probability


class TopK(Frozen):
    """How often the label is among the k best classes.

    Attributes:
        reference: share of the reference.
        candidate: share of the candidate.
        drop: share lost; negative where the candidate is better.
        drop_low: lower end of its 95 % interval.
        drop_high: upper end of its 95 % interval.
        p_value: of McNemar's exact test that neither is better.
        verdict: ``equal`` where no sample differs, ``by-chance`` or ``certain``.
        lost: samples that only the reference gets right.
        gained: samples that only the candidate gets right.
    """

    reference: Share
    candidate: Share
    drop: float
    drop_low: float
    drop_high: float
    p_value: Probability
    verdict: Verdict
    lost: Count
    gained: Count


class Target(Frozen):
    """Both networks against what the output should be, as for super-resolution.

    Attributes:
        reference_psnr_db: dB, the mean over samples, as super-resolution reports it; infinite where all
            are met exactly.
        candidate_psnr_db: dB, likewise.
        drop_db: PSNR lost, dB; negative where the candidate is closer.
        peak: 1 if the target lies within [0, 1], otherwise its maximum − minimum.
    """

    reference_psnr_db: Unbounded
    candidate_psnr_db: Unbounded
    drop_db: Unknown
    peak: float


class Histogram(Frozen):
    """Counts of absolute errors, two bins a decade.

    Attributes:
        edges: ``len(counts) + 1`` rising limits, in the unit of the output.
        counts: elements in each bin; the first and the last are not empty.
        equal: elements without any error, which are in no bin.
        within_99: an error that 99 % of the elements do not exceed.
    """

    edges: tuple[float, ...]
    counts: tuple[Count, ...]
    equal: Count
    within_99: float

    @field_validator("edges")
    @classmethod
    def _rise(cls, edges: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < a < b for a, b in pairwise(edges)):
            raise ValueError("edges do not rise from above 0")
        return edges

    @field_validator("counts")
    @classmethod
    def _fit(cls, counts: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        edges = info.data.get("edges", ())
        if len(edges) != (len(counts) + 1 if counts else 0):
            raise ValueError(f"{len(counts)} counts do not lie between {len(edges)} edges")
        return counts

    @property
    def total(self) -> int:
        """Elements compared."""
        return self.equal + sum(self.counts)


class OutputDifference(Frozen):
    """One output of the candidate against the same output of the reference.

    Attributes:
        name: of the output.
        shape: of one sample, the batch axis left out; None for an axis that varied.
        samples: length of the batch axis, over all runs.
        relative_error: ``‖a − b‖ / ‖a‖``; infinite where only the candidate is not finite, nan where
            nothing was compared. JSON has null for both.
        snr_db: signal to noise, dB; infinite where equal, which JSON has as null.
        psnr_db: peak signal to noise, dB; likewise.
        worst_snr_db: the same of the part that lost most, beside what it varies by from sample to sample:
            what ``--min-snr`` limits; nan where nothing was compared.
        worst_part: that part, such as ``channels 4–13``; empty where the output has one part.
        cosine: of the angle between the two, as vectors of everything seen; nan where there is none.
        max_abs: largest ``|a − b|``.
        nonfinite: elements that are finite in the reference but not in the candidate.
        mismatched: runs left out because the shapes, or kinds of type, of the two differ.
        agreement: share of equal top-1 classes (class scores) or of equal elements (integers, booleans,
            strings); None for other outputs.
        kl: mean divergence of the candidate's class probabilities from the reference's, nats.
        estimated_drop: accuracy lost if classes are as likely as the reference says: the mean of
            ``p(a) − p(b)`` over answers a of the reference and b of the candidate, 0 for b of no numbers.
        top1: accuracy, with labels only.
        top5: accuracy among the five best, with labels and more than five classes only.
        target: PSNR against the true output, with targets only.
        errors: how absolute errors are distributed; None where numbers mean nothing or none was compared.
    """

    name: str
    shape: tuple[Count | None, ...]
    samples: Count
    relative_error: Unknown
    snr_db: Unknown
    psnr_db: Unknown
    worst_snr_db: Unknown = Field(default_factory=lambda: math.nan)
    worst_part: str = ""
    cosine: Unknown
    max_abs: Unknown
    nonfinite: Count
    mismatched: Count
    agreement: Probability | None
    kl: float | None
    estimated_drop: float | None = None
    top1: TopK | None
    top5: TopK | None
    target: Target | None
    errors: Histogram | None = None

    @field_validator("snr_db", "psnr_db", "worst_snr_db", mode="before")
    @classmethod
    def _equal(cls, value: Any, info: ValidationInfo) -> Any:
        """JSON has null for the noise of equal outputs, and for what cannot be said."""
        return math.inf if value is None and info.data.get("relative_error") == 0 else value

    @property
    def is_finite(self) -> bool:
        """Whether it could be said how far the two are apart."""
        return math.isfinite(self.relative_error)

    def line(self, *, labels: bool = True) -> str:
        """How far it is from the original's, in a line; ``labels`` adds what labels say."""
        if self.mismatched:
            return f"its shape differs from the original's in {self.mismatched} runs"
        if not self.is_finite:
            return f"NOT FINITE in {self.nonfinite} values that were finite in the original"
        parts = [f"off by {percent(self.relative_error)}", self._snr()]
        parts += self._by_class(labels)
        if not math.isnan(self.cosine):
            parts.append(f"cosine {signed(self.cosine, 5)}")
        for top, label in ((self.top1, "top-1"), (self.top5, "top-5")) if labels else ():
            if top is not None:
                parts.append(_labelled(top, label))
        if self.target is not None:
            before, after = self.target.reference_psnr_db, self.target.candidate_psnr_db
            parts.append(f"against the target {decibel(before)} → {decibel(after)}")
        return ", ".join(parts)

    def _snr(self) -> str:
        """What limits go by, and the plain one where that says something else."""
        plain, worst = decibel(self.snr_db), decibel(self.worst_snr_db)
        if math.isnan(self.worst_snr_db):
            return f"SNR {plain}"
        if not self.worst_part and not abs(self.snr_db - self.worst_snr_db) > _SAME_DB:
            return f"SNR {worst}"
        where = f"in {self.worst_part}" if self.worst_part else "beside what it varies by"
        return f"SNR {worst} {where} ({plain} over all)"

    def _by_class(self, labels: bool) -> list[str]:
        if self.agreement is None:
            return [f"PSNR {decibel(self.psnr_db)}"]
        parts = [f"same answer on {percent(self.agreement)} of {self.samples}"]
        told = self.samples >= _LEAST_TOLD
        if self.kl is not None:
            parts.append(f"KL {self.kl:.2g}")
        if told and self.estimated_drop is not None and not (labels and self.top1):
            parts.append(f"top-1 down by about {points(self.estimated_drop)}, as estimated without labels")
        return parts


def _labelled(top: TopK, label: str) -> str:
    differs = top.lost or top.gained
    drop = f"drop {points(top.drop)}; {top.verdict.text}" if differs else "no sample differs"
    return f"{label} {percent(top.reference.value)} → {percent(top.candidate.value)} ({drop})"


class Accuracy(Frozen):
    """A candidate's outputs against the reference's.

    Attributes:
        outputs: one comparison for each output, in the order of the reference.
        samples: compared.
        with_labels: samples whose label is known.
        classifier: the output that was compared with labels, if any.
        boxes: what true boxes say of both: mAP@0.5, and mAP@0.5:0.95.
    """

    outputs: tuple[OutputDifference, ...]
    samples: Count
    with_labels: Count
    classifier: str | None = None
    boxes: tuple[Quality, ...] = ()

    @property
    def baseline_at_chance(self) -> float | None:
        """Share the reference gets right where that is no better than chance, so that it says nothing.

        That is below 5 % and below 2 / classes, on at least 50 labelled samples; None otherwise.
        """
        output = next((o for o in self.outputs if o.name == self.classifier), None)
        classes = output.shape[0] if output and output.shape else None
        if output is None or output.top1 is None or not classes:
            return None
        right = output.top1.reference.value
        return right if self.with_labels >= _LEAST_LABELLED and right < min(2 / classes, _POOR) else None

    @property
    def telling(self) -> OutputDifference | None:
        """The output compared with labels or targets, else the one that is furthest off."""
        for output in self.outputs:
            if output.top1 or output.target:
                return output

        def off(output: OutputDifference) -> float:
            return output.relative_error if output.is_finite and not output.mismatched else math.inf

        return max(self.outputs, key=off, default=None)


__all__ = [
    "Accuracy",
    "Histogram",
    "OutputDifference",
    "Share",
    "Target",
    "TopK",
]
