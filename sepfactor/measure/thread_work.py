"""How much a thread worked between two moments, though nothing in it can say: its clock is read from outside.

What runs a network tells when each node began and ended, by the clock on the wall. Beside other programs a
node that computes for 5 ms may take 18, and each one by another factor. The system counts what a thread
worked, and any thread may read that; so one beside it does so a few thousand times a second.
"""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable
from types import TracebackType

Reader = Callable[[], int]
"""Nanoseconds."""

_EVERY_S = 3e-4
_AT_ONCE_NS = 30_000
"""The two clocks are read within so long of each other, or the reading says nothing."""

_TRIES = 9


def can_be_read() -> bool:
    """Whether this system shows the clock of one thread to another."""
    return hasattr(time, "pthread_getcpuclockid")


class ThreadWork:
    """Readings of the processor time of the thread that enters it, until it leaves.

    Args:
        now: nanoseconds on the wall, rising.
    """

    def __init__(self, now: Reader = time.monotonic_ns) -> None:
        self._now = now
        self._passed, self._worked = array("q"), array("q")
        self._over = threading.Event()
        self._reader: threading.Thread | None = None

    def __enter__(self) -> ThreadWork:
        clock = time.pthread_getcpuclockid(threading.get_ident())

        def worked() -> int:
            return time.clock_gettime_ns(clock)

        def read_on() -> None:
            while not self._over.wait(_EVERY_S):
                self.read(worked)

        self._over.clear()
        self._read_surely()
        self._reader = threading.Thread(target=read_on, name="sepfactor-clock", daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._reader is not None:
            self._reader.join()
        self._read_surely()

    def read(self, worked: Reader) -> bool:
        """Take down both clocks, if they can be read at once."""
        before = self._now()
        work = worked()
        behind = self._now()
        if behind - before > _AT_ONCE_NS:
            return False
        self._passed.append((before + behind) // 2)
        self._worked.append(work)
        return True

    def _read_surely(self) -> None:
        """What is at the ends of a run must lie between two readings."""
        for _ in range(_TRIES):
            if self.read(time.thread_time_ns):
                return

    def between(self, begin: int, end: int) -> tuple[float, float]:
        """The least and the most that the thread can have worked meanwhile, nanoseconds.

        Between two readings it may have worked at any time, but never more than passed.

        Args:
            begin: by the clock on the wall.
            end: not before.
        """
        long = float(end - begin)
        first, last = bisect_right(self._passed, begin) - 1, bisect_right(self._passed, end) - 1
        if first < 0 or last + 1 >= len(self._passed):
            return 0.0, long
        if first == last:
            passed, worked = self._gap(first)
            return max(worked - (passed - long), 0.0), min(long, worked)
        (least, most), (least_then, most_then) = self._until(begin, first), self._until(end, last)
        return min(max(least_then - most, 0.0), long), min(most_then - least, long)

    def _gap(self, number: int) -> tuple[int, int]:
        """What passed from one reading to the next, and what of it was worked."""
        passed = self._passed[number + 1] - self._passed[number]
        return passed, min(self._worked[number + 1] - self._worked[number], passed)

    def _until(self, moment: int, number: int) -> tuple[int, int]:
        """The least and the most that had been worked by then, in the gap of this number."""
        passed, worked = self._gap(number)
        begun = self._worked[number]
        since = moment - self._passed[number]
        return begun + max(worked - (passed - since), 0), begun + min(worked, since)
