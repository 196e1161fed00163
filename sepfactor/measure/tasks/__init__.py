"""Tasks that outputs are judged by, and which of them an output has.

What is not recognised is held to the strictest of what could apply: numbers to their noise.
"""

from __future__ import annotations

from collections.abc import Sequence

from sepfactor.errors import DataError, OptionError
from sepfactor.measure.tasks import classes
from sepfactor.measure.tasks.base import Answers, Found, Task, Unit, Wanted, batch_of, image_size
from sepfactor.measure.tasks.classes import ClassScores, are_known
from sepfactor.measure.tasks.dense import Dense
from sepfactor.measure.tasks.detector import Detector
from sepfactor.measure.tasks.embedding import Embedding
from sepfactor.measure.tasks.exact import Exact
from sepfactor.measure.tasks.heat_maps import HeatMaps, Scales
from sepfactor.measure.tasks.segmentation import Segmentation
from sepfactor.measure.tasks.text import Text

TASKS: Sequence[type[Task]] = (
    Detector,
    HeatMaps,
    Scales,
    ClassScores,
    Text,
    Segmentation,
    Embedding,
    Exact,
    Dense,
)
"""In the order in which outputs are offered to them."""


def recognise(outputs: Sequence[Answers], wanted: Wanted, like: Sequence[Found] = ()) -> list[Found]:
    """The tasks that all outputs have, in the order of the outputs they begin with.

    Args:
        outputs: of the original.
        wanted: as far as somebody said so.
        like: what was found on other data, which holds here too, but for labels.

    Raises:
        OptionError: none of the outputs can be of the task that was asked for.
    """
    left = {one.name: one for one in outputs}
    found: list[Found] = []

    def take(one: Found) -> None:
        found.append(one)
        for answers in one.task.outputs:
            del left[answers.name]

    for known in like:
        names = [one.name for one in known.task.outputs]
        if not (wanted.labels is not None and wanted.labelled in names):
            again = known.task.again([left[name] for name in names], wanted)
            take(Found(again, known.evidence, known.note))
    ordered = _in_order(wanted)
    for task in ordered:
        for one in [*task.find([*left.values()], wanted)]:
            take(one)
        if task.name == wanted.task and task is _named(wanted.task)[-1] and not found:
            raise OptionError(
                f"No output of this network can be judged as --task {wanted.task}: they are "
                f"{', '.join(one.described() for one in outputs)}. Choose another, or leave it out."
            )
    position = {one.name: k for k, one in enumerate(outputs)}
    return sorted(found, key=lambda one: position[one.task.answers.name])


def _in_order(wanted: Wanted) -> list[type[Task]]:
    if wanted.noise is not None:
        return [Dense, Exact]
    return sorted(TASKS, key=lambda task: task.name != wanted.task)


def _named(name: str) -> list[type[Task]]:
    return [task for task in TASKS if task.name == name]


def labels_of_boxes_serve(found: Sequence[Found]) -> bool:
    """Whether any task is judged by true boxes."""
    return any(isinstance(one.task, Detector) and one.task.has_truth for one in found)


def labelled_output(outputs: Sequence[Answers]) -> Answers:
    """The output that labels are compared with: the first that has the shape of class scores.

    Raises:
        DataError: there is none.
    """
    for one in outputs:
        if classes.has_shape(one):
            return one
    raise DataError("No output holds class scores (N, C) to compare with labels. Leave the labels out.")


__all__ = [
    "TASKS",
    "Answers",
    "ClassScores",
    "Dense",
    "Exact",
    "Found",
    "Task",
    "Unit",
    "Wanted",
    "are_known",
    "batch_of",
    "image_size",
    "labelled_output",
    "labels_of_boxes_serve",
    "recognise",
]
