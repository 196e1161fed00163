"""How many threads numpy's matrix products may take, and work on several things at once."""

from __future__ import annotations

import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from threadpoolctl import threadpool_limits

_WORTH_IT = 1500
"""Rows of a square matrix from which a second thread gains more than it costs."""

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_worth_threads(size: int) -> bool:
    """Whether matrices of ``size × size`` are multiplied faster on several threads."""
    return size >= _WORTH_IT


def blas_threads(size: int) -> AbstractContextManager[object]:
    """One thread while matrices are smaller than ``size × size`` suggests, all of them beyond.

    Small products on many threads are slower even on an idle machine, and ten times slower on a busy
    one, where the threads spin waiting for each other.
    """
    limits: AbstractContextManager[object] = threadpool_limits(  # type: ignore[no-untyped-call]
        None if is_worth_threads(size) else 1, user_api="blas"
    )
    return limits


def side_by_side(call: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[tuple[T, R]]:
    """Items and what ``call`` made of them, as they are done, on so many threads; one is this one.

    Nobody waits for those threads once the first error, or Ctrl-C, got through.
    """
    if min(workers, len(items)) < 2:
        yield from ((item, call(item)) for item in items)
        return
    left, lock = iter(items), threading.Lock()
    done: queue.SimpleQueue[tuple[T, R] | BaseException] = queue.SimpleQueue()
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            with lock:
                some = [*itertools.islice(left, 1)]
            if not some:
                return
            try:
                done.put((some[0], call(some[0])))
            except BaseException as error:  # noqa: BLE001 — it is raised where the result is waited for
                done.put(error)

    for _ in range(min(workers, len(items))):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in items:
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stopped.set()  # nothing more is begun
