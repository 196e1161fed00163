"""Detectors that answer at every anchor: how the known families export boxes, and how they are read.

=============  =======================================================================================
YOLOv5, v7     ``(N, R, 5 + C)``: centre x, y, width, height in pixels, objectness, scores of C classes
YOLOv8, 9, 11  ``(N, 4 + C, R)``: the same without objectness
YOLOX          ``(N, R, 5 + C)``: offsets and logarithms of sizes, on grids of strides 8, 16 and 32
SSD            ``(N, R, 4)`` and ``(N, R, C)``: corners, distances to them, or offsets from anchors unknown
=============  =======================================================================================

SSD's scores may be probabilities whose first class is the background. Where anchors are unknown, each is
taken
for a place of its own: boxes of one anchor are compared in its units, and answers of an anchor stand for
themselves. Other outputs of the same R rows, such as landmarks, belong to the boxes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.tasks.base import Answers
from sepfactor.measure.tasks.boxes import LOW, Boxes

Array = NDArray[Any]

_STRIDES = (8, 16, 32)
_LEAST_ANCHORS = 32
_TOLERANCE = 1e-3
_FAR = 1e4
"""So far apart lie anchors whose places are unknown, in units of their size."""

_VARIANCES = (0.1, 0.2)
"""Of SSD's offsets and logarithms of sizes (Liu et al. 2016, as everybody has copied it)."""


@dataclass(frozen=True)
class Yolo:
    """One output of boxes and scores.

    Attributes:
        axis: of ``(N, …, …)`` that the channels lie along.
        has_objectness: whether the fifth channel multiplies all scores.
        grid: ``(R, 3)`` x, y and stride of each anchor, where boxes are offsets; None where they are pixels.
    """

    axis: int
    has_objectness: bool
    grid: Array | None
    is_list: ClassVar[bool] = False
    is_placed: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """As people call it."""
        return "YOLOX" if self.grid is not None else "YOLOv5" if self.has_objectness else "YOLOv8"

    def decode(self, run: Sequence[Array], batch: int) -> list[Boxes]:
        """Boxes of each image of a run."""
        table = np.asarray(run[0], np.float64)
        return [self._of_image(one if self.axis == 2 else one.T) for one in table]

    def _of_image(self, rows: Array) -> Boxes:
        scores = rows[:, 5:] * rows[:, 4:5] if self.has_objectness else rows[:, 4:]
        if not scores.shape[1]:
            scores = rows[:, 4:5]
        best = np.nan_to_num(scores).max(axis=1)
        at = np.flatnonzero(best >= LOW)
        centre, size = rows[at, :2], rows[at, 2:4]
        if self.grid is not None and len(self.grid) != len(rows):
            return Boxes.none()  # of an image of another size
        if self.grid is not None:
            place = self.grid[at]
            centre = (centre + place[:, :2]) * place[:, 2:]
            size = np.exp(np.minimum(size, 20.0)) * place[:, 2:]
        corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
        return Boxes.of(corners, best[at], scores[at].argmax(axis=1)).without_doubles()


