"""Running calls in turns, each by a clock that other programs do not move where there is one."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

from sepfactor.measure.bootstrap import Samples
from sepfactor.measure.rounds import Mask, Rounds, are_precise, ratio, summarise

try:
    import resource
except ImportError:  # Windows counts no context switches for us
    resource = None  # type: ignore[assignment]

__all__ = [
    "Elsewhere",
    "Meter",
    "Samples",
    "SeveralThreads",
    "WallClock",
    "WorkElsewhere",
    "WorkOfThisThread",
    "has_fine_thread_clock",
    "ratio",
    "summarise",
    "time_in_turns",
]

Reading = tuple[float, float]
"""What a meter shows: seconds that passed, and a second figure of its own."""

_TOLD_EVERY_S = 0.25
"""Telling how far it is takes time from what is being timed."""

_CHECK_GROWTH = 1.25  # rounds between two looks at the precision grow by this

_TELLING = 9
"""Of fewer rounds an interval says little, however narrow it is."""

_WARMUP_SHARE = 0.2
"""Warming up ends when it took so much of the time there is for timing."""

_READINGS, _MOVES = 1000, 10
"""Of so many readings in a row, which take less than a millisecond, so many must differ."""

_SHORT_S = 2e-3
"""Runs as short as this feel what ran before them: caches hold what another network read."""

_WARMS = 2
"""After so many runs of its own a network is as fast as it gets."""

_PATIENCE = 3.0
"""On a busy machine timing may take so many times as long, for as many runs as an idle one makes."""

_WORKED = (1.05, 0.02)
"""A run takes up to this times, and so many milliseconds more than, what its thread worked, if left alone."""


class Meter(Protocol):
    """What runs are timed with."""

    def read(self) -> Reading:
        """Before and after each run; the first figure is seconds that passed."""

    def start(self) -> Callable[[], float]:
        """Begin to count seconds of timing; what is returned says how many, and timing ends by that."""

    def rounds(self, passed: Samples, other: Samples) -> Rounds:
        """What both figures say.

        Args:
            passed: differences of the first figure, ``(calls, rounds)`` milliseconds.
            other: differences of the second, ``(calls, rounds)``, times 1000 as well.
        """


class WorkOfThisThread:
    """For runs in the calling thread: its processor time, which other programs do not move."""

    def read(self) -> Reading:
        """Seconds that passed, and seconds this thread had a core."""
        return time.perf_counter(), time.thread_time()

    def start(self) -> Callable[[], float]:
        """Seconds of work, or a third of what passed: what others take of a core is no time for timing."""
        begun, (_, worked) = time.perf_counter(), self.read()
        return lambda: max(self.read()[1] - worked, (time.perf_counter() - begun) / _PATIENCE)

    def rounds(self, passed: Samples, other: Samples) -> Rounds:
        """By processor time; disturbed is what passed longer than it worked."""
        share, least = _WORKED
        return Rounds(passed, other, passed > share * other + least)


@dataclass
class Elsewhere:
    """What runs took in another process, less what it took this thread to ask for them.

    Attributes:
        passed: seconds.
        worked: seconds that the processor worked.
    """

    passed: float = 0.0
    worked: float = 0.0


class WorkElsewhere(WorkOfThisThread):
    """For runs in the calling thread, and for those that another process makes and times itself.

    Args:
        elsewhere: each of those adds what it took, and takes off what passed and was worked here meanwhile.
    """

    def __init__(self, elsewhere: Elsewhere) -> None:
        self._elsewhere = elsewhere

    def read(self) -> Reading:
        """Seconds that passed and were worked: here, but for runs elsewhere, and in those."""
        passed, worked = super().read()
        return passed + self._elsewhere.passed, worked + self._elsewhere.worked


class SeveralThreads:
    """For runs on several threads, whose work no clock counts: by time that passed, if not disturbed."""

    def read(self) -> Reading:
        """Seconds that passed, and how often a thread of this process was taken off its core."""
        switches = 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        return time.perf_counter(), switches

    def start(self) -> Callable[[], float]:
        """Seconds that passed."""
        begun = time.perf_counter()
        return lambda: time.perf_counter() - begun

    def rounds(self, passed: Samples, other: Samples) -> Rounds:
        """By time that passed, where no thread was taken off its core or waited for one."""
        return Rounds.of_several_threads(passed, other > 0)


class WallClock:
    """For work that is not this machine's processor's: time that passed, whatever happened meanwhile.

    Args:
        clock: seconds, rising.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock

    def read(self) -> Reading:
        """Seconds that passed, and nothing."""
        return self._clock(), 0.0

    def start(self) -> Callable[[], float]:
        """Seconds by its clock."""
        begun = self._clock()
        return lambda: self._clock() - begun

    def rounds(self, passed: Samples, other: Samples) -> Rounds:
        """By time that passed."""
        undisturbed: Mask = np.zeros(passed.shape, bool)
        return Rounds(passed, None, undisturbed)


