"""Which numbers 256 codes should stand for: ranges of least squared error, by histograms of what was seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.data import Feed
from sepfactor.factor.stage import Array
from sepfactor.fit.viewing import sizes_of
from sepfactor.graph.instrument import with_outputs
from sepfactor.graph.int8 import LARGEST_CODE, Grid
from sepfactor.measure.engine import Engine, Session

_BINS = 1024
"""Of a histogram: a range ends at the end of one of them."""

_CLIPPED = np.linspace(0.3, 1.0, 36)
"""Shares of what was seen that a range may reach to, on either side of zero."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What was seen of one activation.

    Attributes:
        low: the least number, or zero.
        high: the largest, or zero.
        counts: ``(_BINS,)``, of numbers other than zero between them. Zero has a code of its own.
        total: of all numbers.
        channels: ``(channels,)``, the largest magnitude of each; of one axis where there are no channels.
    """

    low: float
    high: float
    counts: Array
    total: float
    channels: Array

    def errors(self, lows: Array, highs: Array) -> Array:
        """Mean squared errors of all ranges from one of ``lows`` to one of ``highs``.

        What is cut off above does not depend on where a range begins, nor what is below on where it ends.

        Args:
            lows: ``(L,)``, none above zero.
            highs: ``(H,)``, none below zero.

        Returns:
            ``(L, H)``.
        """
        edges = np.linspace(self.low, self.high, _BINS + 1)
        middle = 0.5 * (edges[1:] + edges[:-1])
        over = np.maximum(middle - highs[:, None], 0.0)
        under = np.maximum(lows[:, None] - middle, 0.0)
        inside = self.counts.sum() - ((under > 0) @ self.counts)[:, None] - (over > 0) @ self.counts
        cut_off = (under**2 @ self.counts)[:, None] + over**2 @ self.counts
        steps = (highs - lows[:, None]) / LARGEST_CODE
        return np.asarray((steps**2 / 12 * inside + cut_off) / max(self.total, 1.0))


def look_at(
    model: ir.Model, names: Sequence[str], feeds: Iterable[Feed], engine: Engine, most: int
) -> dict[str, Seen]:
    """What is seen of activations on data, by name.

    Args:
        model: in float32.
        names: of activations, in the order of the graph.
        feeds: inputs; gone through twice.
        engine: what runs it.
        most: bytes that activations of one run may take; where they are more, the network is run once for
            each part of them.
    """
    feeds = list(feeds)
    seen: dict[str, Seen] = {}
    for part in _parts(model, names, feeds[0], engine, most):
        session = engine.open(with_outputs(model, part), level="basic")
        ends = {name: _Ends() for name in part}
        for name, value in _values(session, feeds, part):
            ends[name].take(value)
        counts = {name: np.zeros(_BINS) for name in part}
        for name, value in _values(session, feeds, part):
            low, high = ends[name].low, ends[name].high
            if high > low:
                numbers = value[np.isfinite(value) & (value != 0)]
                counts[name] += np.histogram(numbers, _BINS, (low, high))[0]
        seen |= {name: ends[name].seen(counts[name]) for name in part}
    return seen


def _values(
    session: Session, feeds: Sequence[Feed], names: Sequence[str]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Activations, by name, of one run after the other."""
    outputs = [output.name for output in session.get_outputs()]
    for feed in feeds:
        found = {**feed, **dict(zip(outputs, session.run(feed), strict=True))}
        yield from ((name, found[name]) for name in names)


@dataclass
class _Ends:
    """How far the numbers of an activation reach."""

    low: float = 0.0
    high: float = 0.0
    total: int = 0
    channels: Array = field(default_factory=lambda: np.zeros(1))

    def take(self, value: NDArray[np.float32]) -> None:
        """Look at those of one run."""
        finite = value[np.isfinite(value)]
        if finite.size:
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
            largest = _by_channel(np.where(np.isfinite(value), value, 0))
            if len(largest) != len(self.channels) > 1:  # no channels, but an axis of any size
                largest, self.channels = largest.max(keepdims=True), self.channels.max(keepdims=True)
            self.channels = np.maximum(self.channels, largest)
        self.total += value.size

    def seen(self, counts: Array) -> Seen:
        """With a histogram between them."""
        return Seen(self.low, self.high, counts, float(self.total), self.channels)


def _by_channel(value: NDArray[np.float32]) -> Array:
    """The largest magnitude of every channel, the second axis; of all where there is none."""
    if value.ndim < 2:
        return np.atleast_1d(np.abs(value).max())
    return np.asarray(np.abs(value).max(axis=(0, *range(2, value.ndim))))


def _parts(
    model: ir.Model, names: Sequence[str], feed: Feed, engine: Engine, most: int
) -> Iterator[list[str]]:
    part, held = list[str](), 0
    for name, size in sizes_of(model, names, feed, engine).items():
        if part and held + 4 * size > most:
            yield part
            part, held = [], 0
        part.append(name)
        held += 4 * size
    if part:
        yield part


def grid_of(together: Sequence[Seen]) -> Grid:
    """The grid of least squared error for activations that share one.

    Args:
        together: what was seen of each.
    """
    low, high = min(one.low for one in together), max(one.high for one in together)
    if low == high:
        return Grid(1.0, 0)
    lows, highs = (np.unique(end * _CLIPPED) for end in (low, high))
    errors = np.sum([one.errors(lows, highs) for one in together], axis=0)
    lowest, highest = np.unravel_index(int(np.argmin(errors)), errors.shape)
    return _grid(float(lows[lowest]), float(highs[highest]))


def _grid(low: float, high: float) -> Grid:
    scale = np.float32((high - low) / LARGEST_CODE)
    return Grid(float(scale), int(np.clip(np.rint(-low / scale), 0, LARGEST_CODE)))


def grids_of(groups: Iterable[Sequence[str]], seen: Mapping[str, Seen]) -> dict[str, Grid]:
    """The grid of every activation, by name; those of a group share one."""
    found: dict[str, Grid] = {}
    for group in groups:
        found |= dict.fromkeys(group, grid_of([seen[name] for name in group]))
    return found
