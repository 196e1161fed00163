"""How well a detector finds the boxes that are known to be there: mean average precision.

As COCO counts it (Lin et al. 2014): in each image, boxes are matched with the true ones of their class, the
surest first, each with the one it overlaps most; what overlaps none by the threshold is wrong. Precision is
averaged over 101 recalls, and over classes; mAP@0.5:0.95 over ten thresholds of IoU, too. Here all boxes that
score 0.02 count.

Labels do not say in which unit a network answers, in which order it gives x and y, or by which number it
calls a class. That is read off what the original finds: the reading by which it finds most is the one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.errors import DataError
from sepfactor.measure.flips import Mask, with_upper_end
from sepfactor.measure.tasks.boxes import Boxes, overlaps

Array = NDArray[Any]
Floats = NDArray[np.float64]

THRESHOLDS = np.arange(50, 100, 5) / 100
"""Of IoU."""

_RECALLS = np.linspace(0, 1, 101)
_LEAST = 0.05
"""An original of less average precision than this was not meant for these labels."""

_INDEX, _RAW, _CROWD = 4, 5, 6
"""Columns of true boxes, behind their corners."""

_LOOKED_AT = 200
"""Images by which labels are read."""


@dataclass(frozen=True)
class Reading:
    """How boxes of a network compare with labels.

    Attributes:
        scale: of x and y, to pixels.
        is_turned: whether y comes before x.
        column: of true boxes that holds the class; None where the network knows but one.
        first: number by which the network calls class 0.
    """

    scale: tuple[float, float]
    is_turned: bool
    column: int | None
    first: int

    def corners(self, boxes: Boxes) -> Floats:
        """``(n, 4)`` in pixels."""
        corners = boxes.corners[:, [1, 0, 3, 2]] if self.is_turned else boxes.corners
        return np.asarray(corners * np.array([*self.scale, *self.scale]))

    def classes(self, boxes: Boxes) -> NDArray[np.int64]:
        """``(n,)`` of the network."""
        return np.zeros(len(boxes), np.int64) if self.column is None else boxes.classes

    def true_classes(self, truth: Array) -> NDArray[np.int64]:
        """``(n,)`` of the labels, in the network's numbers."""
        if self.column is None:
            return np.zeros(len(truth), np.int64)
        return np.asarray(truth[:, self.column].astype(np.int64) + self.first)


@dataclass(frozen=True, eq=False)
class Graded:
    """Boxes of a network on all images, and whether they are right.

    Attributes:
        image, classes, scores: ``(n,)`` of each box.
        is_right, counts: ``(n, thresholds)``; what lies in a crowd does not count.
        asked: class → ``(images,)`` true boxes.
    """

    image: NDArray[np.int64]
    classes: NDArray[np.int64]
    scores: Floats
    is_right: NDArray[np.bool_]
    counts: NDArray[np.bool_]
    asked: dict[int, NDArray[np.int64]]

    def precision(self, left: Mask | None = None) -> Floats:
        """``(thresholds,)``: precision averaged over recalls and classes, over the images left in."""
        sums: Floats = np.zeros(self.is_right.shape[1])
        number = 0
        for label, asked in self.asked.items():
            total = int(asked.sum() if left is None else asked[left].sum())
            if not total:
                continue
            number += 1
            here = self.classes == label
            if left is not None:
                here &= left[self.image]
            sums += _average(self.scores[here], self.is_right[here], self.counts[here], total)
        return sums / max(number, 1)

    def lost_to(self, other: Graded, thresholds: slice) -> Callable[[Mask, Mask], float]:
        """What of the mean over some thresholds another network lost, by images left in."""

        def lost(left: Mask, _: Mask) -> float:
            return float(np.mean((self.precision(left) - other.precision(left))[thresholds]))

        return lost


