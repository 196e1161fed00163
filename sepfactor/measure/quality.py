"""What a network lost, to choose plans by and to say whether a budget is kept: every output by its task.

What an output is, and how it is judged, is in :mod:`sepfactor.measure.tasks`; here they are put together. The
worst output of the main kind is what a network is mainly judged by, and the worst of each other kind counts
beside it. A user's metric goes instead of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.errors import DataError, ModelError
from sepfactor.measure.answers import answers_of, by_run
from sepfactor.measure.engine import Feed, Session
from sepfactor.measure.state import states_of
from sepfactor.measure.tasks import (
    Answers,
    Dense,
    Found,
    Task,
    Unit,
    Wanted,
    are_known,
    batch_of,
    image_size,
    labelled_output,
    labels_of_boxes_serve,
    recognise,
)
from sepfactor.memory import Pool, StoredArrays
from sepfactor.results import OF_LABELLED_BOXES, JudgedOn, OutputTask, Quality, QualityKind

Array = NDArray[Any]
Metric = Callable[[Mapping[str, Array], Mapping[str, Array]], float]
"""A user's own: outputs and inputs of one run → score, higher is better."""

_ASKED_OF_MANY: Mapping[QualityKind, str] = {"neighbours": "Which sample is nearest to which"}
"""Kinds of which a few samples say nothing."""

_MAIN: Sequence[QualityKind] = (
    "metric",
    "top-1",
    "estimate",
    "agreement",
    *OF_LABELLED_BOXES,
    "boxes",
    "characters",
    "overlap",
    "cosine",
    "neighbours",
    "psnr",
    "snr",
    "scores",
)
"""What a network is mainly judged by, if it has it."""

_NO_BOXES = (
    "The labels are boxes, and no output of this network holds any whose places in the image are known: of a "
    "detector without its anchors, or without any box on these data. Leave the labels out, which judges by "
    "the original's boxes; `sepfactor compress` also takes a --metric that decodes them."
)


def by_boxes(original: Session, result: Session, feeds: Sequence[Feed], boxes: Array) -> tuple[Quality, ...]:
    """What true boxes say of a result beside the original: mAP@0.5, and mAP@0.5:0.95.

    Args:
        original: its session.
        result: the same of what was made of it.
        feeds: inputs.
        boxes: true boxes of each.

    Raises:
        DataError: no output holds boxes, or the original finds hardly any of these.
    """
    found = Judge(original, feeds, boxes=boxes)(result)
    return tuple(one for one in (found, *found.others) if one.kind in OF_LABELLED_BOXES)


