"""What the samples of a dense output are like, element by element, in memory that does not grow with them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]

DEAD = 1e-5
"""Channels so much smaller than the largest one are no unit of their own."""

PIECE = 500_000
"""Elements of a large sample that are worked on at once: each takes some ten numbers of eight bytes."""

LARGE = 4_000_000
"""Samples of more elements are summed up by channel at once, to save memory."""

_CONSTANT = 1e-12
"""Variation over power: below it is rounding."""


@dataclass
class Spread:
    """What the samples of an output are like, element by element, fed sample by sample.

    Attributes:
        count: ``(…)`` finite values seen of each element; all of these arrays have the shape of a sample.
        total: their sums.
        square: sums of their squares.
        low: the least.
        high: the largest.
        axis: of samples that differ in shape, the one that the remaining channels lie along.
        is_ragged: whether shapes differed.
    """

    count: NDArray[np.uint32] | Floats
    total: Floats
    square: Floats
    low: NDArray[np.floating]
    high: NDArray[np.floating]
    axis: int | None = None
    is_ragged: bool = False

    @classmethod
    def of(cls, samples: Iterable[Array]) -> Spread | None:
        """Of all samples; None if there is none."""
        found: Spread | None = None
        for sample in samples:
            found = cls.with_sample(found, sample)
        return found

    @classmethod
    def with_sample(cls, found: Spread | None, sample: Array) -> Spread:
        """What was found so far, and one more sample: added in place where that can be."""
        axis = slabbed(sample)
        for slab in slabs(sample, axis):
            found = cls.grown(found, slab, axis, pieces_of(slab))
        assert found is not None
        return found

    @classmethod
    def grown(
        cls,
        found: Spread | None,
        like: Array,
        axis: int | None,
        pieces: Iterable[tuple[int, Array]],
        *,
        has_range: bool = True,
    ) -> Spread:
        """What was found so far, and one more sample given in pieces.

        Args:
            found: None for nothing.
            like: has the shape and the type of the sample.
            axis: of its channels; None to find it where only the channels of so large a sample are kept.
            pieces: from which element on, and these elements in a row.
            has_range: whether the least and the largest are wanted as well.
        """
        one = found if found is not None and found.takes(like) else cls.empty(like, has_range=has_range)
        for begin, piece in pieces:
            one.add(begin, piece)
        if one is found:
            return one
        if like.size > LARGE or axis is not None:
            one = one.collapsed(channel_axis(one) if axis is None else axis)
        return one if found is None else found.joined(one)

    @classmethod
    def empty(cls, like: Array, *, has_range: bool = True) -> Spread:
        """Of no sample yet.

        Args:
            like: has the shape and the type of a sample.
            has_range: whether the least and the largest are wanted as well.
        """
        shape = like.shape
        none = np.broadcast_to(0.0, shape)
        narrow = np.float32 if like.dtype.kind == "f" and like.dtype.itemsize <= 4 else np.float64
        return cls(
            np.zeros(shape, np.uint32),
            np.zeros(shape),
            np.zeros(shape),
            np.full(shape, np.inf, narrow) if has_range else none,
            np.full(shape, -np.inf, narrow) if has_range else none,
        )

    def takes(self, sample: Array) -> bool:
        """Whether a sample can be added in place."""
        return not self.is_ragged and self.count.shape == sample.shape and sample.size <= LARGE

    def add(self, begin: int, piece: Array) -> None:
        """The elements of a sample from ``begin`` on."""
        at = slice(begin, begin + len(piece))
        wide = piece.astype(np.float64)
        finite = np.isfinite(wide)
        self.count.reshape(-1)[at] += finite
        held = np.where(finite, wide, 0.0)
        self.total.reshape(-1)[at] += held
        self.square.reshape(-1)[at] += held**2
        if self.low.flags.writeable:
            for extreme, by, otherwise in ((self.low, np.minimum, np.inf), (self.high, np.maximum, -np.inf)):
                own = extreme.reshape(-1)[at]
                own[:] = by(own, np.where(finite, wide, otherwise))

    def joined(self, other: Spread) -> Spread:
        """Of the samples of both; channel by channel where their shapes differ."""
        a, b = self, other
        if a.is_ragged or b.is_ragged or a.count.shape != b.count.shape:
            axis = a.axis if a.is_ragged else _common_axis(a.count.shape, b.count.shape)
            a, b = a.collapsed(axis), b.collapsed(axis)
            if a.count.shape != b.count.shape:
                a, b = a.collapsed(None), b.collapsed(None)
        return Spread(
            a.count + b.count,
            a.total + b.total,
            a.square + b.square,
            np.minimum(a.low, b.low),
            np.maximum(a.high, b.high),
            a.axis,
            a.is_ragged,
        )

    def collapsed(self, axis: int | None) -> Spread:
        """All elements of a channel taken for one."""
        if self.is_ragged and self.axis == axis:
            return self
        along = None if self.is_ragged else axis

        def summed(values: Array, by: np.ufunc, empty: float) -> Floats:
            others = tuple(k for k in range(values.ndim) if k != along)
            found = by.reduce(values, axis=others, initial=empty) if others else values
            return np.asarray(found, np.float64).reshape(-1)

        return Spread(
            summed(self.count, np.add, 0.0),
            summed(self.total, np.add, 0.0),
            summed(self.square, np.add, 0.0),
            summed(self.low, np.minimum, np.inf),
            summed(self.high, np.maximum, -np.inf),
            axis,
            True,
        )

    @property
    def variation(self) -> Floats:
        """Variance of each element over the samples; 0 of what was seen once."""
        found = np.empty(self.total.shape)
        flat = (found, self.count, self.total, self.square)
        for pieces in zip(*(pieces_of(values) for values in flat), strict=True):
            out, count, total, square = (piece for _, piece in pieces)
            seen = np.maximum(count, 1.0)
            variance = (square - total**2 / seen) / np.maximum(seen - 1.0, 1.0)
            out[:] = np.where(variance > _CONSTANT * square / seen, variance, 0.0)
        return found


def _common_axis(one: tuple[int, ...], other: tuple[int, ...]) -> int | None:
    """The last axis of one length, of shapes that differ; rows of detections have their columns there."""
    if len(one) != len(other):
        return None
    return next((k for k in reversed(range(len(one))) if one[k] == other[k]), None)


def channel_axis(spread: Spread) -> int | None:
    """The axis of a sample that its channels lie along.

    Of ``(C,)`` and ``(C, H, W)`` the first, or the last of ``(H, W, C)``; of two axes the one that tells
    elements of large and small values apart, for detectors have either order.
    """
    shape = spread.count.shape
    if len(shape) < 2:
        return 0 if shape else None
    if len(shape) > 2:
        return _axis_by_shape(shape)
    size = np.log10(np.sqrt(spread.square / np.maximum(spread.count, 1.0)) + np.finfo(np.float32).tiny)
    size = np.maximum(size, size.max(initial=-np.inf) + math.log10(DEAD))
    told = [float(np.var(size.mean(axis=1 - k))) if size.size else 0.0 for k in (0, 1)]
    return int(told[1] > told[0])


def _axis_by_shape(shape: tuple[int, ...]) -> int:
    """The axis of the channels of a sample of three axes or more."""
    return len(shape) - 1 if shape[-1] < min(shape[:-1]) else 0


def slabbed(sample: Array) -> int | None:
    """The axis of the channels of a sample that is summed up by channel at once, slab by slab."""
    return _axis_by_shape(sample.shape) if sample.size > LARGE and sample.ndim > 2 else None


def pieces_of(values: Array) -> Iterable[tuple[int, Array]]:
    """The elements in rows of ``PIECE`` and where each begins; at least one row."""
    flat = values.reshape(-1)
    return ((begin, flat[begin : begin + PIECE]) for begin in range(0, max(len(flat), 1), PIECE))


def slabs(sample: Array, axis: int | None) -> Iterable[Array]:
    """A sample in pieces of about ``PIECE`` elements, each with all of ``axis``, if there is one."""
    if axis is None:
        return [sample]
    other = max((k for k in range(sample.ndim) if k != axis), key=lambda k: sample.shape[k])
    count = min(-(-sample.size // PIECE), sample.shape[other])
    return np.array_split(sample, count, axis=other)


def mean_along(axis: int | None, values: Floats) -> Floats:
    """``(channels,)``: means of the channels along an axis."""
    others = tuple(k for k in range(values.ndim) if k != axis)
    return np.asarray(values.mean(axis=others) if others else values).reshape(-1)