@dataclass(frozen=True)
class Ssd:
    """Outputs of R rows each: boxes, scores, and what else belongs to them.

    Attributes:
        form: of boxes: ``corners``, ``distances`` to the four sides, or ``offsets`` of SSD.
        has_background: whether the first class is none.
    """

    form: Literal["corners", "distances", "offsets"]
    has_background: bool
    is_list: ClassVar[bool] = False

    @property
    def is_placed(self) -> bool:
        """Where anchors are in the network."""
        return self.form == "corners"

    @property
    def name(self) -> str:
        """As people call it."""
        return f"SSD ({self.form})"

    def decode(self, run: Sequence[Array], batch: int) -> list[Boxes]:
        """Boxes of each image of a run."""
        rows = [np.asarray(one, np.float64).reshape(len(one), one.shape[1], -1) for one in run]
        return [self._of_image(*(one[k] for one in rows)) for k in range(len(rows[0]))]

    def _of_image(self, boxes: Array, scores: Array, *more: Array) -> Boxes:
        scores = scores[:, 1:] if self.has_background else scores
        best = np.nan_to_num(scores).max(axis=1)
        at = np.flatnonzero(best >= LOW)
        values = np.concatenate([one[at] for one in more], axis=1) if more else None
        found = Boxes.of(self._corners(boxes[at], at), best[at], scores[at].argmax(axis=1), values)
        return found.without_doubles()

    def _corners(self, boxes: Array, at: Array) -> Array:
        if self.form == "corners":
            return boxes
        place = _FAR * at[:, None]
        if self.form == "distances":
            return np.concatenate([place - boxes[:, :2], place + boxes[:, 2:]], axis=1)
        centre = place + _VARIANCES[0] * boxes[:, :2]
        size = np.exp(np.minimum(_VARIANCES[1] * boxes[:, 2:], 20.0))
        return np.concatenate([centre - size / 2, centre + size / 2], axis=1)


def yolos(outputs: Sequence[Answers], image: tuple[int, int] | None) -> Iterator[tuple[tuple[Answers], Yolo]]:
    """Outputs that have the form of a YOLO's, and how they would be read."""
    for one in outputs:
        run = one.runs[0]
        if run.dtype.kind != "f" or run.ndim != 3 or not np.isfinite(run).all():
            continue
        for axis in (2, 1):
            rows = run if axis == 2 else run.transpose(0, 2, 1)
            if rows.shape[1] < max(_LEAST_ANCHORS, rows.shape[2]) or rows.shape[2] < 5:
                continue
            if not _are_shares(rows[..., 4:]) or _are_shares(rows[..., :4]):
                continue
            grid = _grid(rows.shape[1], image)
            if (rows[..., 2:4] < 0).any():  # logarithms
                if grid is not None:
                    yield (one,), Yolo(axis, True, grid)
            else:
                yield (one,), Yolo(axis, axis == 2, None)
                yield (one,), Yolo(axis, axis == 1, None)  # the other way round, if that has no boxes


def ssds(outputs: Sequence[Answers]) -> Iterator[tuple[tuple[Answers, ...], Ssd]]:
    """Outputs that have the form of an SSD's, boxes and scores first, and how they would be read."""
    tables = [
        one
        for one in outputs
        if one.runs[0].dtype.kind == "f" and one.runs[0].ndim == 3 and one.runs[0].shape[1] >= _LEAST_ANCHORS
    ]
    for boxes in tables:
        run = boxes.runs[0]
        if run.shape[2] != 4 or not np.isfinite(run).all():
            continue
        same = [one for one in tables if one is not boxes and one.runs[0].shape[:2] == run.shape[:2]]
        scores = next((one for one in same if _are_shares(one.runs[0])), None)
        if scores is None:
            continue
        table = scores.runs[0]
        has_background = table.shape[2] > 1 and bool(
            np.abs(table.sum(axis=2) - 1).max() < _TOLERANCE and table[..., 0].mean() > 0.5
        )
        rest = [one for one in same if one is not scores]
        yield (boxes, scores, *rest), Ssd(_form(run), has_background)


def _form(boxes: Array) -> Literal["corners", "distances", "offsets"]:
    if (boxes[..., 2:] > boxes[..., :2]).all(axis=2).mean() > 0.99:
        return "corners"
    return "distances" if (boxes >= 0).all(axis=2).mean() > 0.99 else "offsets"


def _are_shares(values: Array) -> bool:
    return bool(values.min() >= -_TOLERANCE and values.max() <= 1 + _TOLERANCE)


def _grid(anchors: int, image: tuple[int, int] | None) -> Array | None:
    """``(R, 3)``: x, y and stride of the anchors of an image, if there are as many."""
    if image is None:
        return None
    found = []
    for stride in _STRIDES:
        y, x = np.mgrid[: image[0] // stride, : image[1] // stride]
        found.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    grid = np.concatenate(found).astype(np.float64)
    return grid if len(grid) == anchors else None