@dataclass(frozen=True, eq=False)
class Truth:
    """Labels of images, and how they are read.

    Attributes:
        images: ``(n, 7)`` of each: corners in pixels, class from 0, class as given, whether it is a crowd.
        reading: how boxes of the network compare with them.
    """

    images: Sequence[Array]
    reading: Reading

    @classmethod
    def read_by(cls, found: Sequence[Boxes], images: Sequence[Array], size: tuple[int, int]) -> Truth:
        """Labels as the original answers to them.

        Args:
            found: by the original, of each image.
            images: true boxes of each, ``(n, 7)``.
            size: height and width of what the network sees.

        Raises:
            DataError: they are not of as many images, or the original finds hardly any of them.
        """
        if len(found) != len(images):
            raise DataError(
                f"There are boxes of {len(images)} samples as labels, and {len(found)} samples: give as many."
            )
        some = slice(_LOOKED_AT)
        graded = {
            one: float(cls(images[some], one).grade(found[some]).precision()[0])
            for one in _readings(found, size)
        }
        best = max(graded, key=graded.__getitem__)
        if graded[best] < _LEAST:
            raise DataError(
                f"The original finds hardly any of the {sum(map(len, images))} boxes that the labels have "
                f"(mAP@0.5 {100 * graded[best]:.1f} %), in whatever unit and by whatever numbers of classes: "
                "are they of these images, in pixels, and is the preprocessing what the network was made for?"
            )
        return cls(images, best)

    @property
    def asked(self) -> int:
        """True boxes that there are to find."""
        return sum(int(np.count_nonzero(truth[:, _CROWD] == 0)) for truth in self.images)

    def grade(self, found: Sequence[Boxes]) -> Graded:
        """Boxes of a network on the first of the images."""
        rows = [_graded(self.reading, boxes, truth) for boxes, truth in zip(found, self.images, strict=False)]
        counts = [len(boxes) for boxes in found]
        classes = np.concatenate([self.reading.classes(boxes) for boxes in found])
        return Graded(
            image=np.repeat(np.arange(len(found)), counts),
            classes=classes,
            scores=np.concatenate([boxes.scores for boxes in found]),
            is_right=np.concatenate([right for right, _ in rows]),
            counts=np.concatenate([counted for _, counted in rows]),
            asked=self._asked(len(found)),
        )

    def _asked(self, count: int) -> dict[int, NDArray[np.int64]]:
        found: dict[int, NDArray[np.int64]] = {}
        for number, truth in enumerate(self.images[:count]):
            for label in self.reading.true_classes(truth[truth[:, _CROWD] == 0]).tolist():
                found.setdefault(label, np.zeros(count, np.int64))[number] += 1
        return found


def loss(before: Graded, after: Graded, thresholds: slice, units: int | None) -> tuple[float, float]:
    """What of the mean over some thresholds is lost, and the upper end of its interval, by images."""
    images = np.arange(len(next(iter(before.asked.values()), ())))
    return with_upper_end(before.lost_to(after, thresholds), images, units=units, is_share=False)


def _readings(found: Sequence[Boxes], size: tuple[int, int]) -> Iterator[Reading]:
    height, width = size
    units = ((1.0, 1.0), (float(width), float(height)))
    knows_classes = len({label for boxes in found for label in boxes.classes.tolist()}) > 1
    names = ((_INDEX, 0), (_INDEX, 1), (_RAW, 0), (_RAW, 1)) if knows_classes else ((None, 0),)
    for scale, is_turned, (column, first) in itertools.product(units, (False, True), names):
        yield Reading(scale, is_turned, column, first)


def _graded(reading: Reading, boxes: Boxes, truth: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """``(n, thresholds)`` of the boxes of an image, the best first: which are right, and which count."""
    shape = (len(boxes), len(THRESHOLDS))
    right, counted = np.zeros(shape, bool), np.ones(shape, bool)
    if not len(truth) or not len(boxes):
        return right, counted
    corners, classes = reading.corners(boxes), reading.classes(boxes)
    true_classes, is_crowd = reading.true_classes(truth), truth[:, _CROWD] != 0
    free = np.ones((len(truth), len(THRESHOLDS)), bool)
    for k in range(len(boxes)):
        shared = np.where(true_classes == classes[k], overlaps(corners[k], truth[:, :4]), 0.0)
        if not shared.any():
            continue
        fits = (shared[:, None] >= THRESHOLDS) & free
        own = np.where(fits & ~is_crowd[:, None], shared[:, None], -1.0)
        best, at = own.argmax(axis=0), np.arange(len(THRESHOLDS))
        right[k] = own[best, at] > 0
        free[best[right[k]], at[right[k]]] = False
        counted[k] = right[k] | ~(fits & is_crowd[:, None]).any(axis=0)
    return right, counted


def _average(scores: Floats, right: Array, counts: Array, total: int) -> Floats:
    """``(thresholds,)`` precision of one class, averaged over recalls."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order], axis=0)
    wrong = np.cumsum((counts & ~right)[order], axis=0)
    found: Floats = np.zeros(right.shape[1])
    if not len(order):
        return found
    precision = hits / np.maximum(hits + wrong, 1)
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    for k in range(len(found)):
        at = np.searchsorted(hits[:, k] / total, _RECALLS - 1e-12)
        found[k] = np.where(at < len(order), envelope[np.minimum(at, len(order) - 1), k], 0.0).mean()
    return found
