"""Whole numbers, truth values and strings: an answer is the same, or it is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.parts import samples_of
from sepfactor.measure.tasks.base import Task, changed, pessimistic
from sepfactor.results import Quality

Array = NDArray[Any]


class Exact(Task):
    """By the share of equal elements; nothing of an answer of another shape is equal."""

    tolerance = 0.01

    def judge(self, after: Sequence[Array]) -> tuple[Quality, ...]:
        """The one quality, a share of 1."""
        before = self.answers.runs[: len(after)]
        differs = changed(before, after)
        losses, trials = [], 0
        for run, other in enumerate(after):
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
                pessimistic=max(1.0 - pessimistic(wrong), 0.0),
                divergence=float(wrong.mean()),
                samples=len(wrong),
                output=self.answers.name,
                changed=sum(differs),
                trials=trials,
            ),
        )
