"""What a thread worked between two moments, as another thread reads it."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.measure.thread_work import ThreadWork, can_be_read

TURNS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=8)
"""Nanoseconds on a core and off it, in turns."""


def schedule(turns: list[tuple[int, int]]) -> list[int]:
    """What has been worked by each nanosecond."""
    on = [bit for worked, waited in turns for bit in [1] * worked + [0] * waited]
    return [sum(on[:moment]) for moment in range(len(on) + 1)]


def readings(worked: list[int], moments: list[int]) -> ThreadWork:
    passed = iter(sorted([*moments, *moments]))
    work = ThreadWork(lambda: next(passed))
    for moment in sorted(moments):
        assert work.read(lambda moment=moment: worked[moment])  # type: ignore[misc]
    return work


@given(TURNS, st.data())
def test_the_truth_lies_between_least_and_most(turns: list[tuple[int, int]], data: st.DataObject) -> None:
    worked = schedule(turns)
    moment = st.integers(0, len(worked) - 1)
    work = readings(worked, data.draw(st.lists(moment, max_size=6)))
    begin, end = sorted([data.draw(moment), data.draw(moment)])
    least, most = work.between(begin, end)
    assert 0 <= least <= worked[end] - worked[begin] <= most <= end - begin


@given(TURNS)
def test_read_at_every_moment_it_is_known(turns: list[tuple[int, int]]) -> None:
    worked = schedule(turns)
    work = readings(worked, [*range(len(worked)), len(worked) - 1])
    for begin in range(0, len(worked), 7):
        for end in range(begin, len(worked) - 1, 5):
            assert work.between(begin, end) == (worked[end] - worked[begin],) * 2


def test_while_it_only_works_two_readings_are_enough() -> None:
    work = readings([*range(101)], [0, 100])
    assert work.between(20, 50) == (30, 30)


def test_a_reading_whose_clocks_were_not_read_at_once_does_not_count() -> None:
    passed = iter([0, 1_000_000])
    assert not ThreadWork(lambda: next(passed)).read(lambda: 7)


@pytest.mark.skipif(not can_be_read(), reason="no thread's clock can be read by another")
def test_of_a_real_thread_that_works_and_sleeps() -> None:
    """However busy the machine is: what the thread reads of its own clock lies between."""
    moments = []

    def now() -> None:
        moments.append((time.monotonic_ns(), time.thread_time_ns()))

    with ThreadWork() as work:
        now()
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass
        now()
        time.sleep(0.03)
        now()
    slack = 100_000
    for (begin, before), (end, behind) in pairwise(moments):
        least, most = work.between(begin, end)
        assert least - slack <= behind - before <= most + slack
    assert moments[1][1] - moments[0][1] >= 20_000_000
    assert work.between(moments[1][0], moments[2][0])[0] < 15_000_000