@cache
def has_fine_thread_clock() -> bool:
    """Whether the processor time of a thread moves in small steps: on Windows it may stand for 15 ms.

    What systems say of its resolution is not true everywhere, so it is read a few times.
    """
    readings = [time.thread_time() for _ in range(_READINGS)]
    return len(set(readings)) > _MOVES


Call = Callable[[int], object]
"""One run; the number of the round says on which of its inputs."""


def time_in_turns(
    calls: Sequence[Call],
    meter: Meter,
    *,
    seconds: float = 5.0,
    min_rounds: int = 9,
    max_rounds: int = 2000,
    warmup: int = 2,
    precision: float | None = None,
    seed: int = 0,
    as_in_use: bool = False,
    watch: Callable[[float], None] | None = None,
) -> Rounds:
    """Time calls in turns, with the garbage collector off.

    The order within a round is drawn anew each round, and no call follows itself: two calls
    alternate, three or more follow one another equally often.

    Args:
        calls: what to time, told the number of the round; the first is the baseline.
        meter: what to time with.
        seconds: stop after so long, warm-up not counted, but not before ``min_rounds``.
        min_rounds: at least so many rounds.
        max_rounds: at most so many rounds.
        warmup: untimed rounds before, fewer where they take long beside ``seconds``.
        precision: stop sooner, when the 95 % interval of every ratio to the first call is within
            ± this share of the ratio (0.01 is ± 1 %), but not before nine rounds.
        seed: of the order and of the bootstrap.
        as_in_use: before a short call it is made twice untimed, so that it follows itself, as it does where
            nothing else is run.
        watch: told now and then, between rounds, which share of the work is done at least.

    Raises:
        ValueError: there is nothing to time, or ``1 ≤ min_rounds ≤ max_rounds`` does not hold.
    """
    if not calls or not 1 <= min_rounds <= max_rounds:
        raise ValueError("there must be a call to time, and 1 <= min_rounds <= max_rounds")
    warmed = meter.start()
    for number in range(-warmup, 0):
        for call in calls:
            call(number)
        if warmed() >= _WARMUP_SHARE * seconds:
            break
    readings: list[list[Reading]] = []
    look_at = float(max(min_rounds, _TELLING))
    orders = _orders(len(calls), seed)
    with _no_garbage_collection():
        timed, told = meter.start(), 0.0
        while len(readings) < max_rounds:
            short = _short(readings, len(calls)) if as_in_use else ()
            readings.append(_time_round(calls, next(orders), meter, len(readings), short))
            done, spent = len(readings), timed()
            if watch is not None and spent - told >= _TOLD_EVERY_S:
                told = spent
                watch(min(spent / seconds if seconds else 1.0, done / min_rounds, 1.0))
            if done < min_rounds:
                continue
            if spent >= seconds:
                break
            # Stopping for a narrow interval, whatever it contains, does not favour a result.
            if precision is not None and len(calls) > 1 and done >= look_at:
                if are_precise(_rounds(readings, meter), precision, seed):
                    break
                look_at = done * _CHECK_GROWTH
    if watch is not None:
        watch(1.0)
    return _rounds(readings, meter)


def _short(readings: Sequence[Sequence[Reading]], calls: int) -> Sequence[int]:
    """Numbers of the calls that were short in the last round; all of them before the first."""
    return [i for i in range(calls) if not readings or readings[-1][i][0] < _SHORT_S]


def _rounds(readings: Sequence[Sequence[Reading]], meter: Meter) -> Rounds:
    passed, other = 1e3 * np.array(readings, np.float64).transpose(2, 1, 0)
    return meter.rounds(passed, other)


def _orders(count: int, seed: int) -> Iterator[list[int]]:
    rng = np.random.default_rng(seed)
    last = -1
    while True:
        order = [int(i) for i in rng.permutation(count)]
        if order[0] == last:
            order.append(order.pop(0))
        last = order[-1]
        yield order


def _time_round(
    calls: Sequence[Call], order: Sequence[int], meter: Meter, number: int, short: Sequence[int]
) -> list[Reading]:
    """What the meter counted for each call, in the order of ``calls``; ``short`` ones follow themselves."""
    counted = [(0.0, 0.0)] * len(calls)
    for i in order:
        call = calls[i]
        for k in range(_WARMS if i in short else 0):
            call(number - _WARMS + k)
        passed, other = meter.read()
        call(number)
        passed_then, other_then = meter.read()
        counted[i] = (passed_then - passed, other_then - other)
    return counted


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
