"""Embeddings: directions that are compared with one another, such as descriptors of faces or sounds.

What all samples have in common tells none from another; so the cosine is that of what is left without the
mean of the original's. And what embeddings are for is finding what is near: of each sample, the nearest of
the others should stay the nearest. As with classes, how far it is ahead of the second says more than whether
it stays (:mod:`sepfactor.measure.flips`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.flips import Mask, expected_share, leads, with_upper_end
from sepfactor.measure.tasks import classes
from sepfactor.measure.tasks.base import Answers, Floats, Found, Task, Wanted, changed, pessimistic
from sepfactor.results import Quality

Array = NDArray[Any]

_LEAST_SIZE, _MULTIPLE = 64, 32
"""Sizes that embeddings have and rows of coordinates or parameters hardly ever."""

_LEAST_SAMPLES = 4
_NO_COSINE = -2.0
"""Below any that there is."""

LEAST_NEIGHBOURS = 9
"""Of fewer samples nothing is said: without one of them there must be enough to estimate a share from."""

_UNIT = 1e-3
_ALIKE = 5.0
"""Nine in ten dimensions of an embedding vary alike, within this factor."""

_OFFSET = 12.0
"""What embeddings have in common is up to so often as large as what they vary by, squared."""


class Embedding(Task):
    """By the mean cosine with the original's, both without its mean, and by who is nearest."""

    name = "embedding"
    tolerance = 0.005
    kinds = ("cosine", "neighbours")

    def __init__(self, answers: Answers) -> None:
        super().__init__(answers)
        rows = _rows(answers.runs)
        self._mean = rows.mean(axis=0) if len(rows) > 1 else np.zeros(rows.shape[1])

    @classmethod
    def find(cls, outputs: Sequence[Answers], wanted: Wanted) -> Iterator[Found]:
        """Each output of a row a sample that looks like directions."""
        for one in outputs:
            if not _has_shape(one):
                continue
            asked = wanted.task == cls.name
            why = "as you say" if asked else _why(one)
            if why is not None:
                yield Found(cls(one), why, None if asked else classes.unlike(one))

    def judge(self, after: Sequence[Sequence[Array]]) -> tuple[Quality, ...]:
        """A cosine, and of several samples the share whose nearest neighbour stays."""
        (others,) = after
        before = self.answers.runs[: len(others)]
        differs = changed(before, others)
        held = [np.full_like(a, np.nan) if d else b for a, b, d in zip(before, others, differs, strict=True)]
        whole = [_rows(side) for side in (before, held)]
        ours, theirs = (side - self._mean for side in whole)
        with np.errstate(invalid="ignore", over="ignore"):
            lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
            cosines = np.where(lengths > 0, (ours * theirs).sum(axis=1) / np.maximum(lengths, 1e-30), 0.0)
        cosines = np.where(np.isfinite(cosines), cosines, 0.0)
        cosines[np.all(ours == theirs, axis=1)] = 1.0
        mean = float(cosines.mean())
        near = () if len(cosines) < LEAST_NEIGHBOURS else (self._neighbours(*whole),)
        return (
            Quality(
                kind="cosine",
                original=1.0,
                result=mean,
                expected=mean,
                pessimistic=1.0 - pessimistic(1.0 - cosines, units=self.units),
                divergence=1.0 - mean,
                samples=len(cosines),
                output=self.answers.name,
                changed=sum(differs),
            ),
            *near,
        )

    def _neighbours(self, ours: Floats, theirs: Floats) -> Quality:
        """The share of samples whose nearest neighbour among the others is the same.

        That is of as many others as these; among more there are more that are nearly as near.
        """
        similar = _cosines(ours)
        nearest = similar.argmax(axis=1)
        before, after = leads(similar, nearest), leads(_cosines(theirs), nearest)
        after = np.where(np.isfinite(theirs).all(axis=1), after, -np.inf)

        def lost(left: Mask, _: Mask) -> float:
            return 1.0 - expected_share(before[left], after[left], before[left])

        every, most = with_upper_end(lost, np.arange(len(before)))  # of others, not of relatives
        return Quality(
            kind="neighbours",
            original=1.0,
            result=float(np.mean(after >= 0)),
            expected=1.0 - every,
            pessimistic=max(1.0 - max(every, most), 0.0),
            divergence=every,
            samples=len(before),
            output=self.answers.name,
        )


def may_be(value: Array) -> bool:
    """Whether the answer to a single sample has the size of an embedding."""
    is_row = value.dtype.kind == "f" and value.ndim >= 2 and sum(n > 1 for n in value.shape) == 1
    return is_row and value.size >= _LEAST_SIZE and value.size % _MULTIPLE == 0


def _has_shape(answers: Answers) -> bool:
    """Whether every run gives a row of numbers for each of its samples."""
    runs = answers.runs
    if runs[0].dtype.kind != "f" or any(
        run.ndim < 2 or sum(n > 1 for n in run.shape[1:]) != 1 for run in runs
    ):
        return False
    return [run.shape[0] for run in runs] == list(answers.batches) and len(
        {run.shape[1:] for run in runs}
    ) == 1


def _why(answers: Answers) -> str | None:
    rows = _rows(answers.runs)
    count, size = rows.shape
    if count < _LEAST_SAMPLES or size < _LEAST_SIZE or size % _MULTIPLE or not np.isfinite(rows).all():
        return None
    lengths = np.linalg.norm(rows, axis=1)
    if np.abs(lengths - 1).max() < _UNIT:
        return f"{rows.shape[1]} numbers a sample, of length 1"
    spread = rows.std(axis=0)
    alike = np.quantile(spread, 0.9) <= _ALIKE * max(float(np.quantile(spread, 0.1)), 1e-12)
    centred = float(np.sum(rows.mean(axis=0) ** 2)) <= _OFFSET * float(np.sum(spread**2))
    if alike and centred and not (classes.has_shape(answers) and classes.doubt(answers) is None):
        return f"{size} numbers a sample that vary alike around a middle"
    return None


def _cosines(rows: Floats) -> Floats:
    """``(N, N)`` of each row with each other; none is its own neighbour, and a broken one nobody's."""
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        found = (rows / np.maximum(lengths, 1e-30)) @ (rows / np.maximum(lengths, 1e-30)).T
    found = np.where(np.isfinite(found), found, _NO_COSINE)
    np.fill_diagonal(found, -np.inf)
    return found


def _rows(runs: Sequence[Array]) -> Floats:
    return np.concatenate([run.reshape(run.shape[0], -1) for run in runs]).astype(np.float64)
