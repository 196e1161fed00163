"""Numbers that are judged by their noise: maps, pictures, boxes, embeddings, points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.parts import Parts, decibel, parts_of, samples_of
from sepfactor.measure.spread import Spread
from sepfactor.measure.tasks import classes
from sepfactor.measure.tasks.base import (
    Answers,
    Floats,
    Found,
    Task,
    Wanted,
    changed,
    image_size,
    is_picture,
    pessimistic,
)
from sepfactor.results import Quality, QualityKind

Array = NDArray[Any]


class Dense(Task):
    """By signal to noise in each part of an output, see :mod:`sepfactor.measure.parts`; the worst counts.

    An answer of another shape is as wrong as none: its error is as large as its signal.
    """

    name = "dense"
    tolerance = 10**-3.5

    def __init__(self, answers: Answers, unit: Literal["snr", "psnr"] = "snr") -> None:
        super().__init__(answers)
        self.unit = unit
        every = (sample for run in range(len(answers.runs)) for sample in answers.samples(run))
        spread = Spread.of(every)
        assert spread is not None
        self.parts = parts_of(spread) if unit == "snr" else _as_a_whole(spread)

    @property
    def kinds(self) -> tuple[QualityKind, ...]:
        """The unit."""
        return (self.unit,)

    @classmethod
    def find(cls, outputs: Sequence[Answers], wanted: Wanted) -> Iterator[Found]:
        """Each output of numbers."""
        for one in outputs:
            kind = one.runs[0].dtype.kind
            if kind == "f" or (kind in "biu" and wanted.noise is not None) or is_picture(one.runs[0]):
                asked = wanted.noise is not None or wanted.task == cls.name
                why = "as you say" if asked else _what(one)
                note = None if asked else classes.unlike(one)
                yield Found(cls(one, wanted.noise or "snr"), why, note)

    def again(self, outputs: Sequence[Answers], wanted: Wanted) -> Dense:
        """In the same unit."""
        (answers,) = outputs
        return Dense(answers, self.unit)

    def judge(self, after: Sequence[Sequence[Array]]) -> tuple[Quality, ...]:
        """The one quality, in dB."""
        (others,) = after
        before = self.answers.runs[: len(others)]
        differs = changed(before, others)
        errors, sizes = [], []
        for run, other in enumerate(others):
            ours = self.answers.samples(run)
            theirs = [None] * len(ours) if differs[run] else samples_of(other, self.answers.batches[run])
            for sample, its in zip(ours, theirs, strict=True):
                errors.append(self.parts.errors(self.parts.squared(sample, its)))
                sizes.append(self.parts.errors(self.parts.squared(sample, None)))
        losses, signals = np.stack(errors), np.stack(sizes)  # (samples, parts)
        means = losses.mean(axis=0)
        weights = [_weights(signals[:, p]) for p in range(losses.shape[1])]
        ends = [pessimistic(losses[:, p], weight, self.units) for p, weight in enumerate(weights)]
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


def _what(answers: Answers) -> str:
    """What these are, as far as it shows."""
    first = answers.runs[0]
    low, high = float(first.min(initial=0)), float(first.max(initial=0))
    in_range = (low >= -0.5 and 0.5 < high <= 1.5) or (low >= -64 and 16 < high <= 320)  # shares, or bytes
    shows_one = image_size({answers.name: first}) is not None
    return "pictures" if shows_one and in_range else "numbers of no kind that is known better"


def _weights(signal: Floats) -> Floats | None:
    mean = float(signal.mean())
    return signal / mean if np.isfinite(mean) and mean > 0 else None


def _as_a_whole(spread: Spread) -> Parts:
    """One part whose signal is the square of the peak, for PSNR."""
    low, high = float(spread.low.min(initial=np.inf)), float(spread.high.max(initial=-np.inf))
    peak = high - low if np.isfinite(high - low) else 0.0
    return Parts(None, np.array([peak**2]), (np.zeros(1, np.int64),))
