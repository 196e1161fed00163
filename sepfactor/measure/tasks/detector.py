"""Boxes: which of the original's are found, and which are new, matched at IoU 0.5."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.tasks import anchors, detections
from sepfactor.measure.tasks.base import Answers, Found, Task, Wanted, changed
from sepfactor.measure.tasks.boxes import THRESHOLD, Boxes, margins, match
from sepfactor.measure.tasks.precision import Truth, loss
from sepfactor.results import OF_LABELLED_BOXES, Quality, QualityKind

Array = NDArray[Any]

_LEAST_BOXES = 3
_MOST_BOXES = 300.0
"""So many boxes an image, in the mean, are noise."""

_LOOKED_AT = 16
"""Runs by which outputs are recognised."""


class Family(Protocol):
    """How a family of detectors writes boxes.

    Attributes:
        is_list: whether outputs are as long as there are boxes.
        is_placed: whether it is known where in the image boxes lie.
    """

    is_list: ClassVar[bool]

    @property
    def is_placed(self) -> bool: ...  # noqa: D102 — the class says it

    @property
    def name(self) -> str:
        """As people call it."""

    def decode(self, run: Sequence[Array], batch: int) -> list[Boxes]:
        """Boxes of each image of a run.

        Args:
            run: values of the outputs.
            batch: images in it.
        """


class Detector(Task):
    """By the share of boxes that both networks have; what is lost and what is new count alike, the worse of
    both. With labels, by mean average precision.

    Args:
        outputs: of the original.
        family: how they are read.
        wanted: what is known of the images.
    """

    name = "detector"
    tolerance = 0.01
    learns = True

    def __init__(self, *outputs: Answers, family: Family, wanted: Wanted) -> None:
        super().__init__(*outputs)
        self._family = family
        self._truth: Truth | None = None
        self._others = np.zeros(0)
        self._before = _decoded(outputs, family)
        images = (boxes for run in self._before for boxes in run)
        every = np.concatenate([boxes.values[boxes.scores >= THRESHOLD] for boxes in images])
        self._spread = every.std(axis=0) if len(every) else None
        if wanted.boxes is not None and wanted.image is not None and family.is_placed:
            found = [boxes for run in self._before for boxes in run]
            self._truth = Truth.read_by(found, wanted.boxes, wanted.image)

    @property
    def has_truth(self) -> bool:
        """Whether it is judged by true boxes."""
        return self._truth is not None

    @property
    def kinds(self) -> tuple[QualityKind, ...]:
        """Boxes that both have, or precision."""
        return ("boxes",) if self._truth is None else OF_LABELLED_BOXES

    @classmethod
    def find(cls, outputs: Sequence[Answers], wanted: Wanted) -> Iterator[Found]:
        """Groups of outputs that a known family writes, in which the original finds boxes on these data."""
        taken: set[str] = set()
        for group, family in _groups(outputs, wanted.image):
            if taken & {one.name for one in group}:
                continue
            count = plausible(group, family)
            if count is not None:
                taken |= {one.name for one in group}
                yield Found(
                    cls(*group, family=family, wanted=wanted),
                    f"boxes as {family.name} writes them, {count:.1f} an image above {THRESHOLD:g}",
                )

    def learn(self, outputs: Sequence[Answers], labels: NDArray[Any] | None) -> None:
        """Pair changes with the margins of the original's boxes on these images as well."""
        self._others = margins([boxes for run in _decoded(outputs, self._family) for boxes in run])

    def again(self, outputs: Sequence[Answers], wanted: Wanted) -> Detector:
        """Of the same family."""
        return Detector(*outputs, family=self._family, wanted=wanted)

    def judge(self, after: Sequence[Sequence[Array]]) -> tuple[Quality, ...]:
        """Boxes as a share of 1; with labels, precision at IoU 0.5, and over ten thresholds."""
        runs = len(after[0])
        pairs = zip(self.outputs, after, strict=True)
        differs = np.any([changed(one.runs[:runs], its) for one, its in pairs], axis=0)
        before, found = list[Boxes](), list[Boxes]()
        for k, run in enumerate(zip(*after, strict=True)):
            before += self._before[k]
            is_read = self._family.is_list or not differs[k]
            own = self._family.decode(run, self.answers.batches[k]) if is_read else []
            found += own or [Boxes.none()] * len(self._before[k])
        kept = match(before, found, self._spread, self._others)
        new = match(found, before, self._spread, self._others)
        divergence, count = max(kept.divergence, new.divergence), int(np.count_nonzero(differs))
        if self._truth is not None:
            return self._by_labels(self._truth, before, found, divergence, count)
        lost = max((kept.lost(self.units), new.lost(self.units)), key=lambda one: one[1])
        return (
            Quality(
                kind="boxes",
                original=1.0,
                result=min(kept.share, new.share),
                expected=1.0 - lost[0],
                pessimistic=max(1.0 - lost[1], 0.0),
                divergence=divergence,
                samples=len(before),
                output=self.answers.name,
                changed=count,
                found=len(kept.before),
            ),
        )

    def _by_labels(
        self, truth: Truth, before: Sequence[Boxes], after: Sequence[Boxes], divergence: float, changed: int
    ) -> tuple[Quality, ...]:
        ours, theirs = truth.grade(before), truth.grade(after)
        found = []
        for kind, thresholds in zip(self.kinds, (slice(1), slice(None)), strict=True):
            original, result = (float(np.mean(side.precision()[thresholds])) for side in (ours, theirs))
            lost, most = loss(ours, theirs, thresholds, self.units)
            found.append(
                Quality(
                    kind=kind,
                    original=original,
                    result=result,
                    expected=original - lost,
                    pessimistic=original - max(lost, most),
                    divergence=divergence,
                    samples=len(before),
                    output=self.answers.name,
                    changed=changed,
                    found=sum(int(asked.sum()) for asked in ours.asked.values()),
                )
            )
        return tuple(found)


def _decoded(outputs: Sequence[Answers], family: Family, most: int | None = None) -> list[list[Boxes]]:
    """Boxes of each image of each run, of the first ``most`` or all."""
    runs = zip(*(one.runs[:most] for one in outputs), strict=True)
    return [family.decode(run, batch) for run, batch in zip(runs, outputs[0].batches, strict=False)]


def _groups(
    outputs: Sequence[Answers], image: tuple[int, int] | None
) -> Iterator[tuple[tuple[Answers, ...], Family]]:
    yield from detections.rows(outputs)
    yield from detections.apart(outputs)
    yield from anchors.yolos(outputs, image)
    yield from anchors.ssds(outputs)


def plausible(group: Sequence[Answers], family: Family) -> float | None:
    """Boxes above the threshold in each image, in the mean, if they may be objects."""
    found = [boxes for run in _decoded(group, family, _LOOKED_AT) for boxes in run]
    count = sum(int(np.count_nonzero(boxes.scores >= THRESHOLD)) for boxes in found)
    sizes = [boxes.corners[:, 2:] - boxes.corners[:, :2] for boxes in found]
    if count < _LEAST_BOXES or any((size < 0).any() for size in sizes):
        return None
    each = count / len(found)
    return each if each <= _MOST_BOXES else None
