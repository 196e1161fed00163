"""Sounds in files of the form WAVE: whole numbers of 8, 16, 24 or 32 bits a value, or floats of 32 or 64.

Python's module ``wave`` reads no floats, and before 3.12 not what most programs write for 24 bits
(``WAVE_FORMAT_EXTENSIBLE``); so all of them are read here. Source: Microsoft, *Multiple Channel Audio Data
and WAVE Files*, 2007.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from sepfactor.data.inputs import brief
from sepfactor.errors import DataError

SUFFIX = ".wav"

_WHOLE, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_TYPES = {
    (_WHOLE, 8): "u1",
    (_WHOLE, 16): "<i2",
    (_WHOLE, 32): "<i4",
    (_FLOAT, 32): "<f4",
    (_FLOAT, 64): "<f8",
}
_PACKED = (_WHOLE, 24)
"""Form that numpy has no type for."""

_NAMES = {2: "ADPCM", 6: "A-law", 7: "µ-law", 0x11: "ADPCM", 0x50: "MPEG", 0x55: "MP3"}
_MOST_CHANNELS, _MOST_RATE = 256, 768_000
_ENDLESS = 0x7FFF0000
"""From here on a size is what programs write that do not know it yet."""


@dataclass(frozen=True)
class WaveFile:
    """A file of sound, whose values are read when they are wanted.

    Attributes:
        path: of the file.
        rate: frames a second.
        channels: values a frame.
        frames: in the file.
        form: what a value is: the code of WAVE and its bits.
        offset: of the first frame in the file, bytes.
    """

    path: Path
    rate: int
    channels: int
    frames: int
    form: tuple[int, int]
    offset: int

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Frames from ``start`` until before ``stop``: ``(stop - start,)`` in −1..1, the mean of channels.

        Raises:
            DataError: the file cannot be read any more.
        """
        size = self.channels * self.form[1] // 8
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset + start * size)
                data = file.read((stop - start) * size)
        except OSError as error:
            raise _unreadable(self.path, brief(error)) from None
        if len(data) != (stop - start) * size:
            raise _unreadable(self.path, "it ends early")
        mono: NDArray[np.float64] = self._values(data).reshape(-1, self.channels).mean(axis=1)
        return mono.astype(np.float32)

    def _values(self, data: bytes) -> NDArray[np.float64]:
        if self.form == _PACKED:
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            return wide.reshape(-1).view("<i4") / 2.0**31
        values = np.frombuffer(data, _TYPES[self.form])
        if values.dtype.kind == "f":
            return values.astype(np.float64)
        if values.dtype.kind == "u":
            return (values - 128.0) / 128
        return values / 2.0 ** (self.form[1] - 1)


def open_wave(path: Path) -> WaveFile:
    """The sound in a file, of which only the head is read.

    Raises:
        DataError: it cannot be read, is no such file, or holds nothing.
    """
    try:
        with path.open("rb") as file:
            return _opened(path, file, path.stat().st_size)
    except OSError as error:
        raise _unreadable(path, brief(error)) from None
    except struct.error:
        raise _unreadable(path, "it ends early") from None


def _opened(path: Path, file: IO[bytes], length: int) -> WaveFile:
    kind, _, form = struct.unpack("<4sI4s", file.read(12))
    if (kind, form) != (b"RIFF", b"WAVE"):
        raise _unreadable(path, "it is no WAVE file")
    head = b""
    while True:
        name, size = struct.unpack("<4sI", file.read(8))
        at = file.tell()
        if name == b"data" and head:
            break
        if name == b"fmt ":
            head = file.read(min(size, 40))
        file.seek(at + size + size % 2)
    left = length - at
    if left < size < _ENDLESS:
        raise _unreadable(path, "it ends early")
    channels, rate, form = _format(path, head)
    frames = min(size, left) // (channels * form[1] // 8)
    if not frames:
        raise _unreadable(path, "it is empty")
    return WaveFile(path, rate, channels, frames, form, at)


def _format(path: Path, head: bytes) -> tuple[int, int, tuple[int, int]]:
    """Channels, frames a second, and what a value is."""
    code, channels, rate, _, size, bits = struct.unpack("<HHIIHH", head[:16])
    if code == _EXTENSIBLE:
        (code,) = struct.unpack("<H", head[24:26])
    form = code, bits
    if form != _PACKED and form not in _TYPES:
        name = {_WHOLE: "whole numbers", _FLOAT: "floats"}.get(code, _NAMES.get(code, f"of the code {code}"))
        mend = "save it as whole numbers of 8, 16, 24 or 32 bits, or as floats"
        raise _unreadable(path, f"its values are {name}, {bits} bits each", mend)
    is_sound = 0 < channels <= _MOST_CHANNELS and 0 < rate <= _MOST_RATE
    if not is_sound or size != channels * bits // 8:
        raise _unreadable(path, f"it says {channels} channels at {rate} Hz, {size} bytes together")
    return channels, rate, form


def _unreadable(path: Path, why: str, mend: str = "replace the file or take it away") -> DataError:
    return DataError(f"{path}: the sound cannot be read ({why}): {mend}.")
