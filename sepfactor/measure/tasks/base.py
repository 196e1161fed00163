"""What an output of a network is, and so how far from the original's answers another's are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.parts import samples_of
from sepfactor.results import Quality

Array = NDArray[Any]
Floats = NDArray[np.float64]


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


class Task(ABC):
    """Judges one output by what it is: one file in this package, one line in its registry.

    Attributes:
        tolerance: divergence that a user would sign, by which outputs of several tasks are weighed.
        answers: of the original.
    """

    tolerance: ClassVar[float]

    def __init__(self, answers: Answers) -> None:
        self.answers = answers

    def again(self, answers: Answers) -> Task:
        """The same task on other data, without labels."""
        return type(self)(answers)

    @abstractmethod
    def judge(self, after: Sequence[Array]) -> tuple[Quality, ...]:
        """How far another network's answers are from the original's, mainly by the first.

        Args:
            after: what the other answered, in the original's first ``len(after)`` runs.
        """


def batch_of(feed: Mapping[str, Array]) -> int:
    """Samples of a run: the first axis of its largest input."""
    largest = max(feed.values(), key=lambda value: value.size, default=None)
    return largest.shape[0] if largest is not None and largest.ndim else 1


def changed(before: Sequence[Array], after: Sequence[Array]) -> list[bool]:
    """Which runs answer in another shape."""
    return [a.shape != b.shape for a, b in zip(before, after, strict=True)]


def pessimistic(losses: Floats, weights: Floats | None = None) -> float:
    """The upper end of a one-sided 95 % interval of a mean loss, images counted as the unit.

    Student's interval; with weights, of the ratio of both sums, linearised. A single image has no interval:
    its loss is handed back.

    Args:
        losses: ``(N,)`` of each image.
        weights: ``(N,)`` of mean 1: how much each image counts.
    """
    from scipy.special import stdtrit  # here, for commands that judge nothing

    count, mean = len(losses), float(np.mean(losses))
    if count < 2 or not np.isfinite(mean):
        return mean
    apart = losses - (mean if weights is None else mean * weights)
    spread = float(np.sqrt(np.sum((apart - apart.mean()) ** 2) / (count - 1)))
    return mean + float(stdtrit(count - 1, 0.95)) * spread / float(np.sqrt(count))
