"""How far two networks differ, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sepfactor.report.base import Document, Frozen


class Share(Frozen):
    """A share of samples, from 0 to 1, with its 95 % interval."""

    value: float
    low: float
    high: float


class TopK(Frozen):
    """How often the label is among the k best classes.

    Attributes:
        drop: share lost, with its 95 % interval.
        p_value: of McNemar's exact test that neither is better. verdict: both in words.
        lost, gained: samples that only the reference, or only the candidate, gets right.
    """

    reference: Share
    candidate: Share
    drop: float
    drop_low: float
    drop_high: float
    p_value: float
    verdict: str
    lost: int
    gained: int


class Target(Frozen):
    """PSNR of both against what the output should be, dB; null where it is met exactly."""

    reference_psnr_db: float | None
    candidate_psnr_db: float | None
    drop_db: float | None
    peak: float


class Histogram(Frozen):
    """Absolute errors: counts between rising edges, elements without any, and what 99 % stay within."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    equal: int
    within_99: float


class OutputDifference(Frozen):
    """One output of the candidate against the reference's.

    Attributes:
        shape: of one sample; null for an axis that varied.
        relative_error: ``‖a − b‖ / ‖a‖``; null where something is not finite, or nothing was compared.
        snr_db, psnr_db: dB; null when equal. cosine: of the two as vectors. max_abs: largest error.
        errors: how they are distributed.
        nonfinite: elements only the candidate has as NaN or infinity. mismatched: runs of another shape.
        agreement: share of equal best classes, or of equal whole numbers.
        kl: mean divergence of class probabilities, nats.
        estimated_drop: accuracy lost if classes are as likely as the original says.
        top1, top5, target: with labels or targets only.
    """

    name: str
    shape: tuple[int | None, ...]
    samples: int
    relative_error: float | None
    snr_db: float | None
    psnr_db: float | None
    cosine: float | None
    max_abs: float | None
    nonfinite: int
    mismatched: int
    agreement: float | None
    kl: float | None
    estimated_drop: float | None = None
    top1: TopK | None
    top5: TopK | None
    target: Target | None
    errors: Histogram | None = None


class Picture(Frozen):
    """One sample as both networks see it; images are PNG data URIs.

    Attributes:
        sample: its place in the data. output: the output shown.
        input: what went in, if that is an image.
        original, result, difference: the same part of what came out, if that is an image; differences
            are ``gain`` times as strong as they are.
        classes: best class of the original and of the result, of a classifier. label: the true one.
        snr_db: of this sample.
    """

    sample: int
    output: str
    input: str | None = None
    original: str | None = None
    result: str | None = None
    difference: str | None = None
    gain: float | None = None
    classes: tuple[int, int] | None = None
    label: int | None = None
    snr_db: float | None = None


class Comparison(Document):
    """How far ``candidate`` differs from ``reference`` on data.

    Attributes:
        data: what they were run on. samples: how many. with_labels: of which the class is known.
        outputs: one comparison each, in the order of the reference.
        classifier: the output that was compared with labels.
        pictures: samples on which the two differ, if they are images.
    """

    reference: str
    candidate: str
    environment: Mapping[str, Any]
    data: Mapping[str, Any]
    samples: int
    with_labels: int
    outputs: tuple[OutputDifference, ...]
    classifier: str | None = None
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        from sepfactor.report.words import output_line

        lines = "; ".join(f"{o.name}: {output_line(o.model_dump())}" for o in self.outputs)
        return f"<Comparison of {self.candidate} with {self.reference} on {self.samples} samples: {lines}>"

    __str__ = __repr__
