"""Samples as a descent takes them: runs as they are, or made into others, and the original's answers to them.

A network with few samples to go by is soon fitted to those alone. The original answers to anything, so any
number of samples is to be had: pictures turned left to right and shifted, and pairs of samples laid over one
another (mixup, Zhang 2018; as targets of a distillation, Beyer et al. 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.data import Feed
from sepfactor.measure.engine import Session

Array = NDArray[Any]

_COLOURS = (1, 3)


@dataclass(frozen=True)
class Picture:
    """Axes of an input that is a picture."""

    height: int
    width: int


def pictures(feed: Feed) -> dict[str, Picture]:
    """Inputs of a run that are pictures, channels first or last."""
    found = {}
    for name, value in feed.items():
        if value.ndim == 4 and value.shape[1] in _COLOURS:
            found[name] = Picture(2, 3)
        elif value.ndim == 4 and value.shape[3] in _COLOURS:
            found[name] = Picture(1, 2)
    return found


@dataclass(frozen=True)
class Variety:
    """What is done to samples, so that no two are the same.

    Attributes:
        turned: share of pictures turned left to right.
        shifted: of their height and width, that pictures are shifted by at most.
        mixed: share of samples that another one is laid over, by any part.
    """

    turned: float = 0.5
    shifted: float = 1 / 8
    mixed: float = 1.0


class Samples:
    """Runs, and what the original answers.

    Args:
        feeds: the runs.
        original: its session.
        names: of values that it hands out.
        variety: what is done to samples.

    Attributes:
        together: whether the original is run on several at once.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        original: Session,
        names: Sequence[str],
        variety: Variety | None = None,
    ) -> None:
        self.together = False
        self._feeds, self._original = feeds, original
        self._variety = variety or Variety()
        self._pictures = pictures(feeds[0])
        order = [output.name for output in original.get_outputs()]
        self._places = [order.index(name) for name in names]

    def __len__(self) -> int:
        return len(self._feeds)

    def plain(self, runs: Sequence[int]) -> list[Feed]:
        """Several runs as they are."""
        return [self._feeds[run] for run in runs]

    def varied(self, runs: Sequence[int], rng: np.random.Generator) -> list[Feed]:
        """Several runs, each made into another sample."""
        feeds = [self._varied(self._feeds[run], rng) for run in runs]
        others = rng.permutation(len(feeds))
        return [self._mixed(feed, feeds[other], rng) for feed, other in zip(feeds, others, strict=True)]

    def _varied(self, feed: Feed, rng: np.random.Generator) -> Feed:
        changed = {}
        for name, axes in self._pictures.items():
            value = feed[name]
            if rng.random() < self._variety.turned:
                value = np.flip(value, axes.width)
            for axis in (axes.height, axes.width):
                value = _shifted(value, axis, self._variety.shifted, rng)
            changed[name] = np.ascontiguousarray(value)
        return feed | changed

    def _mixed(self, feed: Feed, other: Feed, rng: np.random.Generator) -> Feed:
        if rng.random() >= self._variety.mixed:
            return feed
        part = rng.random()
        return {name: _mix(value, other[name], part) for name, value in feed.items()}

    def answers(self, feeds: Sequence[Feed]) -> list[Array]:
        """What the original answers to several runs: an array per name, of them behind one another."""
        if len(feeds) == 1 or self.together:
            return self.answer(behind(feeds))
        each = [self.answer(feed) for feed in feeds]
        return [np.concatenate(values) for values in zip(*each, strict=True)]

    def answer(self, feed: Feed) -> list[Array]:
        """The same to one run."""
        made = self._original.run(feed)
        return [np.asarray(made[place]) for place in self._places]


def behind(feeds: Sequence[Feed]) -> Feed:
    """Several runs as one, along their first axis."""
    if len(feeds) == 1:
        return feeds[0]
    return {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}


def _shifted(value: Array, axis: int, share: float, rng: np.random.Generator) -> Array:
    """Moved along an axis; what comes in at the edge is the picture mirrored there."""
    size = value.shape[axis]
    most = min(int(share * size), size - 1)
    if most < 1:
        return value
    by = int(rng.integers(-most, most + 1))
    at = np.abs(np.arange(size) + by)
    return np.take(value, np.where(at >= size, 2 * (size - 1) - at, at), axis=axis)


def _mix(value: Array, other: Array, part: float) -> Array:
    """One laid over the other, where that means something."""
    if value.dtype.kind != "f" or value.shape != other.shape:
        return value
    return (part * value + (1 - part) * other).astype(value.dtype)