class Judge:
    """Compares any model with the original on the same feeds.

    The original is run once, and what it answered is kept.

    Args:
        original: its session.
        feeds: inputs.
        labels: true classes, by run, or None.
        boxes: true boxes, by run, or None.
        dense: judge by signal to noise even where outputs look like class scores.
        by_class: judge by classes even where outputs may be something else of that shape.
        task: the name of the task that outputs are judged by; None to recognise it.
        metric: a user's own, instead.
        estimate: go by the original's probabilities of classes, not by labels or agreement.
        judged_on: what the feeds are, beside what results are fitted to.
        like: a judge on other data, whose outputs are of the same tasks.
        units: images that intervals are to be of, if they are those of others like these.
        pool: keeps answers; None for memory without a bound.

    Raises:
        DataError: there are no feeds, or labels do not fit.
        OptionError: no output is of the task that was asked for.
    """

    def __init__(
        self,
        original: Session,
        feeds: Sequence[Feed],
        labels: Array | None = None,
        boxes: Array | None = None,
        *,
        dense: Unit = None,
        by_class: bool = False,
        task: str | None = None,
        metric: Metric | None = None,
        estimate: bool = False,
        judged_on: JudgedOn = "held-out",
        like: Judge | None = None,
        units: int | None = None,
        pool: Pool | None = None,
    ) -> None:
        if not len(feeds):
            raise DataError("There is no data to judge on: give at least two inputs.")
        self.feeds, self.judged_on = feeds, judged_on
        self._metric, self._session = metric, original
        self._names = [output.name for output in original.get_outputs()]
        self._pool = pool or Pool()
        self._states, self._original = states_of(original, feeds, self._pool)
        batches = [batch_of(feed) for feed in feeds]
        outputs = [
            Answers(name, runs, batches) for name, runs in zip(self._names, self._original, strict=True)
        ]
        if estimate or dense is not None or metric is not None:
            labels = boxes = None
        labelled = None if labels is None else labelled_output(outputs)
        known = labels is not None and labelled is not None and are_known(labels, labelled)
        wanted = Wanted(
            task=task,
            noise=dense,
            by_class=by_class,
            estimate=estimate,
            labels=labels if known else None,
            labelled=labelled.name if labelled else None,
            boxes=None if boxes is None else [*boxes.ravel()],
            image=image_size(feeds[0]),
        )
        self.found: list[Found] = recognise(outputs, wanted, () if like is None else like.found)
        if boxes is not None and not labels_of_boxes_serve(self.found):
            raise DataError(_NO_BOXES)
        self.tasks: list[Task] = [one.task for one in self.found]
        for one in self.tasks:
            one.units = units
        self.notes = self._notes() if metric is None else ()
        self._fitted: list[Feed] = []

    @property
    def carries_state(self) -> bool:
        """Whether runs go on from one another."""
        return self._states is not None

    @property
    def kinds(self) -> tuple[QualityKind, ...]:
        """What is counted, the main kind first."""
        if self._metric is not None:
            return ("metric",)
        found = {kind for task in self.tasks for kind in task.kinds}
        return tuple(kind for kind in _MAIN if kind in found)

    @property
    def kind(self) -> QualityKind:
        """What a network is mainly judged by."""
        return self.kinds[0]

    def described(self) -> tuple[OutputTask, ...]:
        """What outputs are taken for, and by what; nothing where a metric judges."""
        if self._metric is not None:
            return ()
        return tuple(
            OutputTask(
                task=one.task.name,
                outputs=tuple(output.name for output in one.task.outputs),
                evidence=one.evidence,
            )
            for one in self.found
        )

    def learn(self, feeds: Sequence[Feed], labels: Array | None, *, changes: bool = True) -> None:
        """Take further feeds into account that results were fitted to.

        The original's leads on them are as good as any. Changes on them are too small by as much as the
        fit is better there than on held-out data; so they count after being stretched by that.

        Args:
            feeds: that results were fitted to.
            labels: of them, or None.
            changes: whether changes on them count, too.
        """
        if not len(feeds) or self._metric is not None or not any(task.learns for task in self.tasks):
            return
        every = range(len(self._names))
        answers = answers_of((self._session.run(feed) for feed in feeds), every, self._pool)
        batches = [batch_of(feed) for feed in feeds]
        for task in self.tasks:
            runs = self._of(task, answers)
            outputs = [Answers(one.name, its, batches) for one, its in zip(task.outputs, runs, strict=True)]
            task.learn(outputs, labels)
        counts = changes and any(task.counts_fitted for task in self.tasks)
        self._fitted = list(feeds) if counts else []

    @property
    def original_score(self) -> float:
        """The original's mean by the user's metric; 1 where there is none."""
        return 1.0 if self._metric is None else self._mean_score(self._original)

    def __call__(self, candidate: Session, count: int | None = None) -> Quality:
        """The quality of ``candidate`` on the first ``count`` feeds, or all.

        Raises:
            ModelError: it lacks an output.
        """
        after = self._answers(candidate, self.feeds[:count])
        if self._fitted and len(after[0]) == len(self.feeds):
            more = self._answers(candidate, self._fitted, alone=True)
            for task in self.tasks:
                task.show_fitted(self._of(task, more))
        return self._judged(after)

    def of_runs(self, names: Sequence[str], runs: Iterable[Sequence[Array]]) -> Quality:
        """The quality of a network that answers so on the first feeds, each run by itself.

        Args:
            names: of the outputs that ``runs`` hold; the others are as the original's.
            runs: their values in each run.
        """
        found = dict(zip(names, answers_of(runs, range(len(names)), self._pool), strict=True))
        count = len(next(iter(found.values())))
        pairs = zip(self._names, self._original, strict=True)
        return self._judged([found.get(name, original[:count]) for name, original in pairs])

    def _judged(self, after: Sequence[StoredArrays]) -> Quality:
        found = [task.judge(self._of(task, after)) for task in self.tasks]
        if self._metric is not None:
            return self._by_metric(after, self._divergence([one[0] for one in found], "snr"))
        worst = _worst_by_kind(one for several in found for one in several)
        main = worst.pop(self.kind)
        return main.model_copy(
            update={
                "divergence": self._divergence([one[0] for one in found], main.kind),
                "judged_on": self.judged_on,
                "others": tuple(worst[kind] for kind in self.kinds if kind in worst),
            }
        )

    def left_out(self, quality: Quality) -> tuple[str, ...]:
        """What would count of more samples, and was not judged on as few as these, in sentences."""
        judged = {quality.kind, *(other.kind for other in quality.others)}
        return tuple(
            f"{_ASKED_OF_MANY[kind]} was not judged: {quality.samples} samples to judge on are too few for "
            "that. Give more."
            for kind in self.kinds
            if kind in _ASKED_OF_MANY and kind not in judged
        )

    def _divergence(self, found: Sequence[Quality], main: QualityKind) -> float:
        """Of all outputs, each by its tolerance, in the unit of the main ones."""
        pairs = list(zip(self.tasks, found, strict=True))
        unit = next((task.tolerance for task, one in pairs if one.kind == main), Dense.tolerance)
        mean = float(np.mean([one.divergence * unit / task.tolerance for task, one in pairs]))
        return mean if math.isfinite(mean) else math.inf

    def _of(self, task: Task, answers: Sequence[StoredArrays]) -> list[StoredArrays]:
        """Of each output of a task, its values in all runs."""
        return [answers[self._names.index(one.name)] for one in task.outputs]

    def _notes(self) -> tuple[str, ...]:
        notes = [one.note for one in self.found if one.note is not None]
        if self._states is not None:
            names = ", ".join(repr(name) for name in self._states.pairs)
            notes.append(f"State ({names}) is carried over from run to run, as in use.")
        return tuple(notes)

    def _answers(self, session: Session, feeds: Sequence[Feed], *, alone: bool = False) -> list[StoredArrays]:
        order = [output.name for output in session.get_outputs()]
        if not set(self._names) <= set(order):
            raise ModelError(f"The model lacks the output {min(set(self._names) - set(order))!r}.")
        states = None if alone else self._states
        runs = (session.run(feed) for feed in feeds) if states is None else states.runs(session, feeds)
        return answers_of(runs, [order.index(name) for name in self._names], self._pool)

    def _by_metric(self, after: Sequence[StoredArrays], divergence: float) -> Quality:
        count = len(after[0])
        before = [runs[:count] for runs in self._original]
        original, result = (self._mean_score(side) for side in (before, after))
        return Quality(
            kind="metric",
            original=original,
            result=result,
            expected=result,
            divergence=divergence,
            samples=count,
            judged_on=self.judged_on,
        )

    def _mean_score(self, answers: Sequence[StoredArrays]) -> float:
        assert self._metric is not None
        pairs = zip(by_run(self._names, answers), self.feeds, strict=False)
        return sum(float(self._metric(outputs, feed)) for outputs, feed in pairs) / len(answers[0])


def _worst_by_kind(found: Iterable[Quality]) -> dict[QualityKind, Quality]:
    """Of each kind the one that lost most; all are judged."""
    worst: dict[QualityKind, Quality] = {}
    for one in found:
        known = worst.get(one.kind)
        if known is None or one.is_worse_than(known):
            worst[one.kind] = one
    return worst
