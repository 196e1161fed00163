"""How large an error is beside what a dense output tells of its inputs, each part of it in its own unit.

An output may hold boxes in pixels beside scores from 0 to 1, or hardly move off 300; one sum over all of it
sees the pixels, or the 300, alone. So the signal of a channel ``c`` is limited by how much each of its
elements ``i`` varies over the samples ``n``, and channels in units far apart are parts of their own::

    power      P_c = mean_n,i a²
    variation  V_c = mean_i var_n a           over positions instead, where there is a single sample
    signal     S_c = min(P_c, 10 V_c)         at least a hundredth of the mean of the channels of its part
    error      E   = mean_c ( mean_n,i (a − b)² / S_c )        of the worst part
    SNR        −10 log10 E                    dB

An image from 0 to 1 has a power of about four times its variation: of such outputs it is the usual SNR. A
channel that is the same for all inputs tells nothing by varying, and counts by its power.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_OFFSET = 10.0
"""A constant offset adds at most so much to the variation: 10 dB."""

_FAR_APART = 10.0
"""Channels are in units of their own where no others come closer in size than this factor."""

_DEAD = 1e-5
"""Channels so much smaller than the largest one are no unit of their own."""

_LEAST_SIGNAL = 0.01
"""Of a channel, beside the mean of its part: one that never says anything is not measured by itself."""

_PIECE = 500_000
"""Elements of a large sample that are worked on at once: each takes some ten numbers of eight bytes."""

_LARGE = 4_000_000
"""Samples of more elements are summed up by channel at once, to save memory."""

_CONSTANT = 1e-12
"""Variation over power: below it is rounding."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The channels of an output, by the unit that they are in.

    Attributes:
        axis: of a sample that the channels lie along; None where there is one channel in all.
        signal: ``(channels,)`` mean square that errors count by.
        groups: the indices of each part's channels, the largest values first.
    """

    axis: int | None
    signal: Floats
    groups: tuple[Indices, ...]

    def errors(self, noise: Floats) -> Floats:
        """``(parts, …)``: error over signal of each part.

        Args:
            noise: ``(…, channels)`` mean squared errors.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.where(noise > 0, noise / self.signal, 0.0)
        return np.stack([shares[..., group].mean(axis=-1) for group in self.groups])

    def by_channel(self, sample: Array) -> Floats:
        """``(channels,)``: mean over all else of an array of the shape of a sample."""
        if self.axis is None:
            return np.array([sample.mean()]) if sample.size else np.zeros(1)
        others = tuple(k for k in range(sample.ndim) if k != self.axis)
        if not sample.size:
            return np.zeros(len(self.signal))
        return np.asarray(sample.mean(axis=others), np.float64)

    def squared(self, sample: Array, other: Array | None) -> Floats:
        """``(channels,)`` mean :func:`squares`, of a large sample piece by piece."""
        if sample.size <= _LARGE or sample.ndim < 2:
            return self.by_channel(squares(sample, other))
        axis = self.axis or 0
        ours = [*_slabs(sample, axis)]
        theirs = [None] * len(ours) if other is None else _slabs(other, axis)
        parts = zip(ours, theirs, strict=True)
        return np.asarray(sum(self.by_channel(squares(a, b)) * (a.size / sample.size) for a, b in parts))

    def name(self, part: int) -> str:
        """``channels 0–3``; empty where there is a single part."""
        if len(self.groups) == 1:
            return ""
        wanted = np.sort(self.groups[part])
        breaks = np.flatnonzero(np.diff(wanted) > 1) + 1
        runs = [f"{r[0]}–{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in np.split(wanted, breaks)]
        more = f" and {len(runs) - 3} more ranges" if len(runs) > 3 else ""
        return f"channel{'s' * (len(wanted) > 1)} {', '.join(runs[:3])}{more}"


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

    count: Floats
    total: Floats
    square: Floats
    low: Floats
    high: Floats
    axis: int | None = None
    is_ragged: bool = False

    @classmethod
    def of(cls, samples: Iterable[Array]) -> Spread | None:
        """Of all samples; None if there is none."""
        found: Spread | None = None
        for sample in samples:
            axis = _axis_by_shape(sample.shape) if sample.size > _LARGE and sample.ndim > 2 else None
            for slab in _slabs(sample, axis):
                one = cls._one(slab) if axis is None else cls._one(slab).collapsed(axis)
                found = one if found is None else found.joined(one)
        return found

    @classmethod
    def _one(cls, sample: Array) -> Spread:
        wide = sample.astype(np.float64)
        finite = np.isfinite(wide)
        held = np.where(finite, wide, 0.0)
        one = cls(
            finite.astype(np.float64),
            held,
            held**2,
            np.where(finite, wide, np.inf),
            np.where(finite, wide, -np.inf),
        )
        return one if sample.size <= _LARGE else one.collapsed(_channel_axis(one))

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

        def summed(values: Floats, by: np.ufunc, empty: float) -> Floats:
            others = tuple(k for k in range(values.ndim) if k != along)
            found = by.reduce(values, axis=others, initial=empty) if others else values
            return np.asarray(found).reshape(-1)

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
        seen = np.maximum(self.count, 1.0)
        variance = (self.square - self.total**2 / seen) / np.maximum(seen - 1.0, 1.0)
        return np.where(variance > _CONSTANT * self.square / seen, variance, 0.0)

    def parts(self) -> Parts:
        """The channels, by the unit that they are in."""
        axis = self.axis if self.is_ragged else _channel_axis(self)
        ours = self.collapsed(axis)
        seen = np.maximum(ours.count, 1.0)
        power = ours.square / seen
        if self.is_ragged or not (self.count > 1).any():
            variation = ours.variation
        else:  # over samples, of each element by itself
            variation = _Along(axis).mean(self.variation)
        signal = np.where(variation > 0, np.minimum(power, _OFFSET * variation), power)
        size = np.where(ours.count > 0, np.maximum(np.abs(ours.low), np.abs(ours.high)), 0.0)
        groups = _groups(size, (ours.low >= 0) & (ours.high <= 1))
        for group in groups:
            signal[group] = np.maximum(signal[group], _LEAST_SIGNAL * signal[group].mean())
        return Parts(axis, signal, groups)


@dataclass(frozen=True)
class _Along:
    """Means of the channels along an axis."""

    axis: int | None

    def mean(self, values: Floats) -> Floats:
        """``(channels,)``."""
        others = tuple(k for k in range(values.ndim) if k != self.axis)
        return np.asarray(values.mean(axis=others) if others else values).reshape(-1)


def _common_axis(one: tuple[int, ...], other: tuple[int, ...]) -> int | None:
    """The last axis of one length, of shapes that differ; rows of detections have their columns there."""
    if len(one) != len(other):
        return None
    return next((k for k in reversed(range(len(one))) if one[k] == other[k]), None)


def _channel_axis(spread: Spread) -> int | None:
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
    size = np.maximum(size, size.max(initial=-np.inf) + math.log10(_DEAD))
    told = [float(np.var(size.mean(axis=1 - k))) if size.size else 0.0 for k in (0, 1)]
    return int(told[1] > told[0])


def _axis_by_shape(shape: tuple[int, ...]) -> int:
    """The axis of the channels of a sample of three axes or more."""
    return len(shape) - 1 if shape[-1] < min(shape[:-1]) else 0


def _slabs(sample: Array, axis: int | None) -> Iterable[Array]:
    """A sample in pieces of about ``_PIECE`` elements, each with all of ``axis``, if there is one."""
    if axis is None:
        return [sample]
    other = max((k for k in range(sample.ndim) if k != axis), key=lambda k: sample.shape[k])
    count = min(-(-sample.size // _PIECE), sample.shape[other])
    return np.array_split(sample, count, axis=other)


def _groups(size: Floats, is_share: NDArray[np.bool_]) -> tuple[Indices, ...]:
    """Channels by size, cut where the next is far smaller; what lies from 0 to 1 is of one unit.

    Args:
        size: ``(channels,)`` largest magnitudes.
        is_share: ``(channels,)`` which hold values from 0 to 1 alone.
    """
    if not len(size):
        return (np.zeros(0, np.int64),)
    living = size > _DEAD * size.max()
    order = np.argsort(-size, kind="stable")
    groups: list[list[int]] = []
    last = -1
    for k in order.tolist():
        far = last >= 0 and living[k] and size[last] > _FAR_APART * size[k]
        if not groups or (far and not (is_share[k] and is_share[last])):
            groups.append([])
        groups[-1].append(k)
        last = k
    return tuple(np.array(group, np.int64) for group in groups)


@dataclass
class PartMeter:
    """The SNR of the worst part of an output, fed sample by sample; holds sums alone.

    Attributes:
        signal: of what was seen of the original.
        noise: squared errors.
        is_broken: whether something was finite in the original alone.
    """

    signal: Spread | None = None
    noise: Spread | None = None
    is_broken: bool = False

    def update(self, sample: Array, other: Array) -> None:
        """Add a sample, numbers of one shape."""
        axis = _axis_by_shape(sample.shape) if sample.size > _LARGE and sample.ndim > 2 else None
        for ours, theirs in zip(_slabs(sample, axis), _slabs(other, axis), strict=True):
            error = squares(ours, theirs)
            self.is_broken = self.is_broken or not np.isfinite(error).all()
            signal, noise = Spread.of([ours]), Spread.of([error])
            assert signal is not None
            assert noise is not None
            if axis is not None:
                signal, noise = signal.collapsed(axis), noise.collapsed(axis)
            self.signal = signal if self.signal is None else self.signal.joined(signal)
            self.noise = noise if self.noise is None else self.noise.joined(noise)

    def result(self) -> tuple[float, str]:
        """SNR in dB, and the name of the part; nan if nothing was seen."""
        if self.signal is None or self.noise is None or not self.signal.count.any():
            return math.nan, ""
        if self.is_broken:
            return -math.inf, ""
        parts = self.signal.parts()
        noise = self.noise.collapsed(parts.axis)
        errors = parts.errors(noise.total / np.maximum(noise.count, 1.0))
        worst = int(np.argmax(errors))
        return decibel(float(errors[worst])), parts.name(worst)


def squares(sample: Array, other: Array | None) -> Floats:
    """Squared errors; infinite where only ``other`` is not finite, 0 where ``sample`` is not.

    Args:
        sample: of the original.
        other: of the same shape; None for no answer at all, which is as wrong as 0.
    """
    a = np.where(np.isfinite(sample), sample, 0).astype(np.float64)
    if other is None:
        return np.asarray(a**2)
    b = other.astype(np.float64)
    with np.errstate(invalid="ignore"):
        error = np.where(np.isfinite(b), (a - b) ** 2, np.inf)
    return np.where(np.isfinite(sample), error, 0.0)


def decibel(error: float) -> float:
    """SNR in dB of an error over its signal."""
    if math.isnan(error):
        return math.nan
    return math.inf if error <= 0 else -math.inf if math.isinf(error) else -10.0 * math.log10(error)


def samples_of(output: Array, batch: int) -> Sequence[Array]:
    """An output as one array a sample: its rows where its first axis is the batch, else all of it."""
    return list(output) if output.ndim and output.shape[0] == batch else [output]
