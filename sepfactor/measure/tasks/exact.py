"""Whole numbers, truth values and strings: an answer is the same, or it is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.parts import samples_of
from sepfactor.measure.tasks.base import Answers, Found, Task, Wanted, changed, is_picture, pessimistic
from sepfactor.results import Quality

Array = NDArray[Any]


_SPELLED = {"O": "strings", "U": "strings", "b": "truth values", "i": "whole numbers", "u": "whole numbers"}


class Exact(Task):
    """By the share of equal elements; nothing of an answer of another shape is equal."""

    name = "labels"
    tolerance = 0.01
    kinds = ("agreement",)

    @classmethod
    def find(cls, outputs: Sequence[Answers], wanted: Wanted) -> Iterator[Found]:
        """Each output of whole numbers, truth values or strings that is no picture."""
        for one in outputs:
            first = one.runs[0]
            measured = wanted.noise is not None and first.dtype.kind in "biu"
            if first.dtype.kind != "f" and not is_picture(first) and not measured:
                yield Found(
                    cls(one), f"{_SPELLED.get(first.dtype.kind, first.dtype.name)}, which are equal or not"
                )

    def judge(self, after: Sequence[Sequence[Array]]) -> tuple[Quality, ...]:
        """The one quality, a share of 1."""
        (others,) = after
        before = self.answers.runs[: len(others)]
        differs = changed(before, others)
        losses, trials = [], 0
        for run, other in enumerate(others):
            ours = self.answers.samples(run)
            theirs = samples_of(other, self.answers.batches[run]) if not differs[run] else ours
            for sample, its in zip(ours, theirs, strict=True):
                unequal = float(np.mean(np.asarray(sample != its))) if sample.size else 0.0
                losses.append(1.0 if differs[run] else unequal)
                trials += sample.size
        wrong = np.array(losses)
        share = 1.0 - float(wrong.mean())
        return (
            Quality(
                kind="agreement",
                original=1.0,
                result=share,
                expected=share,
                pessimistic=max(1.0 - pessimistic(wrong, units=self.units), 0.0),
                divergence=float(wrong.mean()),
                samples=len(wrong),
                output=self.answers.name,
                changed=sum(differs),
                trials=trials,
            ),
        )
