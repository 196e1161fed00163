"""Ranges of codes: their error is what it is said to be, and the least there is."""

from __future__ import annotations

import numpy as np
import pytest

from sepfactor.data import Feed
from sepfactor.fit.ranges import Seen, grid_of, look_at
from sepfactor.graph.int8 import Grid
from sepfactor.graph.load import load
from sepfactor.measure import OnnxRuntime
from tests import networks


def seen(values: np.ndarray) -> Seen:
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    counts = np.histogram(values[values != 0], 1024, (low, high))[0].astype(float)
    return Seen(low, high, counts, float(values.size), np.array([np.abs(values).max()]))


def through(values: np.ndarray, grid: Grid) -> np.ndarray:
    codes = np.clip(np.rint(values / grid.scale) + grid.zero_point, 0, 255)
    return (codes - grid.zero_point) * grid.scale


def normal(count: int = 20000) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(count)


@pytest.mark.parametrize("reach", [1.5, 2.5, 4.0])
def test_the_error_is_what_it_is_said_to_be(reach: float) -> None:
    values = normal()
    said = float(seen(values).errors(np.array([-reach]), np.array([reach]))[0, 0])
    grid = Grid(2 * reach / 255, 128)
    assert said == pytest.approx(float(np.mean((values - through(values, grid)) ** 2)), rel=0.05)


def test_a_rare_outlier_is_cut_off() -> None:
    values = normal(1_000_000)
    values[0] = 10.0
    found = grid_of([seen(values)])
    reach = 10.0 - values.min()
    whole = Grid(reach / 255, round(-values.min() / reach * 255))
    errors = [np.mean((values - through(values, grid)) ** 2) for grid in (found, whole)]
    assert found.scale * 255 < 0.9 * reach
    assert errors[0] < errors[1]


def test_what_is_never_negative_begins_at_code_zero() -> None:
    assert grid_of([seen(np.maximum(normal(), 0.0))]).zero_point == 0


def test_zeros_lose_nothing() -> None:
    values = normal()
    mixed = np.concatenate([values, np.zeros(len(values))])
    ends = (np.array([-3.0]), np.array([3.0]))
    assert seen(mixed).errors(*ends) == pytest.approx(0.5 * seen(values).errors(*ends))
    assert grid_of([seen(np.zeros(10))]) == Grid(1.0, 0)


def test_several_share_what_suits_them_together() -> None:
    narrow, wide = seen(0.1 * normal()), seen(normal())
    alone, both = (grid_of(group).scale for group in ([wide], [narrow, wide]))
    assert 0.5 * alone < both <= alone


def test_what_is_seen_of_a_network() -> None:
    model = load(networks.plain()).model
    feeds: list[Feed] = [{"image": image[None]} for image in networks.images()]
    engine = OnnxRuntime()
    names = ["image", "a", "b", "map"]
    whole, in_parts = (look_at(model, names, feeds, engine, most) for most in (10**9, 1))
    pixels = np.concatenate([feed["image"] for feed in feeds])
    assert whole["image"].high == pixels.max()
    assert np.array_equal(whole["image"].channels, pixels.max(axis=(0, 2, 3)))
    assert whole["image"].counts.sum() == np.count_nonzero(pixels)
    assert whole["b"].low == 0.0
    assert whole["a"].low < 0.0
    assert len(whole["a"].channels) == 16
    assert 0 < whole["b"].counts.sum() < whole["b"].total  # zeros behind a Relu are not counted
    for name in names:
        assert np.array_equal(whole[name].counts, in_parts[name].counts)
