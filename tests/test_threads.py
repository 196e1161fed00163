"""Several things at once: everything is done once, and the first trouble ends it."""

from __future__ import annotations

import threading
import time

import pytest

from sepfactor.threads import cores, side_by_side


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


def test_there_is_a_core() -> None:
    assert cores() >= 1
