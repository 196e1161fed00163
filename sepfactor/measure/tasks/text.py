"""Text that a network reads off a line: strings of classes by connectionist temporal classification (CTC).

The best class of each step; what repeats is one, blanks are left out (Graves et al. 2006, best path
decoding). Two networks differ by the edit distance of their strings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.metrics import are_probabilities, class_divergences
from sepfactor.measure.tasks.base import Answers, Floats, Found, Task, Wanted, changed, pessimistic
from sepfactor.results import Quality

Array = NDArray[Any]
String = NDArray[np.int64]

_LEAST_CLASSES = 11
"""Ten digits and a blank."""

_LEAST_STEPS = 4
_LEAST_BLANK = 0.15
"""Where text is read, so many steps at least are blank."""


class Text(Task):
    """By the share of characters that need no edit.

    Args:
        answers: of the original.
        blank: the class that says nothing.
    """

    name = "text"
    tolerance = 0.02
    kinds = ("characters",)

    def __init__(self, answers: Answers, blank: int = 0) -> None:
        super().__init__(answers)
        self._blank = blank

    @classmethod
    def find(cls, outputs: Sequence[Answers], wanted: Wanted) -> Iterator[Found]:
        """Each output of sharp class scores by step, with blanks between them."""
        for one in outputs:
            if not _has_shape(one):
                continue
            blank = _blank(one, asked=wanted.task == cls.name)
            if blank is not None:
                task = cls(one, blank)
                lengths = [len(text) for run in one.runs for text in task._strings(run)]
                yield Found(
                    task,
                    f"class scores by step {one.shape}, {np.mean(lengths):.1f} characters a line (CTC)",
                )

    def again(self, outputs: Sequence[Answers], wanted: Wanted) -> Text:
        """With the same blank."""
        (answers,) = outputs
        return Text(answers, self._blank)

    def judge(self, after: Sequence[Sequence[Array]]) -> tuple[Quality, ...]:
        """The one quality, a share of 1."""
        (others,) = after
        before = self.answers.runs[: len(others)]
        differs = changed(before, others)
        edits, lengths, apart = [], [], []
        for ours, theirs, is_other in zip(before, others, differs, strict=True):
            texts = self._strings(ours)
            found = [np.zeros(0, np.int64)] * len(texts) if is_other else self._strings(theirs)
            edits += [edit_distance(a, b) for a, b in zip(texts, found, strict=True)]
            lengths += [max(len(a), 1) for a in texts]
            held = np.full_like(ours, np.nan) if is_other else theirs
            flat = [side.reshape(-1, side.shape[-1]) for side in (ours, held)]
            apart.append(float(np.mean(class_divergences(*flat))))
        weights: Floats = np.array(lengths) / np.mean(lengths)
        losses: Floats = np.array(edits) / np.mean(lengths)
        share = 1.0 - float(losses.mean())
        divergence = float(np.mean(apart))
        return (
            Quality(
                kind="characters",
                original=1.0,
                result=share,
                expected=share,
                pessimistic=1.0 - pessimistic(losses, weights, self.units),
                divergence=divergence if np.isfinite(divergence) else np.inf,
                samples=len(losses),
                output=self.answers.name,
                changed=sum(differs),
                trials=int(np.sum(lengths)),
            ),
        )

    def _strings(self, run: Array) -> list[String]:
        """What each line of a run says."""
        best = np.nan_to_num(run, nan=-np.inf).argmax(axis=2)
        return [_collapsed(line, self._blank) for line in best]


def _has_shape(answers: Answers) -> bool:
    """Whether every run gives ``(N, T, C)`` floats for its N lines."""
    runs = answers.runs
    if runs[0].dtype.kind != "f" or any(run.ndim != 3 for run in runs):
        return False
    _, steps, classes = runs[0].shape
    fits = [run.shape[0] for run in runs] == list(answers.batches)
    return fits and steps >= _LEAST_STEPS and classes >= _LEAST_CLASSES


def _blank(answers: Answers, *, asked: bool) -> int | None:
    """The class that is blank, the first or the last, if this is text."""
    last = answers.runs[0].shape[2] - 1
    best = [line for run in answers.runs for line in run.argmax(axis=2)]
    steps = np.concatenate(best)
    shares = {blank: float(np.mean(steps == blank)) for blank in (0, last)}
    blank = max(shares, key=shares.__getitem__)
    if asked:
        return blank
    sharp = all(
        are_probabilities(run.reshape(-1, last + 1)).all() or (run <= 0).all() for run in answers.runs
    )
    texts = [_collapsed(line, blank).tolist() for line in best]
    said = sum(bool(text) for text in texts)
    varied = len({tuple(text) for text in texts}) > 1 or len(texts) == 1
    return blank if sharp and shares[blank] >= _LEAST_BLANK and said * 2 >= len(texts) and varied else None


def _collapsed(line: String, blank: int) -> String:
    first = np.concatenate([[True], line[1:] != line[:-1]])
    return np.asarray(line[first & (line != blank)], np.int64)


def edit_distance(one: String, other: String) -> int:
    """The least insertions, deletions and replacements between two strings (Levenshtein 1966)."""
    row = np.arange(len(other) + 1)
    for k, symbol in enumerate(one.tolist(), 1):
        before, row[0] = row.copy(), k
        for j in range(1, len(row)):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (other[j - 1] != symbol))
    return int(row[-1])
