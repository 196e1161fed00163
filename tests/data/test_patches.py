"""Patches cut from a map, against the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.data.patches import gather_patches, sample_positions
from sepfactor.factor import Stage
from tests.factor import naive
from tests.strategies import normal, seeds, sizes, stages, transposed


@given(st.data())
def test_are_what_the_kernel_sees(data: st.DataObject) -> None:
    """Strides, dilations, lopsided pads, kernels that hang over the border on both sides, and upsampling."""
    stage = data.draw(st.one_of(stages(), transposed(), stages(kernel=(1, 3), axes=3), stages(axes=1)))
    size = data.draw(sizes(stage))
    x = normal(data.draw(seeds), 3, stage.in_channels, *size)
    batch = data.draw(st.integers(0, 2))
    everywhere = np.stack(
        np.unravel_index(np.arange(math.prod(stage.output_size(size))), stage.output_size(size)), axis=1
    )
    found = gather_patches(x, stage, batch, everywhere)
    expected = naive.patches(stage, x[batch])
    assert found.dtype == np.float32
    assert found.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(found, expected.reshape(found.shape).astype(np.float32))
    some = data.draw(st.lists(st.integers(0, len(everywhere) - 1), max_size=4))
    np.testing.assert_array_equal(gather_patches(x, stage, batch, everywhere[some]), found[some])


def test_beyond_the_border_is_zero_even_beside_what_is_not_finite() -> None:
    stage = Stage(np.ones((1, 1, 3, 3)), (1, 1), ((1, 1), (1, 1)), (1, 1))
    x = np.full((1, 1, 2, 2), np.inf)
    found = gather_patches(x, stage, 0, np.array([[0, 0]]))
    np.testing.assert_array_equal(found[0, 0], [[0, 0, 0], [0, np.inf, np.inf], [0, np.inf, np.inf]])


@given(st.integers(0, 9), st.integers(1, 9), st.integers(0, 40), seeds)
def test_positions_are_in_the_map_and_never_twice(rows: int, columns: int, count: int, seed: int) -> None:
    size = (rows, columns)
    found = sample_positions(size, count, np.random.default_rng(seed))
    assert found.shape == (min(count, rows * columns), 2)
    assert len({tuple(position) for position in found.tolist()}) == len(found)
    assert (found >= 0).all()
    assert (found < size).all()
    again = sample_positions(size, count, np.random.default_rng(seed))
    np.testing.assert_array_equal(found, again)


def test_every_position_is_as_likely() -> None:
    rng = np.random.default_rng(0)
    hits = np.zeros((4, 5))
    for _ in range(2000):
        hits[tuple(sample_positions((4, 5), 3, rng).T)] += 1
    assert hits.sum() == 6000
    assert hits.min() == pytest.approx(300, abs=90)
    assert hits.max() == pytest.approx(300, abs=90)
