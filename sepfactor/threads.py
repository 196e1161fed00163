"""How many threads numpy's matrix products may take, and work on several things side by side."""

from __future__ import annotations

import functools
import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from threadpoolctl import ThreadpoolController

_AT_ONCE = 4
"""Items worked on side by side, at most."""

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Executor(Protocol):
    """Runs work that can be done side by side: candidates of layers, trials of single layers."""

    @property
    def workers(self) -> int:
        """How many items are worked on at once."""

    def map_unordered(self, call: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[T, R]]:
        """Items and what ``call`` made of them, as they are done; raises what a call raised."""


def map_in_order(executor: Executor, call: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """What ``call`` made of each item, in their order; raises what a call raised."""
    found = dict(executor.map_unordered(lambda number: call(items[number]), range(len(items))))
    return [found[number] for number in range(len(items))]


@dataclass(frozen=True)
class Threads:
    """Runs work on threads of this process.

    Attributes:
        workers: how many at once.
    """

    workers: int = 1

    @classmethod
    def of_this_machine(cls) -> Threads:
        """As many as there are cores, but for very many: each holds what it works on in memory."""
        return cls(min(cores(), _AT_ONCE))

    def map_unordered(self, call: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[T, R]]:
        """Items and what ``call`` made of them, as they are done; raises what a call raised."""
        return side_by_side(call, items, self.workers)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Around matrix products, or as a decorator: they then have the same bits on any number of cores.

    A BLAS shares a product out by its number of threads, and so rounds otherwise on each. That number is one
    of the whole process: it is put back when the last that asked for one is done.
    """
    _alone.enter()
    try:
        yield
    finally:
        _alone.leave()


class _Alone:
    """Counts who asks for one thread."""

    def __init__(self) -> None:
        self._lock, self._count = threading.Lock(), 0
        self._limit: Any = None

    def enter(self) -> None:
        """One more."""
        with self._lock:
            if not self._count:
                self._limit = _pools().limit(limits=1, user_api="blas")
            self._count += 1

    def leave(self) -> None:
        """One less."""
        with self._lock:
            if self._count == 1:
                _take_over()
                self._limit.restore_original_limits()
                _take_over()
            self._count -= 1


_alone = _Alone()


def _take_over() -> None:
    """Let any thread set the number: threadpoolctl from 3.7 on may leave that to the first that did."""
    for library in _pools().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


@functools.cache
def _pools() -> ThreadpoolController:
    """Found once: looking for them takes as long as a small product. By then numpy and scipy are loaded."""
    return ThreadpoolController()  # type: ignore[no-untyped-call]


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
