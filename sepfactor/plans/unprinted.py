"""Keep lines off stdout that HiGHS prints there whatever it is asked.

Where a solution it found breaks a bound by rounding, also within a heuristic, HiGHS solves once more and says
so with ``printf``: before a table, or in the middle of ``--json -``. All else that is printed meanwhile goes
where it was to go, a little later.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import tempfile
import threading
from collections.abc import Iterator

_STDOUT = 1
_OF_HIGHS = b"HighsMipSolverData::"

_one_at_a_time = threading.Lock()


@contextlib.contextmanager
def without_lines_of_highs() -> Iterator[None]:
    """Around a call of HiGHS."""
    with _one_at_a_time, contextlib.ExitStack() as left:
        _flush()
        try:
            before = os.dup(_STDOUT)
            left.callback(os.close, before)
            printed = left.enter_context(tempfile.TemporaryFile())
        except OSError:  # nobody listens, or there is no room
            yield
            return
        try:
            os.dup2(printed.fileno(), _STDOUT)
            yield
        finally:
            _flush()
            os.dup2(before, _STDOUT)
            printed.seek(0)
            for line in printed:
                if not line.startswith(_OF_HIGHS):
                    _write(before, line)


def _flush() -> None:
    """What C has in store is printed; what Python has is its own."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).fflush(None)


def _write(file: int, data: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody reads
        while data:
            try:
                data = data[os.write(file, data) :]
            except BlockingIOError:
                select.select([], [file], [])
