"""Intervals of ratios of medians from rounds that are not independent.

What disturbs a round often lasts into the next, so blocks of consecutive rounds are drawn, not single ones:
the circular block bootstrap of Politis and Romano (1992), "A circular block-resampling procedure for
stationary data". Their length goes by how long rounds resemble each other, after Politis and White (2004),
"Automatic block-length selection for the dependent bootstrap", and is at least the cube root of their number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

Samples = NDArray[np.float64]
Numbers = NDArray[np.intp]

_RESAMPLES = 1000
_INTERVAL = (2.5, 97.5)  # percentiles: 95 %
_LEAST_BLOCKS = 4
"""Blocks are no longer than leaves so many of them."""

_BETWEEN = 2.5
"""Standard errors between openings, and between inputs, that an interval reaches: Student's 93 % of five,
where only these differ; where rounds scatter more, the rounds decide."""


def log_ratio_interval(
    baseline: Samples, candidate: Samples, shared: Sequence[Numbers] = (), seed: int = 0
) -> tuple[float, float, float]:
    """Log of the ratio of medians, and the two ends of its 95 % interval.

    Sessions of the same network differ a little for as long as they live, since their memory lies elsewhere;
    and some operators take longer for one input than for another, such as those that branch by the sign of
    each value. So the interval is at least what openings, and what inputs, disagree by.

    Args:
        baseline: ``(rounds,)`` times; NaN does not count.
        candidate: ``(rounds,)`` times of the same rounds; NaN does not count.
        shared: by what some rounds differ from others: the number of the opening, or of the input, that each
            belongs to, ``(rounds,)`` each.
        seed: of the bootstrap.
    """
    rounds = len(baseline)
    length = block_length(_pull(baseline) - _pull(candidate))
    drawn = _blocks(rounds, length, np.random.default_rng(seed))
    logs = np.log(_medians(baseline[drawn]) / _medians(candidate[drawn]))
    middle = float(np.log(np.nanmedian(baseline) / np.nanmedian(candidate)))
    low, high = np.nanpercentile(logs, _INTERVAL) - middle
    wider = _widening(rounds, length)
    apart = _BETWEEN * math.hypot(*(_error_between(baseline, candidate, numbers) for numbers in shared))
    return middle, middle + min(wider * float(low), -apart), middle + max(wider * float(high), apart)


def block_length(series: Samples) -> int:
    """How many consecutive values to draw together, so that their dependence is kept.

    Args:
        series: ``(n,)``, what is averaged.
    """
    n = len(series)
    least, most = int(np.ceil(n ** (1 / 3))), max(n // _LEAST_BLOCKS, 1)
    correlations = _autocorrelations(series, min(int(np.ceil(np.sqrt(n))) + 5, n // 2))
    if not len(correlations):
        return min(least, most)
    bound = 2.0 * np.sqrt(np.log10(n) / n)
    run = max(5, int(np.ceil(np.sqrt(np.log10(n)))))  # so many in a row must be negligible
    matters = np.abs(correlations) > bound
    last = next((m for m in range(len(matters)) if not matters[m : m + run].any()), len(matters))
    window = min(2 * max(last, 1), len(correlations))
    lags = np.arange(1, window + 1)
    flat_top = np.minimum(1.0, 2.0 * (1.0 - lags / window)) * correlations[:window]
    spectrum, slope = 1.0 + 2.0 * flat_top.sum(), 2.0 * (lags * flat_top).sum()
    if spectrum <= 0.0:
        return min(least, most)
    wanted = np.cbrt(1.5 * (slope / spectrum) ** 2 * n)
    return int(min(max(np.ceil(wanted), least), most))


def _pull(times: Samples) -> Samples:
    """In which direction each round pulls the median; 0 of one that does not count."""
    pulls: Samples = np.nan_to_num(np.sign(times - np.nanmedian(times)))
    return pulls


def _error_between(baseline: Samples, candidate: Samples, numbers: Numbers) -> float:
    """Standard error of the mean log ratio over openings, or inputs; 0 of a single one."""
    each = []
    for number in np.unique(numbers):
        here = numbers == number
        before, after = (times[here & ~np.isnan(times)] for times in (baseline, candidate))
        if len(before) and len(after):
            each.append(np.log(np.median(before) / np.median(after)))
    return float(np.std(each, ddof=1) / np.sqrt(len(each))) if len(each) > 1 else 0.0


def _autocorrelations(series: Samples, most: int) -> Samples:
    """At lags 1 … ``most``; none of a series that stands still."""
    centred = series - series.mean()
    power = float(centred @ centred)
    if power <= 0.0:
        return np.empty(0)
    return np.array([centred[lag:] @ centred[:-lag] / power for lag in range(1, most + 1)])


def _blocks(rounds: int, length: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Numbers of rounds, ``(resamples, rounds)``: blocks that begin anywhere, the first follows the last."""
    starts = rng.integers(rounds, size=(_RESAMPLES, -(-rounds // length)))
    drawn = (starts[:, :, None] + np.arange(length)) % rounds
    return drawn.reshape(_RESAMPLES, -1)[:, :rounds]


def _widening(rounds: int, length: int) -> float:
    """What few rounds, and few blocks, make an interval from a bootstrap too narrow by.

    The quantile is Student's instead of the normal one, and the mean of ``k`` blocks varies by ``1 − 1 / k``
    of its variance when they are drawn from themselves.
    """
    blocks = max(rounds / length, 2.0)
    student = special.stdtrit(max(rounds - 1, 1), 0.975) / special.ndtri(0.975)
    return float(student * np.sqrt(blocks / (blocks - 1.0)))


def _medians(rows: Samples) -> Samples:
    """Of each row, over what is not NaN; NaN where nothing is left."""
    if not np.isnan(rows).any():
        medians: Samples = np.median(rows, axis=1)
        return medians
    ordered = np.sort(rows, axis=1)  # NaN comes last
    last = np.maximum((~np.isnan(rows)).sum(axis=1) - 1, 0)
    each = np.arange(len(rows))
    between: Samples = 0.5 * (ordered[each, last // 2] + ordered[each, (last + 1) // 2])
    return between
