"""Boxes of two networks on the same images: which of one's are found by the other.

A box of one network is found where the other has one of its class that overlaps it by half (IoU ≥ 0.5) with a
score above the threshold. As with classes, each box says more than found or lost: how far its score is above
the threshold, and how much it changed. So shares are estimated from all pairs of margins and changes
(:mod:`sepfactor.measure.flips`), in logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.flips import expected_share, with_upper_end

Array = NDArray[Any]
Floats = NDArray[np.float64]

THRESHOLD = 0.25
"""Boxes of this score are answers: what the YOLO family's own tools hand out."""

LOW = 0.02
"""Boxes below it are not looked at, even to see how far a score fell."""

OVERLAP = 0.5
"""IoU from which on two boxes are of one object."""

_NMS = 0.45
_APART = 0.25
"""Of the spread of values: boxes further apart are not of one object."""

_MOST = 1000
"""Boxes of an image that are looked at, the best first."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """Of one image, the best first.

    Attributes:
        corners: ``(n, 4)`` x0, y0, x1, y1 in any unit.
        scores: ``(n,)`` from 0 to 1.
        classes: ``(n,)``.
        values: ``(n, k)`` what else each box has, such as landmarks, in units of its size or of what it
            varies by.
    """

    corners: Floats
    scores: Floats
    classes: NDArray[np.int64]
    values: Floats

    @classmethod
    def of(
        cls, corners: Array, scores: Array, classes: Array | None = None, values: Array | None = None
    ) -> Boxes:
        """Those that are finite and score enough, in order."""
        corners, scores = np.asarray(corners, np.float64), np.asarray(scores, np.float64)
        classes = np.zeros(len(scores)) if classes is None else classes
        values = np.zeros((len(scores), 0)) if values is None else np.asarray(values, np.float64)
        kept = np.flatnonzero((scores >= LOW) & np.isfinite(corners).all(axis=1))
        kept = kept[np.argsort(-scores[kept], kind="stable")][:_MOST]
        labels = np.nan_to_num(classes[kept], nan=-1.0).astype(np.int64)
        return cls(corners[kept], np.minimum(scores[kept], 1.0), labels, values[kept])

    @classmethod
    def none(cls) -> Boxes:
        """No boxes at all."""
        return cls.of(np.zeros((0, 4)), np.zeros(0))

    def __len__(self) -> int:
        return len(self.scores)

    def without_doubles(self) -> Boxes:
        """What greedy suppression of boxes of a class that overlap leaves."""
        free, kept = np.ones(len(self), bool), list[int]()
        for k in range(len(self)):
            if free[k]:
                kept.append(k)
                free &= (overlaps(self.corners[k], self.corners) < _NMS) | (self.classes != self.classes[k])
        at = np.array(kept, np.int64)
        return Boxes(self.corners[at], self.scores[at], self.classes[at], self.values[at])


def overlaps(box: Floats, others: Floats) -> Floats:
    """``(n,)``: intersection over union of one box ``(4,)`` with others ``(n, 4)``."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(np.clip(others[:, 2:] - others[:, :2], 0, None), axis=1)
    area = float(np.prod(np.clip(box[2:] - box[:2], 0, None)))
    return np.asarray(common / np.maximum(areas + area - common, 1e-12))


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of the boxes of one network above the threshold, over all images.

    Attributes:
        before: ``(n,)`` margins of scores over the threshold, logits.
        after: ``(n,)`` the same of the boxes of the other network that overlap; -inf where none does.
        overlap: ``(n,)`` IoU of both; 0 where none does.
        image: ``(n,)`` index of the image.
        others: ``(m,)`` margins of boxes on further images, which are as good as any.
    """

    before: Floats
    after: Floats
    overlap: Floats
    image: NDArray[np.int64]
    others: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def share(self) -> float:
        """Found, as counted; 1 where there was nothing to find."""
        return float(np.mean(self.after >= 0)) if len(self.after) else 1.0

    def lost(self, units: int | None = None) -> tuple[float, float]:
        """The share that is lost, as estimated from all pairs, and the upper end of its interval.

        Args:
            units: images that the interval is of, if it is that of others like these.
        """
        if not len(self.before):
            return 0.0, 0.0
        return with_upper_end(self._lost, self.image, len(self.others), units=units)

    def _lost(self, left: NDArray[np.bool_], further: NDArray[np.bool_]) -> float:
        before, after = self.before[left], self.after[left]
        pool = np.concatenate([before, self.others[further]])
        return 1.0 - expected_share(before, after, pool) if len(before) else 0.0

    @property
    def divergence(self) -> float:
        """Mean of (1 − IoU)² + the squared change of the score; 1 of what is lost."""
        if not len(self.before):
            return 0.0
        change = _share(self.before) - _share(self.after)
        return float(np.mean(np.where(self.overlap > 0, (1 - self.overlap) ** 2 + change**2, 1.0)))


def match(
    ours: Sequence[Boxes],
    theirs: Sequence[Boxes],
    spread: Floats | None = None,
    others: Floats | None = None,
) -> Matches:
    """What of ``ours`` above the threshold is found among ``theirs``, image by image.

    Args:
        ours: of each image.
        theirs: of the same.
        spread: ``(k,)`` how much the values of boxes vary: boxes whose values are further apart than a
            quarter of it, in the mean, are not of one object.
        others: ``(m,)`` margins of boxes on further images.
    """
    columns: list[tuple[float, float, float, int]] = []
    for image, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        columns += [(*found, image) for found in _of_image(our, their, spread)]
    before, after, overlap, images = np.array(columns, np.float64).reshape(-1, 4).T
    further = np.zeros(0) if others is None else others
    return Matches(before, after, overlap, images.astype(np.int64), further)


def margins(images: Sequence[Boxes]) -> Floats:
    """``(n,)`` of all boxes above the threshold."""
    return np.array([_margin(score) for boxes in images for score in boxes.scores if score >= THRESHOLD])


def _of_image(ours: Boxes, theirs: Boxes, spread: Floats | None) -> list[tuple[float, float, float]]:
    free = np.ones(len(theirs), bool)
    found = []
    for k in range(int(np.count_nonzero(ours.scores >= THRESHOLD))):
        best, margin, overlap = -1, -np.inf, 0.0
        if len(theirs):
            shared = overlaps(ours.corners[k], theirs.corners)
            shared = np.where(free & (theirs.classes == ours.classes[k]), shared, 0.0)
            if spread is not None and len(spread):
                apart = np.abs(theirs.values - ours.values[k]) / np.maximum(spread, 1e-12)
                shared = np.where(np.nan_to_num(apart, nan=np.inf).mean(axis=1) <= _APART, shared, 0.0)
            best = int(np.argmax(shared))
            if shared[best] >= OVERLAP:
                free[best] = False
                margin, overlap = _margin(theirs.scores[best]), float(shared[best])
        found.append((_margin(ours.scores[k]), margin, overlap))
    return found


def _margin(score: float) -> float:
    """How far a score is above the threshold, in logits."""
    held = min(max(float(score), 1e-6), 1 - 1e-6)
    return float(np.log(held / (1 - held)) - np.log(THRESHOLD / (1 - THRESHOLD)))


def _share(margins: Floats) -> Floats:
    """Scores of margins."""
    odds = np.exp(np.clip(margins, -50, 50)) * THRESHOLD / (1 - THRESHOLD)
    return np.asarray(np.where(np.isfinite(margins), odds / (1 + odds), 0.0))
