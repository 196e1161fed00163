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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.spread import (
    DEAD,
    LARGE,
    PIECE,
    Array,
    Floats,
    Spread,
    channel_axis,
    mean_along,
    pieces_of,
    slabbed,
    slabs,
)

Indices = NDArray[np.int64]

_OFFSET = 10.0
"""A constant offset adds at most so much to the variation: 10 dB."""

_FAR_APART = 10.0
"""Channels are in units of their own where no others come closer in size than this factor."""

_LEAST_SIGNAL = 0.01
"""Of a channel, beside the mean of its part: one that never says anything is not measured by itself."""


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
        if sample.size <= PIECE or sample.ndim < 2:
            return self.by_channel(squares(sample, other))
        axis = self.axis or 0
        ours = [*slabs(sample, axis)]
        theirs = [None] * len(ours) if other is None else slabs(other, axis)
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


def parts_of(spread: Spread) -> Parts:
    """The channels, by the unit that they are in."""
    axis = spread.axis if spread.is_ragged else channel_axis(spread)
    ours = spread.collapsed(axis)
    seen = np.maximum(ours.count, 1.0)
    power = ours.square / seen
    if spread.is_ragged or not (spread.count > 1).any():
        variation = ours.variation
    else:  # over samples, of each element by itself
        variation = mean_along(axis, spread.variation)
    signal = np.where(variation > 0, np.minimum(power, _OFFSET * variation), power)
    size = np.where(ours.count > 0, np.maximum(np.abs(ours.low), np.abs(ours.high)), 0.0)
    groups = _groups(size, (ours.low >= 0) & (ours.high <= 1))
    for group in groups:
        signal[group] = np.maximum(signal[group], _LEAST_SIGNAL * signal[group].mean())
    return Parts(axis, signal, groups)


def _groups(size: Floats, is_share: NDArray[np.bool_]) -> tuple[Indices, ...]:
    """Channels by size, cut where the next is far smaller; what lies from 0 to 1 is of one unit.

    Args:
        size: ``(channels,)`` largest magnitudes.
        is_share: ``(channels,)`` which hold values from 0 to 1 alone.
    """
    if not len(size):
        return (np.zeros(0, np.int64),)
    living = size > DEAD * size.max()
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
        axis = slabbed(sample)
        for ours, theirs in zip(slabs(sample, axis), slabs(other, axis), strict=True):
            self.signal = Spread.grown(self.signal, ours, axis, pieces_of(ours))
            along = self.signal.axis if sample.size > LARGE else None
            errors = self._errors(ours, theirs)
            self.noise = Spread.grown(self.noise, ours, along, errors, has_range=False)

    def _errors(self, ours: Array, theirs: Array) -> Iterator[tuple[int, Floats]]:
        for (begin, piece), (_, other) in zip(pieces_of(ours), pieces_of(theirs), strict=True):
            error = squares(piece, other)
            self.is_broken = self.is_broken or not np.isfinite(error).all()
            yield begin, error

    def result(self) -> tuple[float, str]:
        """SNR in dB, and the name of the part; nan if nothing was seen."""
        if self.signal is None or self.noise is None or not self.signal.count.any():
            return math.nan, ""
        if self.is_broken:
            return -math.inf, ""
        parts = parts_of(self.signal)
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
