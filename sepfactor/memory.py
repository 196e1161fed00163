"""One budget for all that grows with data, layers or the size of images.

Arrays that are wanted again later go into a :class:`Pool`, whatever they are: patches that layers see, values
on their way through a network, answers of the original, feeds that can be read once only. It keeps them in
memory while there is room, and the others in a temporary file, which has no name, so that nothing is left of
a run that is killed. Which of the two an array is in changes none of its bits, and so nothing of a result.

What cannot be put away, since it is worked on, is to stay within :attr:`Pool.working`: work that could take
more is done in parts. Not counted, for nobody can bound them: the weights, and what the engine itself takes
to run a network.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

UNBOUNDED = 2**62
"""Bytes of a pool that puts nothing away."""

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of malloc.h
_LARGE = 2**22  # bytes

_SMALL = 4096
"""Bytes up to which an array stays in memory: putting it away saves nothing."""


class Stored:
    """An array in a pool; its room is free again when this object goes.

    Attributes:
        shape: of the array. dtype: of its numbers. nbytes: bytes of them.
    """

    __slots__ = ("__weakref__", "_array", "_at", "_pool", "dtype", "nbytes", "shape")

    def __init__(self, pool: Pool, array: Array | None, at: int, like: Array) -> None:
        self._pool, self._array, self._at = pool, array, at
        self.shape, self.dtype, self.nbytes = like.shape, like.dtype, like.nbytes

    def load(self) -> Array:
        """The array: itself where it is in memory, so not to be written to; else read from the file."""
        if self._array is not None:
            return self._array
        return self._pool._read(self._at, self.shape, self.dtype)


class Pool:
    """Keeps arrays for later, in memory as far as there is room; from any thread.

    Attributes:
        total: bytes that may be used.
        held: bytes kept in memory now.
        put_away: bytes that the temporary file has come to.
    """

    def __init__(self, total: int = UNBOUNDED) -> None:
        self.total, self.held, self.put_away = total, 0, 0
        self._reserved = self._at_work = 0
        self._lock = threading.RLock()
        self._done = threading.Condition(self._lock)
        self._file: IO[bytes] | None = None
        self._free: dict[int, list[int]] = {}

    @property
    def working(self) -> int:
        """Bytes that the work of one moment may take: half of what is left; as much is kept at most."""
        return (self.total - self._reserved) // 2

    def reserve(self, size: int) -> None:
        """Leave room for what is held elsewhere for as long as this pool is used; at most half of all."""
        self._reserved = min(size, self.total // 2)

    @contextmanager
    def at_work(self, size: int) -> Iterator[None]:
        """Around work that takes so many bytes; it waits while others are at work and there is no room."""
        with self._done:
            self._done.wait_for(lambda: not self._at_work or self._at_work + size <= self.working)
            self._at_work += size
        try:
            yield
        finally:
            with self._done:
                self._at_work -= size
                self._done.notify_all()

    def put(self, array: Array) -> Stored:
        """Keep an array, which nobody changes from here on.

        Raises:
            OSError: there is no room for temporary files.
        """
        size = array.nbytes
        with self._lock:
            if size <= _SMALL or self.held + size <= self.working or array.dtype.hasobject:
                stored = Stored(self, array, -1, array)
                self.held += size
                weakref.finalize(stored, self._release_held, size).atexit = False
                return stored
            at = self._write(np.ascontiguousarray(array))
            stored = Stored(self, None, at, array)
            weakref.finalize(stored, self._release_written, at, size).atexit = False
            return stored

    def _release_held(self, size: int) -> None:
        with self._lock:
            self.held -= size

    def _release_written(self, at: int, size: int) -> None:
        with self._lock:
            self._free.setdefault(size, []).append(at)

    def _write(self, array: Array) -> int:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="sepfactor-", buffering=0)  # noqa: SIM115 — lives on
            weakref.finalize(self, self._file.close).atexit = False
        free = self._free.get(array.nbytes)
        at = free.pop() if free else self.put_away
        self._file.seek(at)
        left = _bytes_of(array)
        while left:
            left = left[self._file.write(left) :]
        self.put_away = max(self.put_away, at + array.nbytes)
        return at

    def _read(self, at: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        array = np.empty(shape, dtype)
        left = _bytes_of(array)
        with self._lock:
            assert self._file is not None
            self._file.seek(at)
            while left:
                count = self._file.readinto(left)  # type: ignore[attr-defined]  # of a file without buffer
                if not count:
                    raise OSError(None, "a temporary file was cut off")
                left = left[count:]
        return array


def _bytes_of(array: Array) -> memoryview:
    """The bytes of a contiguous array, without a copy."""
    flat: Any = array.reshape(-1).view(np.uint8)
    return memoryview(flat)


class StoredArrays(Sequence[Array]):
    """Arrays in a pool, each in memory only while it is looked at.

    Args:
        stored: where they are.
    """

    def __init__(self, stored: Iterable[Stored] = ()) -> None:
        self._stored = [*stored]

    @classmethod
    def of(cls, arrays: Iterable[Array], pool: Pool) -> StoredArrays:
        """Put arrays away, one after the other."""
        return cls(pool.put(array) for array in arrays)

    def __len__(self) -> int:
        return len(self._stored)

    @overload
    def __getitem__(self, index: int) -> Array: ...
    @overload
    def __getitem__(self, index: slice) -> StoredArrays: ...
    def __getitem__(self, index: int | slice) -> Array | StoredArrays:
        if isinstance(index, slice):
            return StoredArrays(self._stored[index])
        return self._stored[index].load()

    def __iter__(self) -> Iterator[Array]:
        return (one.load() for one in self._stored)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of each, without looking at it."""
        return [one.shape for one in self._stored]


def give_back_what_is_freed() -> None:
    """Have this process hand large blocks back to the system as soon as they are free.

    glibc keeps blocks of up to 32 MB for itself once one of that size was freed, and in pieces: of what was
    worked on in turns, more than was ever in use at once stays. And each thread may have an arena of its own,
    in which it stays as well: two are enough. Elsewhere nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def peak_bytes() -> int | None:
    """The most memory this process has taken so far; None where the system does not say.

    Linux hands the height of a parent on to a child in what getrusage says, so there the kernel is asked for
    that of the program itself.
    """
    with suppress(OSError, ValueError, IndexError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
