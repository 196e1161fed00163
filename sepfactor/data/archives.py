"""Arrays of a ``.npz`` that are too large to unpack whole: a few kilobytes may hold gigabytes of zeros."""

from __future__ import annotations

import tempfile
import threading
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

_CHUNK = 2**20
"""Bytes unpacked at a time."""

_KEPT = 2**26
"""Bytes of rows kept in memory."""


class PackedRows:
    """An array in a ``.npz``, of which only the rows that are asked for come into memory.

    Rows are unpacked in their order, and the last ones kept. What is asked for behind that makes a copy of
    the whole in a temporary file, which goes with this object.

    Args:
        path: the file. member: name in it.
        shape: of the array, in C order. dtype: of its numbers.
        skip_header: reads the header off a stream of the member.
    """

    def __init__(
        self,
        path: Path,
        member: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        skip_header: Callable[[IO[bytes]], object],
    ) -> None:
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)
        self._row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        self._archive = zipfile.ZipFile(path)
        self._member, self._skip_header = member, skip_header
        self._closed_with_this(self._archive)
        self._stream = self._opened()
        self._closed_with_this(self._stream)
        self._at = 0
        self._kept: dict[tuple[int, int], np.ndarray] = {}
        self._whole: IO[bytes] | None = None
        self._lock = threading.Lock()

    def __getitem__(self, key: int | slice) -> np.ndarray:
        """A row, or rows one after the other."""
        if isinstance(key, slice):
            begin, end, _ = key.indices(self.shape[0])
            return self._rows(begin, max(begin, end))
        begin = range(self.shape[0])[key]
        row: np.ndarray = self._rows(begin, begin + 1)[0]
        return row

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it."""
        return np.asarray(self[:], dtype)

    def _rows(self, begin: int, end: int) -> np.ndarray:
        with self._lock:
            if (begin, end) not in self._kept:
                data = self._read(begin * self._row, (end - begin) * self._row)
                rows = np.frombuffer(data, self.dtype).reshape(end - begin, *self.shape[1:])
                self._kept[begin, end] = rows
                while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > _KEPT:
                    del self._kept[next(iter(self._kept))]
            return self._kept[begin, end]

    def _read(self, begin: int, count: int) -> bytes:
        if self._whole is None and begin < self._at:
            self._whole = self._unpacked()
        if self._whole is not None:
            self._whole.seek(begin)
            return _exactly(self._whole, count)
        while self._at < begin:
            self._at += len(_exactly(self._stream, min(_CHUNK, begin - self._at)))
        self._at += count
        return _exactly(self._stream, count)

    def _unpacked(self) -> IO[bytes]:
        """A temporary file with all numbers."""
        whole: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 — closed with this object
        self._closed_with_this(whole)
        left = self._row * self.shape[0]
        with self._opened() as stream:
            while left:
                part = _exactly(stream, min(_CHUNK, left))
                whole.write(part)
                left -= len(part)
        return whole

    def _closed_with_this(self, file: IO[bytes] | zipfile.ZipFile) -> None:
        weakref.finalize(self, file.close)

    def _opened(self) -> IO[bytes]:
        stream = self._archive.open(self._member)
        self._skip_header(stream)
        return stream


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError("the array is cut off")
    return data
