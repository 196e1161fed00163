"""A transposed convolution is a convolution over its input with zeros between: schemes factor it as such."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor import SCHEMES, Chain, Factorization, Scheme, Stage, Statistics
from sepfactor.factor.moment_sums import MomentSums
from sepfactor.factor.refit import refit
from tests.factor import naive
from tests.factor.seen import output_error
from tests.strategies import inputs, normal, transposed, unpadded

KERNELS = {"spatial": (2, 5), "asymmetric": (2, 5), "separable": (2, 5)}
GROUPINGS = {"spatial": ("dense", "grouped"), "asymmetric": ("dense", "grouped"), "separable": ("depthwise",)}


def taken_by(scheme: Scheme) -> st.SearchStrategy[Stage]:
    family = scheme.name.split("-")[0]
    groupings = GROUPINGS.get(family, ("dense", "grouped"))
    drawn = transposed(groupings, KERNELS.get(family, (1, 5)))
    if scheme.name.endswith("-last"):  # these need three axes
        drawn = transposed(groupings, (2, 3), axes=3)
    if family == "trim":
        drawn = drawn.filter(lambda stage: min(stage.kernel_shape) > 2).map(_with_zero_row)
    return drawn.filter(lambda stage: scheme.refuses(stage) is None)


def _with_zero_row(stage: Stage) -> Stage:
    """Nothing in its first row, and that padded."""
    weight = stage.weight.copy()
    weight[:, :, 0] = 0
    (begin, end), other = stage.pads
    return replace(stage, weight=weight, pads=((max(begin, stage.dilations[0]), end), other))


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
@given(st.data())
def test_full_rank_reproduces_it(scheme: Scheme, data: st.DataObject) -> None:
    stage = data.draw(taken_by(scheme))
    decomposition = scheme.decompose(stage)
    chains = decomposition.build(decomposition.full_rank)
    x = data.draw(inputs(stage))
    assert naive.distance(stage, chains, x) < 1e-11
    assert naive.distance(naive.dense(chains), chains, x) < 1e-11
    assert Factorization(chains).output_size(x.shape[1:]) == stage.output_size(x.shape[1:])


@given(st.data())
def test_multiply_accumulates_are_those_with_pixels(data: st.DataObject) -> None:
    """Each weight meets each pixel of its input once, as where nothing is cropped."""
    stage = data.draw(transposed())
    both = replace(stage, upsampling=tuple(max(u, 2) for u in stage.upsampling))
    size = data.draw(inputs(both)).shape[1:]
    assert both.macs(size) == both.parameters * math.prod(size)
    assert replace(stage, upsampling=()).macs(size) == stage.parameters * math.prod(
        replace(stage, upsampling=()).output_size(size)
    )


def test_a_chain_upsamples_before_its_kernel_or_not_at_all() -> None:
    kernel = unpadded(normal(0, 3, 3, 3, 1))
    for first in (kernel, replace(kernel, weight=normal(0, 3, 3, 1, 1), strides=(2, 1))):
        with pytest.raises(ValueError, match="axis 0 is upsampled behind"):
            Chain((first, replace(kernel, upsampling=(2, 1))))
    Chain((kernel, replace(kernel, weight=normal(0, 3, 3, 1, 3), upsampling=(1, 2))))
    with pytest.raises(ValueError, match="as many"):
        replace(kernel, upsampling=(2,))


@pytest.mark.parametrize("name", ["spatial-vertical", "channel-in", "channel-out", "tucker2"])
def test_factors_are_fitted_to_what_it_reads(name: str) -> None:
    """In every phase between the pixels, and on inputs not fitted to."""
    scheme = next(scheme for scheme in SCHEMES if scheme.name == name)
    stage = Stage(normal(0, 8, 6, 4, 4), (1, 1), ((2, 2), (2, 2)), (1, 1), upsampling=(2, 2))
    mix = normal(1, 6, 6) @ np.diag([3, 2, 1, 0.2, 0.1, 0.05])

    def sample(seed: int) -> Statistics:
        x = np.einsum("ij,jhw->ihw", mix, normal(seed, 6, 9, 9))
        return Statistics(naive.patches(stage, x).reshape(-1, 6, 4, 4).astype(np.float32))

    seen, unseen = sample(2), sample(3)
    sums = MomentSums(seen.patches.shape[1:], 1, 8)
    sums.add(seen.patches, seen.outputs(stage.weight, 1))
    moments = sums.moments()
    rank = (4, 4) if name == "tucker2" else (4,)
    bare = Factorization(scheme.decompose(stage).build(rank))
    fitted = refit(stage, Factorization(scheme.decompose(stage, moments).build(rank)), moments)
    assert output_error(unseen, stage, fitted) < 0.9 * output_error(unseen, stage, bare)
