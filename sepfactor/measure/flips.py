"""How many answers of a classifier change, estimated from few samples.

Counting flips on a few dozen images cannot tell 0 % from 3 %. But each image says more than right or wrong:
how far its best class was ahead, and how much that lead changed. Pairing the leads of all images with
the changes of all images, and giving each lead a width, estimates the share of flips with far less noise. A
change depends on the lead it hits, so a straight line through it is taken out first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_GROUPS = 20
_LEAST_SPREAD = 1e-9
_LEAST_SAMPLES = 8
"""Fewer samples say nothing of how changes spread: flips are counted then."""

_CERTAIN = 100.0
"""Leads beyond it are as good as any."""

_NODES = scipy.special.ndtri((np.arange(16) + 0.5) / 16)
"""Quantiles of the standard normal that stand for the width of a lead."""


def leads(scores: Array, classes: Array) -> Floats:
    """``(N,)``: by how much each class is ahead of the best other one in ``(N, C)`` scores."""
    own = np.take_along_axis(scores, classes[:, None], axis=1)[:, 0]
    others = scores.astype(np.float64).copy()
    np.put_along_axis(others, classes[:, None], -np.inf, axis=1)
    ahead: Floats = own - others.max(axis=1)
    return np.where(np.isfinite(ahead), ahead, -np.inf)


def expected_share(before: Array, after: Array, pool: Array) -> float:
    """Share of leads that are not negative after the change, estimated from all pairs of leads and changes.

    Leads count with a Gaussian around each, as wide as Silverman's rule says, both before and after.

    Args:
        before: ``(N,)`` leads.
        after: ``(N,)`` of the same samples.
        pool: ``(M,)`` leads before the change, of these and of any other samples. If none of them is
            negative (each class is the best one by definition), their density is reflected at 0.
    """
    usable = np.isfinite(before) & np.isfinite(after)
    pool = pool[np.isfinite(pool)]
    share = float(np.mean(pool >= 0)) if len(pool) else 1.0
    if np.count_nonzero(usable) < _LEAST_SAMPLES:
        return share + float(np.mean(after >= 0) - np.mean(before >= 0))
    moved, rest = _moved(pool, before[usable], after[usable])
    shifted, width = moved[:, None] + rest[None, :], _width(pool)
    if share == 1.0:
        # A lead of |l + width·z| that falls below zero: the share of flips, and nothing to subtract.
        shift = shifted - pool[:, None]
        flips = _normal((-shift - pool[:, None]) / width) - _normal((shift - pool[:, None]) / width)
        found = 1.0 - float(np.mean(np.where(shift < 0, flips, 0.0)))
    else:
        found = share + float(np.mean(_normal(shifted / width)) - np.mean(_normal(pool / width)))
    return found * float(np.mean(usable))


def expected_loss(
    before: Array, after: Array, likely: Array, pool: tuple[Array, Array] | None = None
) -> float:
    """Accuracy lost if classes are as likely as the original says, from all pairs of leads and changes.

    Where an answer changes from class a to class b, ``p(a) − p(b)`` is lost: little where it was a toss-up.
    It is taken that the runner-up wins; with a lead ``l = log p(a) / p(b)`` the two differ by
    ``(p(a) + p(b)) tanh(l / 2)``.

    Args:
        before: ``(N,)`` leads of the best class, in logarithms of probabilities.
        after: ``(N,)`` of the same class after the change; what is not finite has lost it all.
        likely: ``(N,)`` sums of the two largest probabilities before.
        pool: ``(M,)`` leads and as many such sums, of these and of any other samples; None for these.
    """
    usable = np.isfinite(after)
    own: Floats = np.minimum(before, _CERTAIN)
    lost: Floats = likely * np.tanh(own / 2)
    if np.count_nonzero(usable) < _LEAST_SAMPLES:
        return float(np.mean(np.where(after < 0, lost, 0.0)))
    of_all, sums = (own[usable], likely[usable]) if pool is None else pool
    held: Floats = np.minimum(of_all, _CERTAIN)
    wide: Floats = np.abs(held[:, None] + _width(held) * _NODES)
    moved, rest = _moved(wide, own[usable], np.minimum(after[usable], _CERTAIN))
    flips = np.searchsorted(np.sort(rest), -moved.ravel()) / len(rest)
    cost = (sums[:, None] * np.tanh(wide / 2)).ravel()
    return float(np.mean(flips * cost) * np.mean(usable) + lost[~usable].sum() / len(lost))


def with_upper_end(
    lost: Callable[[Mask, Mask], float],
    images: NDArray[np.int64],
    others: int = 0,
    *,
    units: int | None = None,
    is_share: bool = True,
) -> tuple[float, float]:
    """What is lost, and the upper end of its one-sided 95 % interval, images counted as the unit.

    The error is that of a jackknife over twenty groups of images (Efron 1982, "The Jackknife, the Bootstrap
    and Other Resampling Plans"). Of a share, it grows with the root of what is lost, and the end is where a
    loss of that size would come out so low by chance (Wilson 1927).

    Args:
        lost: from ``(N,)`` samples and ``(others,)`` further ones, those left in.
        images: ``(N,)`` which image each sample lies in.
        others: further samples that are images each.
        units: images that the interval is of, if it is that of others like these; None for these.
        is_share: whether nothing is ever won, so that what is lost is a share.
    """
    every = lost(np.ones(len(images), bool), np.ones(others, bool))
    count = int(images.max(initial=-1)) + 1
    groups = min(count, _GROUPS)
    if groups < 2:
        return every, every
    further = np.arange(others) % groups
    found = np.array([lost(images % groups != k, further != k) for k in range(groups)])
    variance = (groups - 1) / groups * float(np.sum((found - found.mean()) ** 2))
    if units is not None:
        variance *= count / max(units, 2)
        groups = min(max(units, 2), _GROUPS)
    t = float(scipy.special.stdtrit(groups - 1, 0.95))
    if every <= 0 or not is_share:
        return every, every + t * math.sqrt(variance)
    half = t**2 * variance / every / 2
    return every, every + half + math.sqrt(t**2 * variance + half**2)


def _moved(pool: Floats, before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """``pool`` after the change usual for such leads, and what else the changes are, ``(N,)``."""
    change = after - before
    middle, spread = float(before.mean()), float(before.std())
    slope = 0.0
    if spread > _LEAST_SPREAD:
        slope = max(float(np.mean((before - middle) * change)) / spread**2, -1.0)
    usual = float(change.mean())
    return pool + usual + slope * (pool - middle), change - usual - slope * (before - middle)


def _width(pool: Floats) -> float:
    """Silverman's rule, robust to long tails (1986, "Density Estimation", equation 3.31)."""
    low, high = np.quantile(pool, (0.25, 0.75))
    spread = min(float(pool.std()), float(high - low) / 1.349) or float(pool.std())
    return max(0.9 * spread * math.pow(len(pool), -0.2), 1e-9)


def _normal(x: Array) -> Floats:
    """Cumulative distribution of the standard normal."""
    return np.asarray(scipy.special.ndtr(x), np.float64)
