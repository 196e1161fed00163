"""How errors are distributed."""

from __future__ import annotations

import numpy as np
import pytest

from sepfactor.measure.histogram import HistogramMeter, within_share
from sepfactor.results import Histogram


def within(found: Histogram, share: float) -> float:
    return within_share(share, found.edges, found.counts, found.equal)


def errors(count: int = 1000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return 10.0 ** rng.uniform(-8, 2, count) * rng.choice([-1, 1], count)


def test_it_counts_what_numpy_counts() -> None:
    meter, values = HistogramMeter(), errors()
    meter.update(values, np.zeros_like(values))
    found = meter.result()
    assert found is not None
    counts, _ = np.histogram(np.abs(values), found.edges)
    assert list(found.counts) == counts.tolist()
    assert sum(found.counts) == found.total == len(values)
    assert found.counts[0]
    assert found.counts[-1]


def test_feeding_in_parts_makes_no_difference() -> None:
    whole, parts, values = HistogramMeter(), HistogramMeter(), errors()
    whole.update(values, np.zeros_like(values))
    for part in np.array_split(values, 7):
        parts.update(part, np.zeros_like(part))
    assert whole.result() == parts.result()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_what_a_share_stays_within(share: float) -> None:
    meter, values = HistogramMeter(), errors()
    meter.update(values, np.zeros_like(values))
    found = meter.result()
    assert found is not None
    exact = np.quantile(np.abs(values), share)
    assert exact <= within(found, share) <= exact * 10**0.5 * 1.01  # a bin is half a decade


def test_equal_elements_are_counted_apart() -> None:
    meter = HistogramMeter()
    meter.update(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.5]))
    found = meter.result()
    assert found is not None
    assert (found.equal, found.counts) == (2, (1,))
    assert found.edges[0] <= 0.5 <= found.edges[1]
    assert within(found, 0.5) == 0
    assert found.within_99 == found.edges[1]


def test_what_is_not_finite_is_left_out() -> None:
    meter = HistogramMeter()
    meter.update(np.array([np.nan, np.inf, 1.0]), np.array([1.0, 1.0, np.inf]))
    assert meter.result() is None


def test_equal_outputs() -> None:
    meter = HistogramMeter()
    meter.update(np.ones((2, 3), np.int64), np.ones((2, 3), np.int64))
    found = meter.result()
    assert found is not None
    assert (found.counts, found.equal, within(found, 0.99)) == ((), 6, 0)


def test_extreme_errors_land_in_the_last_bins() -> None:
    meter = HistogramMeter()
    meter.update(np.array([1e-300, 1e300]), np.zeros(2))
    found = meter.result()
    assert found is not None
    assert (found.counts[0], found.counts[-1], found.total) == (1, 1, 2)
