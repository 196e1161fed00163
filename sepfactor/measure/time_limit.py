"""Runs that can be broken off: by Ctrl-C at once, and when they take longer than any honest network does.

A Loop may run 2⁴⁰ times, and Python hears of Ctrl-C only when onnxruntime returns. So a run is watched from
outside, and told to stop between two operators.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

LIMIT_S = 600.0
"""Seconds one run may take, unless ``SEPFACTOR_RUN_SECONDS`` says otherwise."""


class TooLong(Exception):
    """A run took longer than it may; says how many seconds that is."""


def run_seconds() -> float:
    """Seconds one run may take."""
    try:
        seconds = float(os.environ.get("SEPFACTOR_RUN_SECONDS", ""))
    except ValueError:
        return LIMIT_S
    return min(seconds, threading.TIMEOUT_MAX) if seconds > 0 else LIMIT_S


def watched(call: Callable[[], T], options: Any) -> T:
    """The answer of ``call``, a run with onnxruntime's ``RunOptions``.

    Raises:
        TooLong: it was broken off.
    """
    if threading.current_thread() is threading.main_thread():
        return _interruptible(call, options)
    seconds = run_seconds()
    over = threading.Event()

    def stop() -> None:
        over.set()
        options.terminate = True

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        return call()
    except Exception:
        if over.is_set():
            raise TooLong(f"{seconds:g}") from None
        raise
    finally:
        timer.cancel()


def _interruptible(call: Callable[[], T], options: Any) -> T:
    """Signals reach the main thread alone, and only while it waits in Python: so it waits here."""
    seconds = run_seconds()
    future: Future[T] = _worker(os.getpid()).submit(call)
    try:
        in_time = bool(wait([future], timeout=seconds).done)
    finally:
        options.terminate = True
        wait([future])
    if not in_time and future.exception() is not None:
        raise TooLong(f"{seconds:g}")
    return future.result()


@cache
def _worker(_process: int) -> ThreadPoolExecutor:
    """One thread that is always the same, for onnxruntime keeps buffers by thread; a fork has none of it."""
    return ThreadPoolExecutor(1, thread_name_prefix="sepfactor-run")
