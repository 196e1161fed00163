"""Detectors that answer with a list: what is left when overlapping boxes are gone.

One output holds a row a detection, such as x0, y0, x1, y1, score, class of YOLOv10, or image, x0, y0, x1, y1,
class, score of YOLOv7 and image, class, score, x0, y0, x1, y1 of SSD; or boxes, scores and classes are
outputs of their own, as torchvision and TensorFlow have it. Which column is what is read off the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.tasks.base import Answers
from sepfactor.measure.tasks.boxes import Boxes

Array = NDArray[Any]

_COLUMNS = (6, 7)
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Rows:
    """A row a detection.

    Attributes:
        box: index of the first of four columns of corners.
        score: index of its column.
        label: index of the class's column.
        image: index of the column that says which image of the batch; None where there is none.
    """

    box: int
    score: int
    label: int
    image: int | None
    name: str = "a row a detection"
    is_list: ClassVar[bool] = True
    is_placed: ClassVar[bool] = True

    def decode(self, run: Sequence[Array], batch: int) -> list[Boxes]:
        """Boxes of each image of a run."""
        (table,) = run
        if self.image is None and table.ndim == 3 and len(table) == batch:
            return [self._of_image(one) for one in table]
        rows = table.reshape(-1, table.shape[-1])
        if self.image is None:
            return [self._of_image(rows)]
        return [self._of_image(rows[rows[:, self.image] == k]) for k in range(batch)]

    def _of_image(self, rows: Array) -> Boxes:
        return Boxes.of(rows[:, self.box : self.box + 4], rows[:, self.score], rows[:, self.label])


@dataclass(frozen=True)
class Apart:
    """Boxes, scores and perhaps classes, an output each."""

    name: str = "boxes, scores and classes apart"
    is_list: ClassVar[bool] = True
    is_placed: ClassVar[bool] = True

    def decode(self, run: Sequence[Array], batch: int) -> list[Boxes]:
        """Boxes of each image of a run."""
        boxes, *others = run
        if boxes.ndim == 3 and len(boxes) == batch:
            return [self._of_image(*(one[k] for one in run)) for k in range(batch)]
        return [self._of_image(boxes.reshape(-1, 4), *(one.reshape(-1) for one in others))]

    def _of_image(self, boxes: Array, scores: Array, labels: Array | None = None) -> Boxes:
        count = min(len(boxes), len(scores))
        return Boxes.of(boxes[:count], scores[:count], None if labels is None else labels[:count])


def rows(outputs: Sequence[Answers]) -> Iterator[tuple[tuple[Answers], Rows]]:
    """Outputs of a row a detection, and which column is what."""
    for one in outputs:
        first = one.runs[0]
        if first.dtype.kind != "f" or first.ndim < 2 or first.shape[-1] not in _COLUMNS:
            continue
        if set(first.shape[1:-2]) - {1} or any(run.shape[-1] != first.shape[-1] for run in one.runs):
            continue
        table = np.concatenate([run.reshape(-1, run.shape[-1]) for run in one.runs])
        table = table[np.abs(table).sum(axis=1) > 0]  # what pads the list
        found = _columns(table) if len(table) and np.isfinite(table).all() else None
        if found is not None:
            yield (one,), found


def _columns(table: Array) -> Rows | None:
    width = table.shape[1]
    whole = [bool((table[:, k] == np.round(table[:, k])).all()) for k in range(width)]
    share = [bool(table[:, k].min() >= 0 and table[:, k].max() <= 1 + _TOLERANCE) for k in range(width)]
    for box in (0, 1, 2, 3)[: width - 5]:
        corners = table[:, box : box + 4]
        if not (corners[:, 2:] >= corners[:, :2] - _TOLERANCE).all() or all(whole[box : box + 4]):
            continue
        rest = [k for k in range(width) if not box <= k < box + 4]
        scores = [k for k in rest if share[k] and not whole[k]]
        labels = [k for k in rest if whole[k] and k not in scores]
        if len(scores) == 1 and len(labels) == width - 5:
            image = 0 if width == 7 and 0 in labels else None
            label = next((k for k in labels if k != image), labels[0])
            return Rows(box, scores[0], label, image)
    return None


def apart(outputs: Sequence[Answers]) -> Iterator[tuple[tuple[Answers, ...], Apart]]:
    """Outputs of as many boxes, scores and classes."""
    for boxes in outputs:
        first = boxes.runs[0]
        if first.dtype.kind != "f" or first.ndim not in (2, 3):
            continue
        if any(run.shape[-1] != 4 for run in boxes.runs):
            continue
        same = [one for one in outputs if one is not boxes and _length(one) == _length(boxes, 1)]
        scores = next((one for one in same if one.runs[0].dtype.kind == "f" and _is_share(one)), None)
        if scores is None or not _are_corners(boxes):
            continue
        labels = [one for one in same if one is not scores and _is_whole(one)]
        yield (boxes, scores, *labels[:1]), Apart()


def _length(answers: Answers, less: int = 0) -> list[tuple[int, ...]]:
    """Shapes of the first runs, without the last ``less`` axes."""
    return [run.shape[: run.ndim - less] for run in answers.runs[:8]]


def _is_share(answers: Answers) -> bool:
    values = np.concatenate([run.ravel() for run in answers.runs])
    return bool(len(values) and values.min() >= 0 and values.max() <= 1 + _TOLERANCE)


def _is_whole(answers: Answers) -> bool:
    return all(bool((run == np.round(run)).all()) for run in answers.runs)


def _are_corners(answers: Answers) -> bool:
    table = np.concatenate([run.reshape(-1, 4) for run in answers.runs]).astype(np.float64)
    return bool(len(table) and (table[:, 2:] >= table[:, :2] - _TOLERANCE).all())
