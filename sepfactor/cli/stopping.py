"""Ctrl-C in a search: once takes the best plan found so far, twice leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sepfactor.progress import TakeBest


@contextmanager
def best_on_interrupt() -> Iterator[None]:
    """Within this, the first Ctrl-C raises :class:`TakeBest`, and the next is as usual.

    Where somebody else handles or ignores the signal, as ``nohup`` does, that is left so.
    """
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or usual is not signal.default_int_handler:
        yield
        return

    def once(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, usual)
        raise TakeBest

    signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
