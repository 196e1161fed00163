"""Class scores, ``(N, C)`` of N samples: by labels, agreement, or how likely the original holds answers.

Agreement is evidence only where answers vary, and a network that says the commonest class alone agrees often;
so the scores themselves count beside it: what is left of how they vary from sample to sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.errors import DataError
from sepfactor.measure.flips import Mask, expected_loss, expected_share, leads, with_upper_end
from sepfactor.measure.metrics import (
    are_probabilities,
    class_divergences,
    estimated_losses,
    log_scores,
    looks_like_class_scores,
)
from sepfactor.measure.tasks.base import Answers, Found, Task, Wanted, changed
from sepfactor.results import Quality, QualityKind

Array = NDArray[Any]

_COMMONEST = 0.9
"""Where the original gives one class to more samples than this share, agreement is no evidence."""

_UNIT = 1e-3
"""Lengths of rows are this close to 1: embeddings."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """Of some samples, ``(N,)`` each.

    Attributes:
        before, after: leads of the class that counts, of the original and the result.
        likely: sum of the original's two largest probabilities. sure: its largest one.
        still_sure: its probability of the class that the result answers.
    """

    before: Array
    after: Array
    likely: Array
    sure: Array
    still_sure: Array

    def of(self, left: Mask) -> _Seen:
        """Of some of the samples."""
        return _Seen(*(getattr(self, one.name)[left] for one in fields(self)))

    def joined(self, other: _Seen) -> _Seen:
        """Of the samples of both."""
        pairs = ((getattr(self, one.name), getattr(other, one.name)) for one in fields(self))
        return _Seen(*(np.concatenate(pair) for pair in pairs))


def has_shape(answers: Answers) -> bool:
    """Whether every run gives ``(N, C)`` floats for its N samples, or one row, of the same classes."""
    if not all(looks_like_class_scores(run) for run in answers.runs):
        return False
    lengths = [run.shape[0] for run in answers.runs]
    fits = lengths == list(answers.batches) or set(lengths) == {1}
    return fits and len({run.shape[1] for run in answers.runs}) == 1


def doubt(answers: Answers) -> str | None:
    """Why ``(N, C)`` floats may be something else than class scores; None where they look like them."""
    scores = rows(answers.runs)
    if not np.isfinite(scores).all():
        return None
    commonest = commonest_share(scores)
    if commonest > _COMMONEST:
        return f"the original's largest value is at the same place in {100 * commonest:.0f} % of the samples"
    if are_probabilities(scores).all():
        return None
    if np.abs(np.linalg.norm(scores.astype(np.float64), axis=1) - 1.0).max() < _UNIT:
        return "its rows are of length 1, as embeddings are"
    classes = scores.shape[1]
    sure = float(np.exp(log_scores(scores)).max(axis=1).mean())
    if sure < (1.0 + 2.0 / classes) / 3.0:
        return f"as class scores they would be sure of their answers by {100 * sure:.0f} % only"
    return None


def _why(answers: Answers, labels: Array | None, *, asked: bool) -> str:
    """By what these are class scores."""
    if labels is not None:
        return "it has labels"
    if asked:
        return "as you say"
    if are_probabilities(rows(answers.runs)).all():
        return f"probabilities of {answers.shape[1]} classes"
    return f"scores of {answers.shape[1]} classes, sure of one, and not always of the same"


def unlike(answers: Answers) -> str | None:
    """A sentence, where an output has the shape of class scores and yet is none."""
    why = doubt(answers) if has_shape(answers) else None
    if why is None:
        return None
    return (
        f"Output {answers.described()} has the shape of class scores, but {why}: so it is not judged by its "
        "classes. If it does hold class scores, give data of several classes, or say --task classifier."
    )


def commonest_share(scores: Array) -> float:
    """Of ``(N, C)`` scores, the share of rows whose best class is the commonest one."""
    return float(np.bincount(np.nan_to_num(scores).argmax(axis=1)).max() / len(scores))


class ClassScores(Task):
    """By classes; the first quality is of these, the second of the scores.

    Args:
        answers: of the original.
        labels: true classes, -1 where unknown, of all samples; None to go by agreement.
        estimate: go by the original's probabilities of classes instead.
    """

    name = "classifier"
    tolerance = 0.02
    learns = counts_fitted = True

    def __init__(self, answers: Answers, labels: Array | None = None, *, estimate: bool = False) -> None:
        super().__init__(answers)
        self._labels = None if labels is None else np.asarray(labels).reshape(-1).astype(np.int64)
        self._estimate = estimate
        scores = rows(answers.runs)
        self._is_varied = self._labels is not None or commonest_share(scores) <= _COMMONEST
        self._are_probabilities = bool(are_probabilities(scores).all())
        told = self._telling(scores)
        with np.errstate(invalid="ignore", over="ignore"):
            # Over samples; of a single one, over classes.
            self._variation = float(told.var(axis=0).mean()) or float(told.var())
        self._others: _Seen | None = None
        self._fitted: Sequence[Array] = ()
        self._fitted_labels: Array | None = None
        self._fitted_after: Sequence[Array] = ()

    @property
    def kind(self) -> QualityKind:
        """What is counted."""
        return "estimate" if self._estimate else "agreement" if self._labels is None else "top-1"

    @property
    def kinds(self) -> tuple[QualityKind, ...]:
        """Of the classes, and of the scores."""
        return self.kind, "scores"

    @classmethod
    def find(cls, outputs: Sequence[Answers], wanted: Wanted) -> Iterator[Found]:
        """Each output of class scores."""
        for one in outputs:
            if not has_shape(one):
                continue
            labels = wanted.labels if one.name == wanted.labelled else None
            asked = wanted.task == cls.name or wanted.by_class
            if asked or labels is not None or doubt(one) is None:
                yield Found(cls(one, labels, estimate=wanted.estimate), _why(one, labels, asked=asked))

    def again(self, outputs: Sequence[Answers], wanted: Wanted) -> ClassScores:
        """By agreement, or by the original's probabilities."""
        (answers,) = outputs
        return ClassScores(answers, estimate=self._estimate)

    def learn(self, outputs: Sequence[Answers], labels: Array | None) -> None:
        """Pair changes with the original's leads on these samples as well; of labels only with labels."""
        if self._labels is not None and (labels is None or not are_known(labels, outputs[0])):
            return
        self._fitted = outputs[0].runs
        self._fitted_labels = None if self._labels is None else labels
        self._others = _seen(self._fitted, self._fitted, self._fitted_labels)

    def show_fitted(self, after: Sequence[Sequence[Array]]) -> None:
        """Changes on what was fitted to are too small by as much as the fit is better there.

        So they count after being stretched by that.
        """
        (self._fitted_after,) = after

    def judge(self, after: Sequence[Sequence[Array]]) -> tuple[Quality, ...]:
        """Of the classes, and of the scores."""
        more, self._fitted_after = self._fitted_after, ()
        (answers,) = after
        before = list(self.answers.runs[: len(answers)])
        count = sum(len(run) for run in before)
        differs = changed(before, answers)
        held = [np.full_like(b, np.nan) if d else a for a, b, d in zip(answers, before, differs, strict=True)]
        seen = _seen(before, held, None if self._labels is None else self._labels[:count])
        lost, most = self._lost(seen, more)
        if self._estimate:
            original, result = (float(np.mean(side)) for side in (seen.sure, seen.still_sure))
        else:
            original, result = (float(np.mean(side >= 0)) for side in (seen.before, seen.after))
        divergence = float(np.mean(class_divergences(rows(before), rows(held))))
        by_class = Quality(
            kind=self.kind,
            original=original,
            result=result,
            expected=original - lost,
            pessimistic=original - max(lost, most),
            divergence=divergence if np.isfinite(divergence) else np.inf,
            samples=len(seen.before),
            output=self.answers.name,
            changed=sum(differs),
            is_varied=self._is_varied,
        )
        return by_class, self._of_scores(before, held)

    def _lost(self, seen: _Seen, more: Sequence[Array]) -> tuple[float, float]:
        """What is lost, from all pairs of leads and changes, and the upper end of its interval."""
        others = self._others
        if others is not None and len(more):
            return self._lost_with_fitted(seen, others, more)

        def lost(left: Mask, further: Mask) -> float:
            own = seen.of(left)
            return self._from_pairs(own, own.after, own if others is None else own.joined(others.of(further)))

        beside = 0 if others is None else len(others.before)
        images, is_share = np.arange(len(seen.before)), self._labels is None
        return with_upper_end(lost, images, beside, units=self.units, is_share=is_share)

    def _lost_with_fitted(self, seen: _Seen, others: _Seen, more: Sequence[Array]) -> tuple[float, float]:
        """The same where changes on fitted samples count, too.

        The interval is that of as many samples as will be judged: their changes scatter more, and not
        the leads, which are of all.
        """
        moved = _seen(self._fitted, more, self._fitted_labels).after
        after = np.concatenate([seen.after, _stretched(others.before, moved, seen.after - seen.before)])
        every = seen.joined(others)

        def of_changes(left: Mask, _: Mask) -> float:
            return self._from_pairs(every.of(left), after[left], every)

        def of_leads(left: Mask, _: Mask) -> float:
            return self._from_pairs(every, after, every.of(left))

        images, is_share = np.arange(len(after)), self._labels is None
        lost, end = with_upper_end(of_changes, images, units=self.units, is_share=is_share)
        _, other_end = with_upper_end(of_leads, images, is_share=is_share)
        return lost, lost + math.hypot(max(end - lost, 0.0), max(other_end - lost, 0.0))

    def _from_pairs(self, own: _Seen, after: Array, pool: _Seen) -> float:
        if self._estimate:
            return expected_loss(own.before, after, own.likely, (pool.before, pool.likely))
        return float(np.mean(pool.before >= 0)) - expected_share(own.before, after, pool.before)

    def _of_scores(self, before: Sequence[Array], after: Sequence[Array]) -> Quality:
        """The share of the variation of the scores that is kept."""
        a, b = self._telling(rows(before)), self._telling(rows(after))
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            error = float(np.mean((a - b) ** 2))
            lost = float(np.divide(error, self._variation)) if error else 0.0
        kept = 1.0 - lost if np.isfinite(lost) else -np.inf
        return Quality(
            kind="scores",
            original=1.0,
            result=kept,
            expected=kept,
            divergence=lost if np.isfinite(lost) else np.inf,
            samples=len(a),
            output=self.answers.name,
        )

    def _telling(self, scores: Array) -> Array:
        """Probabilities, or scores without what is common to all classes."""
        wide = scores.astype(np.float64)
        return wide if self._are_probabilities else wide - wide.mean(axis=1, keepdims=True)


