"""Numbers that are judged by their noise: maps, pictures, boxes, embeddings, points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.parts import Parts, Spread, decibel, samples_of, squares
from sepfactor.measure.tasks.base import Answers, Floats, Task, changed, pessimistic
from sepfactor.results import Quality

Array = NDArray[Any]

_LEAST_SHADES = 64
"""Bytes of at most so many values are labels; of more, a picture."""


def is_picture(output: Array) -> bool:
    """Whether these are bytes of a picture, not labels or counts."""
    return output.dtype == np.uint8 and output.ndim >= 3 and len(np.unique(output)) > _LEAST_SHADES


class Dense(Task):
    """By signal to noise in each part of an output, see :mod:`sepfactor.measure.parts`; the worst counts.

    An answer of another shape is as wrong as none: its error is as large as its signal.
    """

    tolerance = 10**-3.5

    def __init__(self, answers: Answers, unit: Literal["snr", "psnr"] = "snr") -> None:
        super().__init__(answers)
        self.unit = unit
        every = [sample for run in range(len(answers.runs)) for sample in answers.samples(run)]
        spread = Spread.of(every)
        assert spread is not None
        self.parts = spread.parts() if unit == "snr" else _as_a_whole(spread)

    def again(self, answers: Answers) -> Dense:
        """In the same unit."""
        return Dense(answers, self.unit)

    def judge(self, after: Sequence[Array]) -> tuple[Quality, ...]:
        """The one quality, in dB."""
        before = self.answers.runs[: len(after)]
        differs = changed(before, after)
        errors, sizes = [], []
        for run, other in enumerate(after):
            ours = self.answers.samples(run)
            theirs = [None] * len(ours) if differs[run] else samples_of(other, self.answers.batches[run])
            for sample, its in zip(ours, theirs, strict=True):
                errors.append(self._by_part(squares(sample, its)))
                sizes.append(self._by_part(squares(sample, None)))
        losses, signals = np.stack(errors), np.stack(sizes)  # (samples, parts)
        means = losses.mean(axis=0)
        ends = [pessimistic(losses[:, p], _weights(signals[:, p])) for p in range(losses.shape[1])]
        worst = int(np.argmax(np.where(np.isnan(ends), np.inf, ends)))
        return (
            Quality(
                kind=self.unit,
                original=np.inf,
                result=decibel(float(means[worst])),
                expected=decibel(float(means[worst])),
                pessimistic=decibel(float(ends[worst])),
                divergence=float(np.mean(means)),
                samples=len(losses),
                output=self.answers.name,
                where=self.parts.name(worst),
                changed=sum(differs),
            ),
        )

    def _by_part(self, squares: Floats) -> Floats:
        return self.parts.errors(self.parts.by_channel(squares))


def _weights(signal: Floats) -> Floats | None:
    mean = float(signal.mean())
    return signal / mean if np.isfinite(mean) and mean > 0 else None


def _as_a_whole(spread: Spread) -> Parts:
    """One part whose signal is the square of the peak, for PSNR."""
    low, high = float(spread.low.min(initial=np.inf)), float(spread.high.max(initial=-np.inf))
    peak = high - low if np.isfinite(high - low) else 0.0
    return Parts(None, np.array([peak**2]), (np.zeros(1, np.int64),))
