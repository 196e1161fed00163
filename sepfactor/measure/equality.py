"""How far two networks are from equal, and how far rounding alone would take them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Outputs = Sequence[NDArray[Any]]

EXACT_DB = 100.0
"""Single precision rounds at about 140 dB; a network of many layers is left with this much."""

_SLACK_DB = 12.0
"""Rounding happens in every layer: what differs four times as much as one rounding does may be of several."""


@dataclass(frozen=True)
class Distance:
    """How far one output is from what it should be.

    Attributes:
        snr_db: ``20·log₁₀ ‖b‖/‖a − b‖``; infinite where both are equal, also where neither is finite.
        max_abs: largest difference.
        max_ulps: that, in units in the last place of the largest value.
    """

    snr_db: float
    max_abs: float
    max_ulps: float


def distance(found: NDArray[Any], wanted: NDArray[Any]) -> Distance:
    """How far ``found`` is from ``wanted``; of another shape, or finite elsewhere, infinitely far."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return Distance(-math.inf, math.inf, math.inf)
    if wanted.dtype.kind != "f":
        differ = int(np.count_nonzero(found != wanted))
        return Distance(-math.inf, math.inf, math.inf) if differ else Distance(math.inf, 0.0, 0.0)
    a, b = found.astype(np.float64), wanted.astype(np.float64)
    known = np.isfinite(b)
    if not np.array_equal(a[~known], b[~known], equal_nan=True) or not np.isfinite(a[known]).all():
        return Distance(-math.inf, math.inf, math.inf)
    errors, signal = a[known] - b[known], b[known]
    largest = float(np.abs(errors).max(initial=0.0))
    if largest == 0.0:
        return Distance(math.inf, 0.0, 0.0)
    unit = float(np.spacing(np.abs(wanted[known]).max()))
    norm = float(np.linalg.norm(signal))
    snr = 20.0 * math.log10(norm / float(np.linalg.norm(errors))) if norm else -math.inf
    return Distance(snr, largest, largest / unit)


def worst(distances: Sequence[Distance]) -> Distance:
    """The farthest in each respect."""
    return Distance(
        min(one.snr_db for one in distances),
        max(one.max_abs for one in distances),
        max(one.max_ulps for one in distances),
    )


def is_rounding(found: Distance, own: Distance) -> bool:
    """Whether a difference is one of rounding.

    Args:
        found: of the rewritten network from the original.
        own: of the original from itself, its operators run one by one, or fed what is :func:`nudged`.
    """
    return found.snr_db >= min(EXACT_DB, own.snr_db - _SLACK_DB)


def noise(feed: Mapping[str, NDArray[Any]], seed: int = 0) -> dict[str, NDArray[Any]]:
    """A feed of the same shapes whose numbers are standard normal; whole numbers stay."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(array.shape).astype(array.dtype) if array.dtype.kind == "f" else array
        for name, array in feed.items()
    }


def nudged(feed: Mapping[str, NDArray[Any]], seed: int = 0) -> dict[str, NDArray[Any]]:
    """A feed whose numbers are off by one in the last place, up or down; whole numbers stay."""
    rng = np.random.default_rng(seed)
    return {
        name: np.nextafter(array, rng.choice([-1.0, 1.0], array.shape).astype(array.dtype) * np.inf)
        if array.dtype.kind == "f"
        else array
        for name, array in feed.items()
    }
