"""Sounds to inputs: all channels together, at the rate of the network, in windows as long as the input.

Values lie in −1..1. Where the length of the input is fixed, windows follow one another without overlap; what
is left at the end of a file is left out, and a file shorter than a window is filled up with silence. Where it
is open, each file is a sample as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sepfactor.data.feeds import Feed, Source
from sepfactor.data.inputs import InputSpec, conform, listing
from sepfactor.data.wave_files import WaveFile, open_wave
from sepfactor.errors import DataError
from sepfactor.words import plural

_HALF = 10
"""Half the length of the filter of :func:`scipy.signal.resample_poly`, in values of the lower rate."""

_MOST_WINDOWS = 2**24
"""Of all files together: each is counted in memory."""

_MOST_NUMBERS = 2**28
"""In one window."""


@dataclass(frozen=True)
class Sound:
    """A file as it is at another rate.

    Attributes:
        file: what is read.
        rate: values a second.
    """

    file: WaveFile
    rate: int

    @property
    def _steps(self) -> tuple[int, int]:
        """So many values come out for so many that go in."""
        common = math.gcd(self.rate, self.file.rate)
        return self.rate // common, self.file.rate // common

    @property
    def length(self) -> int:
        """Values there are."""
        up, down = self._steps
        return -(-self.file.frames * up // down)

    def read_for(self, size: int) -> int:
        """About so many numbers of the file, of all its channels, are read for ``size`` values."""
        up, down = self._steps
        return min(-(-size * down // up), self.file.frames) * self.file.channels

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """``(stop - start,)``, the same as those of the whole sound resampled; only what they need is read.

        Raises:
            DataError: the file cannot be read.
        """
        up, down = self._steps
        if up == down:
            return self.file.read(start, stop)
        from scipy.signal import resample_poly  # slow to import

        reach = _HALF * max(up, down) // up + 1
        first = max(start * down // up - reach, 0) // down * down  # whose value is one of those that come out
        last = min(stop * down // up + reach + 1, self.file.frames)
        resampled: NDArray[np.float32] = resample_poly(self.file.read(first, last), up, down)
        at = start - first // down * up
        return resampled[at : at + stop - start]


@dataclass(frozen=True)
class _Windows:
    """Pieces of sounds, one after the other.

    Attributes:
        sounds: what they are of.
        size: values of each; None: each sound is one.
    """

    sounds: Sequence[Sound]
    size: int | None

    def of(self, sound: Sound) -> int:
        """How many there are of one."""
        return 1 if self.size is None else max(sound.length // self.size, 1)

    def places(self) -> Iterator[tuple[int, int]]:
        """Of each window the number of its sound, and where it begins."""
        for number, sound in enumerate(self.sounds):
            yield from ((number, k * (self.size or 0)) for k in range(self.of(sound)))

    def read(self, number: int, start: int) -> NDArray[np.float32]:
        """``(size,)`` of a sound, from a place on."""
        sound = self.sounds[number]
        if self.size is None:
            return sound.read(0, sound.length)
        values = sound.read(start, min(start + self.size, sound.length))
        return np.pad(values, (0, self.size - len(values)))

    def notes(self, rate: int) -> Iterator[str]:
        """What a user should know of how they were made, in sentences."""
        others = sorted({sound.file.rate for sound in self.sounds} - {rate})
        if others:
            yield f"Sounds of {', '.join(f'{other:,}' for other in others)} Hz are resampled to {rate:,} Hz."
        else:
            yield f"Sounds are fed at the {rate:,} Hz of their files; --sample-rate asks for another rate."
        if self.size is None:
            return
        count, short = sum(map(self.of, self.sounds)), sum(one.length < self.size for one in self.sounds)
        rest = f"; {short} of the sounds are shorter, and filled up with silence" if short else ""
        yield (
            f"Cut {plural(len(self.sounds), 'sound')} into {plural(count, 'window')} of {self.size:,} values "
            f"({self.size / rate:.3g} s){rest}."
        )


@dataclass(frozen=True)
class _Hearing:
    """The input that sounds are fed to.

    Attributes:
        spec: the input.
        axis: along which it has its values; the others are 1, but for the batch.
    """

    spec: InputSpec
    axis: int

    @property
    def size(self) -> int | None:
        """Values it takes; None where the model leaves it open."""
        size = None if self.spec.shape is None else self.spec.shape[self.axis]
        return size if isinstance(size, int) else None

    @property
    def batch(self) -> int:
        """Windows a run takes."""
        return self.spec.batch if self.axis else 1

    def feed(self, values: Sequence[NDArray[np.float32]], where: str) -> Feed:
        """Windows of a run, as the input takes them."""
        if len({len(one) for one in values}) > 1:
            raise DataError(
                f"{where}: the sounds of one run differ in length: fix it with --input-shape, so that they "
                "are cut into windows."
            )
        shape = [1] * (2 if self.spec.shape is None else len(self.spec.shape))
        shape[0], shape[self.axis] = len(values), len(values[0])
        return {self.spec.name: conform(np.stack(values).reshape(shape), self.spec, where)}


def open_sounds(
    paths: Sequence[Path], names: Sequence[str], inputs: Sequence[InputSpec], rate: int | None, origin: str
) -> Source:
    """One sample per window, as many to a run as the model's fixed batch.

    Args:
        paths: of the files.
        names: of them, relative to their folder.
        inputs: what the model declares.
        rate: that it hears, values a second; None: that of the files.
        origin: what the user would call them.

    Raises:
        DataError: the model does not take sounds, a file cannot be read, or they are of several rates.
    """
    hearing = _hearing(inputs, origin)
    files = [open_wave(path) for path in paths]
    rate = rate or _only_rate(files)
    windows = _Windows([Sound(file, rate) for file in files], hearing.size)
    _check_amounts(windows)
    places = [*windows.places()]
    runs = len(places) // hearing.batch
    if not runs:
        raise DataError(
            f"{origin}: there are {len(places)} windows of sound, fewer than the batch of {hearing.batch} "
            f"that the input {hearing.spec.name!r} needs: add sounds."
        )
    rows = np.arange(runs * hearing.batch).reshape(runs, hearing.batch)

    def make(run: int) -> Feed:
        chosen = [places[row] for row in rows[run]]
        return hearing.feed([windows.read(*place) for place in chosen], str(paths[chosen[0][0]]))

    return Source(
        make,
        rows,
        len(places),
        origin,
        names=tuple(names[number] for number, _ in places),
        notes=tuple(windows.notes(rate)),
    )


def _hearing(inputs: Sequence[InputSpec], origin: str) -> _Hearing:
    otherwise = "give a .npz file, or file.py:function that makes of sounds what it takes"
    if len(inputs) != 1:
        raise DataError(
            f"{origin}: sounds can feed a model with one input, but this one has "
            f"{listing(spec.name for spec in inputs)}: {otherwise}."
        )
    spec = inputs[0]
    shape = (None, None) if spec.shape is None else spec.shape
    first = 1 if len(shape) > 1 else 0  # behind the batch, if there is one
    axes = [axis for axis in range(first, len(shape)) if shape[axis] != 1]
    if len(axes) != 1 or spec.dtype.kind != "f":
        raise DataError(
            f"{origin}: sounds are fed as floats along one axis, and the input {spec} is not of that form: "
            f"fix open axes of length 1 with --input-shape, or {otherwise}."
        )
    return _Hearing(spec, axes[0])


def _only_rate(files: Sequence[WaveFile]) -> int:
    rates = {file.rate: file for file in files}
    if len(rates) > 1:
        (rate, one), (other_rate, other), *_ = rates.items()
        raise DataError(
            f"{one.path} is at {rate:,} Hz, and {other.path} at {other_rate:,} Hz: say with --sample-rate "
            "what the network hears; sounds of other rates are resampled to it."
        )
    return files[0].rate


def _check_amounts(windows: _Windows) -> None:
    """Raise DataError before more is counted or read than memory may hold."""
    for sound in windows.sounds:
        size = windows.size or sound.length
        needed = sound.read_for(size)
        if max(size, needed) > _MOST_NUMBERS:
            raise DataError(
                f"{sound.file.path}: a window of the sound is {size:,} values, of {needed:,} in the file, "
                "which is too much: give shorter sounds, or another length with --input-shape."
            )
    count = sum(map(windows.of, windows.sounds))
    if count > _MOST_WINDOWS:
        longest = max(windows.sounds, key=windows.of)
        raise DataError(
            f"{longest.file.path}: all sounds together make {plural(count, 'window')}, this one the most of "
            f"them ({windows.of(longest):,}), which is too much: give fewer or shorter sounds, or another "
            "length with --input-shape."
        )
