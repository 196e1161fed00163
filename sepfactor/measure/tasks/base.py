"""What an output of a network is, and so how far from the original's answers another's are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.parts import samples_of
from sepfactor.results import Quality, QualityKind

Array = NDArray[Any]
Floats = NDArray[np.float64]
Unit = Literal["snr", "psnr"] | None

_CHANNELS = (1, 3, 4)
"""Of images."""

_LEAST_SHADES = 64
"""Bytes of at most so many values are labels; of more, a picture."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What the original answered at one output.

    Attributes:
        name: of the output.
        runs: its value in each run.
        batches: samples that went into each run.
    """

    name: str
    runs: Sequence[Array]
    batches: Sequence[int]

    def samples(self, run: int) -> Sequence[Array]:
        """Of one run, an array a sample."""
        return samples_of(self.runs[run], self.batches[run])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first run."""
        return self.runs[0].shape

    def described(self) -> str:
        """``'kind' (1, 6)``."""
        return f"{self.name!r} {self.shape}"


@dataclass(frozen=True, eq=False)
class Wanted:
    """How outputs are to be judged, as far as somebody said so.

    Attributes:
        task: the name of the one that was asked for; None to recognise.
        noise: judge every number by it, whatever it looks like.
        by_class: judge by classes whatever has the shape of class scores.
        estimate: of classes, go by the original's probabilities.
        labels: true classes of all samples, -1 where unknown, or None.
        labelled: the output they are compared with.
        boxes: true boxes ``(n, 7)`` of each image, see :class:`~sepfactor.measure.tasks.precision.Truth`, or
            None.
        image: height and width of what the network sees, pixels; None where it sees no image.
    """

    task: str | None = None
    noise: Unit = None
    by_class: bool = False
    estimate: bool = False
    labels: Array | None = None
    labelled: str | None = None
    boxes: Sequence[Array] | None = None
    image: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """A task that outputs have.

    Attributes:
        task: that judges them.
        evidence: by what it was recognised, such as ``probabilities of 10 classes``.
        note: what a user should know of that choice, a sentence; None where there is nothing to say.
    """

    task: Task
    evidence: str
    note: str | None = None


class Task(ABC):
    """Judges outputs that belong together: one file in this package, one line in its registry.

    Attributes:
        name: that ``--task`` calls it by.
        tolerance: divergence that a user would sign, by which outputs of several tasks are weighed.
        outputs: what the original answered.
        units: images that intervals are of, if they are those of others like these; None for these.
        learns: whether :meth:`learn` makes intervals narrower.
        counts_fitted: whether :meth:`show_fitted` does, too.
    """

    name: ClassVar[str]
    tolerance: ClassVar[float]
    learns: ClassVar[bool] = False
    counts_fitted: ClassVar[bool] = False

    def __init__(self, *outputs: Answers) -> None:
        self.outputs = outputs
        self.units: int | None = None

    @property
    def answers(self) -> Answers:
        """What the original answered at the first output."""
        return self.outputs[0]

    @property
    @abstractmethod
    def kinds(self) -> tuple[QualityKind, ...]:
        """What :meth:`judge` counts, in its order."""

    @classmethod
    @abstractmethod
    def find(cls, outputs: Sequence[Answers], wanted: Wanted) -> Iterator[Found]:
        """Tasks of this kind among outputs that have none yet; each output in one of them at most.

        Where it was asked for by name, doubts do not count. Where noise was asked for, only those are asked
        that go by it, or take what is no number.
        """

    def again(self, outputs: Sequence[Answers], wanted: Wanted) -> Task:
        """The same task on other data, without labels of classes."""
        return type(self)(*outputs)

    def learn(self, outputs: Sequence[Answers], labels: Array | None) -> None:
        """Take what the original answered on further samples into account.

        Args:
            outputs: as :attr:`outputs`.
            labels: true classes of these samples, -1 where unknown, or None.

        Raises:
            DataError: labels do not fit.
        """
        return

    def show_fitted(self, after: Sequence[Sequence[Array]]) -> None:
        """What the next network to be judged answers to those samples, which it was fitted to."""
        return

    @abstractmethod
    def judge(self, after: Sequence[Sequence[Array]]) -> tuple[Quality, ...]:
        """How far another network's answers are from the original's, mainly by the first.

        Args:
            after: of each output, what the other answered in the original's first runs.
        """


def batch_of(feed: Mapping[str, Array]) -> int:
    """Samples of a run: the first axis of its largest input."""
    largest = max(feed.values(), key=lambda value: value.size, default=None)
    return largest.shape[0] if largest is not None and largest.ndim else 1


def is_picture(output: Array) -> bool:
    """Whether these are bytes of a picture, not labels or counts."""
    return output.dtype == np.uint8 and output.ndim >= 3 and len(np.unique(output)) > _LEAST_SHADES


def image_size(feed: Mapping[str, Array]) -> tuple[int, int] | None:
    """Height and width of the image among the inputs of a run, channels first or last; None without one."""
    for value in feed.values():
        if value.ndim == 4 and value.shape[1] in _CHANNELS:
            return value.shape[2], value.shape[3]
        if value.ndim == 4 and value.shape[3] in _CHANNELS:
            return value.shape[1], value.shape[2]
    return None


def changed(before: Sequence[Array], after: Sequence[Array]) -> list[bool]:
    """Which runs answer in another shape."""
    return [a.shape != b.shape for a, b in zip(before, after, strict=True)]


def pessimistic(losses: Floats, weights: Floats | None = None, units: int | None = None) -> float:
    """The upper end of a one-sided 95 % interval of a mean loss, images counted as the unit.

    Student's interval; with weights, of the ratio of both sums, linearised. A single image has no interval:
    its loss is handed back.

    Args:
        losses: ``(N,)`` of each image.
        weights: ``(N,)`` of mean 1: how much each image counts.
        units: images that the interval is of, if it is that of others like these; None for these N.
    """
    from scipy.special import stdtrit  # here, for commands that judge nothing

    count, mean = len(losses), float(np.mean(losses))
    if count < 2 or not np.isfinite(mean):
        return mean
    apart = losses - (mean if weights is None else mean * weights)
    spread = float(np.sqrt(np.sum((apart - apart.mean()) ** 2) / (count - 1)))
    units = max(units or count, 2)
    return mean + float(stdtrit(units - 1, 0.95)) * spread / float(np.sqrt(units))
