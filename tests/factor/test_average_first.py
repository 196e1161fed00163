"""An average over blocks before a 1×1 layer is the average of what it answers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor.average_first import average_first, blocks, grid, weights
from sepfactor.factor.stage import Ints, Stage
from tests.factor.naive import run

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(SIZES, st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_blocks_by_their_weights_are_the_mean_over_the_map(size: Ints, block: Ints) -> None:
    x = np.random.default_rng(0).standard_normal(size)
    block = tuple(min(b, n) for b, n in zip(block, size, strict=True))
    means = np.array(
        [
            [x[i : i + block[0], j : j + block[1]].mean() for j in range(0, size[1], block[1])]
            for i in range(0, size[0], block[0])
        ]
    )
    found = weights(size, block)
    assert means.shape == grid(size, block)
    counted = means if found is None else means * found[0, 0]
    np.testing.assert_allclose(counted.mean(), x.mean(), atol=1e-12)


@given(SIZES)
def test_blocks_to_try_end_with_the_whole_map_and_get_clearly_fewer(size: Ints) -> None:
    found = blocks(size)
    counts = [int(np.prod(grid(size, block))) for block in found]
    assert counts == sorted(set(counts), reverse=True)
    assert (counts[-1:] or [1]) == [1]
    assert found[-1:] in ([size], [])
    assert bool(found) == (size != (1, 1))


def test_the_chain_averages_and_then_convolves() -> None:
    rng = np.random.default_rng(1)
    x, weight, bias = (rng.standard_normal(shape) for shape in ((5, 6, 4), (3, 5), (3,)))
    found = average_first(Stage.pointwise(weight), bias, (3, 2), (6, 4))
    means = x.reshape(5, 2, 3, 2, 2).mean((2, 4))
    np.testing.assert_allclose(run(found.chains, x), np.tensordot(weight, means, 1), atol=1e-12)
    assert found.bias is bias
    assert found.output_size((6, 4)) == (2, 2)
    assert found.macs((6, 4)) == 5 * 24 + 15 * 4
