"""Several things at once: everything is done once, and the first trouble ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy  # noqa: F401 — so that there is a BLAS
import pytest
import scipy.linalg  # noqa: F401

from sepfactor.threads import (
    Threads,
    _pools,
    _take_over,
    cores,
    map_in_order,
    one_blas_thread,
    side_by_side,
)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_each_item_comes_back_once_with_its_result(workers: int, count: int) -> None:
    assert sorted(side_by_side(lambda x: x * x, range(count), workers)) == [(x, x * x) for x in range(count)]


def test_they_run_at_once() -> None:
    meet = threading.Barrier(2, timeout=10)
    assert len([*side_by_side(lambda _: meet.wait(), range(2), 2)]) == 2


@pytest.mark.parametrize("workers", [1, 3])
def test_the_first_error_ends_it(workers: int) -> None:
    begun = []

    def call(item: int) -> int:
        begun.append(item)
        time.sleep(0.001 * (item > 0))
        return 1 // item

    with pytest.raises(ZeroDivisionError):
        [*side_by_side(call, [0, *range(1, 1000)], workers)]
    count = len(begun)
    time.sleep(0.05)
    assert len(begun) <= count + workers  # those at work get done


def test_nothing_more_is_begun_where_nobody_listens_any_more() -> None:
    begun, go_on = [], threading.Event()

    def call(item: int) -> None:
        begun.append(item)
        if item:
            go_on.wait(10)

    results = side_by_side(call, range(100), 2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    go_on.set()
    time.sleep(0.05)
    assert len(begun) <= 4


@pytest.fixture
def three_blas_threads() -> Iterator[None]:
    """As on three cores."""
    before = {library.filepath: library.num_threads for library in _pools().lib_controllers}
    for wanted in (dict.fromkeys(before, 3), before):
        _take_over()
        for library in _pools().lib_controllers:
            library.set_num_threads(wanted[library.filepath])
        _take_over()
        if wanted is not before:
            yield


def blas_threads() -> set[int]:
    return {one["num_threads"] for one in _pools().info() if one["user_api"] == "blas"}


@pytest.mark.usefixtures("three_blas_threads")
@pytest.mark.parametrize("is_first", [True, False])
def test_who_ends_first_leaves_the_others_their_one_blas_thread(is_first: bool) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def other() -> None:
        with one_blas_thread():
            inside.set()
            go_on.wait(10)
            assert blas_threads() == {1}

    assert blas_threads() == {3}
    thread = threading.Thread(target=other)
    if is_first:
        thread.start()
        inside.wait(10)
    with one_blas_thread():
        if not is_first:
            thread.start()
            inside.wait(10)
        else:
            go_on.set()
            thread.join()
        assert blas_threads() == {1}
    if not is_first:
        assert blas_threads() == {1}
        go_on.set()
        thread.join()
    assert blas_threads() == {3}


def test_in_their_order() -> None:
    def late(item: int) -> int:
        time.sleep(0.002 * (5 - item))
        return item * item

    assert map_in_order(Threads(3), late, range(5)) == [0, 1, 4, 9, 16]


def test_there_is_a_core() -> None:
    assert cores() >= 1
