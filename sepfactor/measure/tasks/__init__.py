"""Tasks that outputs are judged by, and which of them an output has.

What is not recognised is held to the strictest of what could apply: floats to their noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from sepfactor.measure.tasks import classes
from sepfactor.measure.tasks.base import Answers, Task, batch_of
from sepfactor.measure.tasks.classes import ClassScores
from sepfactor.measure.tasks.dense import Dense, is_picture
from sepfactor.measure.tasks.exact import Exact

Array = NDArray[Any]
Unit = Literal["snr", "psnr"] | None


@dataclass(frozen=True, eq=False)
class Wanted:
    """How outputs are to be judged, as far as somebody said so.

    Attributes:
        noise: judge every number by it, whatever it looks like.
        by_class: judge by classes whatever has the shape of class scores.
        estimate: of classes, go by the original's probabilities.
        labels: true classes of all samples, -1 where unknown, or None.
        labelled: the output they are compared with.
        known: output → its task on other data, which goes before all but labels.
    """

    noise: Unit = None
    by_class: bool = False
    estimate: bool = False
    labels: Array | None = None
    labelled: str | None = None
    known: Mapping[str, Task] = field(default_factory=dict)


def task_of(answers: Answers, wanted: Wanted) -> tuple[Task, str | None]:
    """The task that an output has, and what a user should know of that choice."""
    first = answers.runs[0]
    labels = wanted.labels if answers.name == wanted.labelled else None
    if labels is None and answers.name in wanted.known:
        return wanted.known[answers.name].again(answers), None
    if wanted.noise is not None and first.dtype.kind in "biuf":
        return Dense(answers, wanted.noise), None
    if first.dtype.kind != "f":
        return (Dense(answers) if is_picture(first) else Exact(answers)), None
    if not classes.has_shape(answers):
        return Dense(answers), None
    doubt = None if wanted.by_class or labels is not None else classes.doubt(answers)
    if doubt is None:
        return ClassScores(answers, labels, estimate=wanted.estimate), None
    return Dense(answers), (
        f"Output {answers.described()} has the shape of class scores, but {doubt}: "
        "so it is held to its noise, not to agreement. If it does hold class scores, give data of several "
        "classes, or say --max-drop 1%."
    )


def labelled_output(outputs: Sequence[Answers]) -> Answers | None:
    """The output that labels are compared with: the first that has the shape of class scores."""
    return next((one for one in outputs if classes.has_shape(one)), None)


__all__ = [
    "Answers",
    "ClassScores",
    "Dense",
    "Exact",
    "Task",
    "Unit",
    "Wanted",
    "batch_of",
    "labelled_output",
    "task_of",
]