def are_known(labels: Array, output: Answers) -> bool:
    """Whether any label of an output is known.

    Raises:
        DataError: they do not fit the samples, or one is of no class.
    """
    count, classes = sum(len(one) for one in output.runs), output.runs[0].shape[1]
    flat = np.asarray(labels).reshape(-1)
    wrong = flat[(flat < -1) | (flat >= classes)]
    if len(flat) != count or len(wrong):
        what = f"The label {wrong[0]} is of no class" if len(wrong) else f"{len(flat)} labels do not fit"
        raise DataError(
            f"{what} of output {output.name!r}, {count} samples of {classes} classes: give one index "
            f"from 0 to {classes - 1} per sample, -1 where it is unknown."
        )
    return bool((flat >= 0).any())


def rows(runs: Sequence[Array]) -> Array:
    """``(N, C)`` of the scores of all runs."""
    return np.concatenate([run.reshape(run.shape[0], run.shape[1]) for run in runs])


def _seen(before: Sequence[Array], after: Sequence[Array], labels: Array | None) -> _Seen:
    first, other = log_scores(rows(before)), log_scores(rows(after))
    classes, known = _classes(first, labels)
    first, other, classes = first[known], other[known], classes[known]
    likely = np.exp(first)
    sure = likely.max(axis=1)
    return _Seen(
        leads(first, classes),
        leads(other, classes),
        np.sort(likely, axis=1)[:, -2:].sum(axis=1),
        sure,
        sure - estimated_losses(first, other),
    )


def _stretched(before: Array, after: Array, changes: Array) -> Array:
    """``after`` with changes made as large as ``changes`` are, if they are smaller."""
    both = np.isfinite(before) & np.isfinite(after)
    size, wanted = (
        float(np.sqrt(np.mean(c[np.isfinite(c)] ** 2))) for c in ((after - before)[both], changes)
    )
    factor = max(1.0, wanted / size) if size > 0 else 1.0
    return np.where(both, before + factor * (after - before), after)


def _classes(scores: Array, labels: Array | None) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The class whose lead counts, of each row, and which of them are known."""
    if labels is None:
        return scores.argmax(axis=1).astype(np.int64), np.ones(len(scores), bool)
    classes = np.asarray(labels).reshape(-1).astype(np.int64)
    return classes, classes >= 0
