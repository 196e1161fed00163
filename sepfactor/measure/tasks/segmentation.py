"""Maps of classes: which class each pixel is of, or whether it is of the one there is.

Two maps differ by the mean intersection over union of their classes, over pixels of all images. Of a map of
one class both thresholds in use, 0.3 and 0.5, are looked at, and the worse counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.tasks.base import Answers, Floats, Found, Task, Wanted, changed, pessimistic
from sepfactor.results import Quality

Array = NDArray[Any]

_THRESHOLDS = (0.3, 0.5)
_TOLERANCE = 1e-3
_SHARP = 0.85
"""Of a mask, so many pixels are sure: within a tenth of 0 or 1."""

_LEAST_SHARE = 1e-3
"""Of all pixels, a class has so many at least where it is seen."""


class Segmentation(Task):
    """By the mean intersection over union, images counted as the unit."""

    name = "segmentation"
    tolerance = 0.01
    kinds = ("overlap",)

    @classmethod
    def find(cls, outputs: Sequence[Answers], wanted: Wanted) -> Iterator[Found]:
        """Each output of class probabilities by pixel, or of a mask that is sure nearly everywhere."""
        for one in outputs:
            first = one.runs[0]
            if first.dtype.kind != "f" or first.ndim != 4 or min(first.shape[2:]) < 2:
                continue
            why = _why(one)
            if wanted.task == cls.name or why is not None:
                yield Found(cls(one), why or "as you say")

    def judge(self, after: Sequence[Sequence[Array]]) -> tuple[Quality, ...]:
        """The one quality, a share of 1, at the worse threshold."""
        (others,) = after
        before = self.answers.runs[: len(others)]
        differs = changed(before, others)
        squared, power = [], []
        counted: list[list[tuple[Floats, Floats]]] = []
        for ours, theirs, is_other in zip(before, others, differs, strict=True):
            held = np.full_like(ours, np.nan) if is_other else theirs
            counted += [_counts(a, b) for a, b in zip(ours, held, strict=True)]
            squared.append(float(np.mean((np.nan_to_num(held) - ours) ** 2)))
            power.append(float(np.mean(ours**2)))
        found = [_overlap([one[k] for one in counted], self.units) for k in range(len(counted[0]))]
        share, low = min(found, key=lambda one: one[1])
        return (
            Quality(
                kind="overlap",
                original=1.0,
                result=share,
                expected=share,
                pessimistic=low,
                divergence=float(np.mean(squared)) / max(float(np.mean(power)), 1e-12),
                samples=len(counted),
                output=self.answers.name,
                changed=sum(differs),
            ),
        )


def _why(answers: Answers) -> str | None:
    shape, runs = answers.shape, answers.runs
    if shape[1] > 1:
        sums = [run.astype(np.float64).sum(axis=1) for run in runs]
        if all(run.min() >= 0 for run in runs) and all(np.abs(s - 1).max() < _TOLERANCE for s in sums):
            return f"probabilities of {shape[1]} classes at each pixel"
        return None
    if any(run.min() < 0 or run.max() > 1 for run in runs):
        return None
    sure = float(np.mean([np.mean((run < 0.1) | (run > 0.9)) for run in runs]))
    inside = float(np.mean([np.mean(run > 0.5) for run in runs]))
    if sure < _SHARP or not _LEAST_SHARE < inside < 1 - _LEAST_SHARE:
        return None
    return f"a mask, {100 * sure:.0f} % of its pixels are sure, and {100 * inside:.0f} % inside"


def _counts(ours: Array, theirs: Array) -> list[tuple[Floats, Floats]]:
    """Of one image, ``(classes,)`` pixels in both and in either; of a mask, by threshold."""
    broken = np.isnan(theirs).any(axis=0)
    if len(ours) == 1:
        pairs = [((ours[0] > t).astype(int), (theirs[0] > t).astype(int)) for t in _THRESHOLDS]
    else:
        pairs = [(ours.argmax(axis=0), np.nan_to_num(theirs).argmax(axis=0))]
    number = max(len(ours), 2)
    found = []
    for a, b in pairs:
        wrong = (a != b) | broken
        own, other = (np.bincount(side.ravel(), minlength=number).astype(np.float64) for side in (a, b))
        both = np.bincount(a[~wrong].ravel(), minlength=number).astype(np.float64)
        found.append((both, own + other - both))
    return found


def _overlap(counts: Sequence[tuple[Floats, Floats]], units: int | None) -> tuple[float, float]:
    """The mean IoU over classes, and the lower end of its interval by images (linearised)."""
    both, either = (np.stack(side) for side in zip(*counts, strict=True))  # (images, classes)
    seen = either.sum(axis=0) > _LEAST_SHARE * either.sum() / 2
    both, either = both[:, seen], either[:, seen]
    lost = 1.0 - both.sum(axis=0) / either.sum(axis=0)
    missing = (either - both) / either.mean(axis=0)  # whose mean over images is what is lost
    weights = either / either.mean(axis=0)
    influence = (missing - lost * weights).mean(axis=1) + float(lost.mean())
    return 1.0 - float(lost.mean()), 1.0 - pessimistic(influence, units=units)
