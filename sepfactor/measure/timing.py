"""Interleaved timing, and what may be concluded from it.

A machine drifts: clocks rise and fall, neighbours come and go. So models are run in turns, A B A B,
and what is reported is the ratio of medians with an interval from a bootstrap that draws whole
rounds: a disturbance that hits a round hits all models in it.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]

_RESAMPLES = 1000
_INTERVAL = (2.5, 97.5)  # percentiles: 95 %
_TOLD_EVERY_S = 0.25
"""Telling how far it is takes time from what is being timed."""

_CHECK_GROWTH = 1.25  # rounds between two looks at the precision grow by this


@dataclass(frozen=True)
class Timing:
    """How long one call takes.

    Attributes:
        median_ms: median, milliseconds.
        low_ms: 25th percentile, milliseconds.
        high_ms: 75th percentile, milliseconds.
        rounds: number of timed runs.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    rounds: int

    def as_dict(self) -> dict[str, float | int]:
        """The fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Ratio:
    """How many times faster a candidate is than the baseline.

    Attributes:
        speedup: median of the baseline / median of the candidate; above 1 is faster.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
    """

    speedup: float
    low: float
    high: float

    @property
    def measurable(self) -> bool:
        """Whether the interval leaves out 1."""
        return not self.low <= 1.0 <= self.high

    @property
    def verdict(self) -> str:
        """The conclusion in words, such as ``1.84× faster (95 % interval 1.81–1.88)``.

        >>> Ratio(1 / 1.3, 1 / 1.35, 1 / 1.25).verdict
        '1.30× slower (95 % interval 1.25–1.35)'
        >>> Ratio(1.0, 0.98, 1.03).verdict
        'no measurable change (0.98–1.03)'
        """
        if not self.measurable:
            return f"no measurable change ({self.low:.2f}–{self.high:.2f})"
        faster = self.low > 1.0
        factor, low, high = self.speedup, self.low, self.high
        if not faster:
            factor, low, high = 1.0 / factor, 1.0 / high, 1.0 / low
        digits = 2 if low >= 1.01 else 3  # "1.00× faster" would contradict itself
        return (
            f"{factor:.{digits}f}× {'faster' if faster else 'slower'} "
            f"(95 % interval {low:.{digits}f}–{high:.{digits}f})"
        )

    def as_dict(self) -> dict[str, float | str]:
        """The fields and the verdict, ready for JSON."""
        return {**asdict(self), "verdict": self.verdict}


def interleave(
    calls: Sequence[Callable[[], object]],
    *,
    budget_s: float = 5.0,
    min_rounds: int = 9,
    max_rounds: int = 2000,
    warmup: int = 2,
    precision: float | None = None,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    watch: Callable[[float], None] | None = None,
) -> Samples:
    """Time calls in turns, with the garbage collector off.

    The order within a round is drawn anew each round, and no call follows itself: two calls
    alternate, three or more follow one another equally often.

    Args:
        calls: what to time; the first is the baseline.
        budget_s: stop after these seconds, warm-up not counted, but not before ``min_rounds``.
        min_rounds: at least so many rounds.
        max_rounds: at most so many rounds.
        warmup: untimed rounds before.
        precision: stop sooner, when the 95 % interval of every ratio to the first call is within
            ± this share of the ratio (0.01 is ± 1 %).
        seed: of the order and of the bootstrap.
        clock: seconds, rising; for tests.
        watch: told now and then, between rounds, which share of the work is done at least.

    Returns:
        ``(len(calls), rounds)`` milliseconds; column by column the same round.

    Raises:
        ValueError: there is nothing to time, or ``1 ≤ min_rounds ≤ max_rounds`` does not hold.
    """
    if not calls or not 1 <= min_rounds <= max_rounds:
        raise ValueError("interleave needs a call and 1 <= min_rounds <= max_rounds")
    for _ in range(warmup):
        for call in calls:
            call()
    rounds: list[list[float]] = []
    look_at = float(min_rounds)
    orders = _orders(len(calls), seed)
    with _no_garbage_collection():
        start = told = clock()
        while len(rounds) < max_rounds:
            rounds.append(_time_round(calls, next(orders), clock))
            if watch is not None and (now := clock()) - told >= _TOLD_EVERY_S:
                told = now
                watch(min((now - start) / budget_s if budget_s else 1.0, len(rounds) / min_rounds, 1.0))
            if len(rounds) < min_rounds:
                continue
            if clock() - start >= budget_s:
                break
            # Stopping for a narrow interval, whatever it contains, does not favour a result.
            if precision is not None and len(calls) > 1 and len(rounds) >= look_at:
                if _is_precise(np.array(rounds).T, precision, seed):
                    break
                look_at = len(rounds) * _CHECK_GROWTH
    if watch is not None:
        watch(1.0)
    return np.array(rounds, np.float64).T


def summarise(samples: Samples) -> Timing:
    """Median and quartiles of ``(rounds,)`` milliseconds."""
    low, median, high = np.percentile(samples, (25, 50, 75))
    return Timing(float(median), float(low), float(high), len(samples))


def ratio(baseline: Samples, candidate: Samples, *, seed: int = 0) -> Ratio:
    """Speedup of the candidate, with a 95 % interval from a paired bootstrap over rounds.

    Args:
        baseline: ``(rounds,)`` milliseconds.
        candidate: ``(rounds,)`` milliseconds, of the same rounds.
        seed: of the bootstrap.

    Raises:
        ValueError: the two are not of the same rounds.
    """
    if baseline.ndim != 1 or baseline.shape != candidate.shape or not baseline.size:
        raise ValueError(f"rounds do not pair: {baseline.shape} and {candidate.shape}")
    rounds = len(baseline)
    drawn = np.random.default_rng(seed).integers(rounds, size=(_RESAMPLES, rounds))
    ratios = np.median(baseline[drawn], axis=1) / np.median(candidate[drawn], axis=1)
    low, high = np.percentile(ratios, _INTERVAL)
    return Ratio(float(np.median(baseline) / np.median(candidate)), float(low), float(high))


def _is_precise(samples: Samples, precision: float, seed: int) -> bool:
    ratios = (ratio(samples[0], other, seed=seed) for other in samples[1:])
    return all(r.high - r.low <= 2.0 * precision * r.speedup for r in ratios)


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
    calls: Sequence[Callable[[], object]], order: Sequence[int], clock: Callable[[], float]
) -> list[float]:
    """Milliseconds of each call, in the order of ``calls``."""
    times = [0.0] * len(calls)
    for i in order:
        call = calls[i]
        begin = clock()
        call()
        times[i] = (clock() - begin) * 1e3
    return times


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
