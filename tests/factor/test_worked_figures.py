"""The figures every account of separable convolution works through, from the data structure."""

from __future__ import annotations

import numpy as np
import pytest

from sepfactor.factor import Factorization, weight_error
from tests.factor import naive
from tests.factor.kinds import by_name
from tests.strategies import normal, same, unpadded

SOBEL = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
SPATIAL = ("spatial-vertical", "spatial-horizontal")


@pytest.mark.parametrize("name", SPATIAL)
@pytest.mark.parametrize(("k", "dense", "separable"), [(3, 9, 6), (5, 25, 10)])
def test_a_separable_kernel_takes_two_k_instead_of_k_squared(
    name: str, k: int, dense: int, separable: int
) -> None:
    kernel = np.outer(normal(1, k), normal(2, k))
    stage = same(unpadded(kernel[None, None]))
    replacement = Factorization(by_name(name).decompose(stage).build((1,)))
    assert weight_error(stage, replacement) < 1e-15
    assert (stage.parameters, replacement.parameters) == (dense, separable)
    assert stage.macs((1, 1)) == dense
    assert replacement.macs((1, 1)) == separable
    assert replacement.macs((7, 9)) == separable * 7 * 9


@pytest.mark.parametrize("channels", [1, 4])
def test_sobel_is_exactly_rank_one_in_either_order(channels: int) -> None:
    weight = np.tile(SOBEL, (channels, 1, 1, 1))
    stage = same(unpadded(weight, channels))
    names = SPATIAL if channels == 1 else ("separable-depthwise",)
    x = normal(0, channels, 8, 9)
    for name in names:
        decomposition = by_name(name).decompose(stage)
        assert decomposition.error((1,)) < 1e-7
        (chain,) = decomposition.build((1,))
        for part in chain.stages:
            tall = part.kernel_shape == (3, 1)
            expected = np.array([1.0, 2, 1] if tall else [-1.0, 0, 1])
            for taps in part.weight.reshape(channels, 3):
                np.testing.assert_allclose(taps / taps[-1], expected / expected[-1], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(naive.run((chain,), x), naive.convolve(stage, x), rtol=1e-12, atol=1e-12)


def test_the_order_of_the_two_does_not_matter() -> None:
    x = normal(3, 1, 10, 11)
    stage = same(unpadded(SOBEL[None, None]))
    (down,), (across,) = (by_name(name).decompose(stage).build((1,)) for name in SPATIAL)
    assert [part.kernel_shape for part in down.stages] == [(3, 1), (1, 3)]
    assert [part.kernel_shape for part in across.stages] == [(1, 3), (3, 1)]
    np.testing.assert_allclose(naive.run((down,), x), naive.run((across,), x), atol=1e-12)


@pytest.mark.parametrize("size", [3, 5, 7])
def test_gaussians_are_exactly_rank_one(size: int) -> None:
    bell = np.exp(-0.5 * np.arange(-(size // 2), size // 2 + 1) ** 2)
    kernels = np.tile(np.outer(bell, bell), (3, 1, 1, 1))
    stage = unpadded(kernels, 3)
    decomposition = by_name("separable-depthwise").decompose(stage)
    assert weight_error(stage, Factorization(decomposition.build((1,)))) < 1e-14


def test_5x5x3_to_256_channels_on_12x12() -> None:
    stage = unpadded(normal(0, 256, 3, 5, 5))
    size = (12, 12)
    assert stage.output_size(size) == (8, 8)
    assert stage.macs(size) == 1_228_800
    (chain,) = by_name("depthwise-pointwise").decompose(stage).build((1,))
    depthwise, pointwise = chain.stages
    assert depthwise.macs(size) == 4_800
    assert pointwise.macs(depthwise.output_size(size)) == 49_152
    assert chain.macs(size) == 53_952
    assert Factorization((chain,)).output_size(size) == (8, 8)
