"""Stage, chain and factorization against the naive convolution."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor import Chain, Factorization, Stage
from tests.factor import naive
from tests.strategies import inputs, normal, pairs, sizes, stages, unpadded


@given(st.data())
def test_output_size_and_macs_are_those_of_the_naive_convolution(data: st.DataObject) -> None:
    stage = data.draw(stages())
    x = data.draw(inputs(stage))
    out = naive.convolve(stage, x)
    assert stage.output_size(x.shape[1:]) == out.shape[1:]
    per_output = math.prod(stage.weight.shape[1:])
    assert stage.macs(x.shape[1:]) == out.size * per_output


@given(st.data())
def test_then_equals_running_the_two_in_turn(data: st.DataObject) -> None:
    first, last = data.draw(pairs())
    both = first.then(last)
    x = data.draw(inputs(both))
    assert naive.distance(both, (Chain((first, last)),), x) < 1e-12
    assert Chain((first, last)).dense().weight.shape == both.weight.shape


@given(pairs())
def test_then_multiplies_strides_and_keeps_the_coarsest_common_groups(
    pair: tuple[Stage, Stage],
) -> None:
    first, last = pair
    both = first.then(last)
    assert both.strides == tuple(a * b for a, b in zip(first.strides, last.strides, strict=True))
    assert both.group == math.gcd(first.group, last.group)
    assert (both.in_channels, both.out_channels) == (first.in_channels, last.out_channels)


@given(st.data())
def test_then_is_associative(data: st.DataObject) -> None:
    first, last = data.draw(pairs())
    tail = Stage.pointwise(normal(data.draw(st.integers(0, 99)), 3, last.out_channels))
    left, right = first.then(last).then(tail), first.then(last.then(tail))
    assert (left.strides, left.pads, left.group) == (right.strides, right.pads, right.group)
    x = data.draw(inputs(left))
    np.testing.assert_allclose(
        naive.convolve(left, x), naive.convolve(right, x), atol=1e-12 * np.abs(x).sum()
    )


def test_then_refuses_channels_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="4 channels feed a stage of 3"):
        unpadded(normal(0, 4, 2, 1, 1)).then(unpadded(normal(0, 5, 3, 1, 1)))


@given(st.data())
def test_fewer_groups_are_the_same_convolution(data: st.DataObject) -> None:
    stage = data.draw(stages())
    group = data.draw(st.sampled_from([g for g in range(1, 5) if stage.group % g == 0]))
    x = data.draw(inputs(stage))
    merged = stage.regrouped(group)
    assert merged.group == group
    np.testing.assert_allclose(
        naive.convolve(merged, x), naive.convolve(stage, x), atol=1e-12 * np.abs(x).sum()
    )


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("cause", ["kernel", "pads"])
def test_a_chain_refuses_padding_behind_a_kernel_or_padding(axis: int, cause: str) -> None:
    kernel = [1, 1]
    pads = [(0, 0), (0, 0)]
    if cause == "kernel":
        kernel[axis] = 2
    else:
        pads[axis] = (1, 0)
    first = Stage(normal(0, 1, 1, *kernel), (1, 1), tuple(pads), (1, 1))
    late = [(0, 0), (0, 0)]
    late[axis] = (0, 1)
    between = unpadded(normal(0, 1, 1, 1, 1))
    last = Stage(normal(1, 1, 1, 3, 3), (1, 1), tuple(late), (1, 1))
    with pytest.raises(ValueError, match=f"axis {axis} is padded behind its kernel"):
        Chain((first, between, last))
    other_axis = replace(last, pads=tuple(reversed(late)))
    Chain((first, between, other_axis))


def test_what_the_chain_refuses_would_differ_at_the_border() -> None:
    first = unpadded(normal(0, 1, 1, 3, 1))
    last = Stage(normal(1, 1, 1, 3, 1), (1, 1), ((1, 1), (0, 0)), (1, 1))
    x = normal(2, 1, 6, 1)
    in_turn = naive.convolve(last, naive.convolve(first, x))
    at_once = naive.convolve(first.then(last), x)
    np.testing.assert_allclose(in_turn[:, 1:-1], at_once[:, 1:-1], atol=1e-12)
    assert np.abs(in_turn - at_once).max() > 1e-3


def test_a_chain_needs_a_stage() -> None:
    with pytest.raises(ValueError, match="at least one stage"):
        Chain(())


@pytest.mark.parametrize(
    "wrong",
    [{"strides": (1,)}, {"pads": ((0, 0),)}, {"dilations": (1, 1, 1)}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_stage_needs_its_geometry_on_every_axis(wrong: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="a kernel of 2 axes needs as many"):
        replace(unpadded(normal(0, 2, 1, 3, 3)), **wrong)


def test_a_stage_needs_outputs_in_every_group() -> None:
    with pytest.raises(ValueError, match="3 outputs do not divide into 2 groups"):
        unpadded(normal(0, 3, 1, 3, 3), group=2)


@given(stages(), st.integers(0, 1))
def test_along_takes_the_geometry_of_the_chosen_axes_only(stage: Stage, axis: int) -> None:
    part = stage.along(stage.weight, [axis])
    assert part.group == stage.group
    for a in stage.axes:
        own = (part.strides[a], part.pads[a], part.dilations[a])
        chosen = (stage.strides[a], stage.pads[a], stage.dilations[a])
        assert own == (chosen if a == axis else (1, (0, 0), 1))


@given(stages())
def test_pointwise_depthwise_and_grouped_describe_the_weight(stage: Stage) -> None:
    assert stage.is_pointwise == (stage.kernel_shape == (1, 1))
    assert stage.is_depthwise == (stage.group > 1 and stage.in_channels == stage.group)
    blocks = stage.grouped()
    for g, block in enumerate(blocks):
        outs = stage.out_channels // stage.group
        np.testing.assert_array_equal(block, stage.weight[g * outs : (g + 1) * outs])


@given(st.data())
def test_a_sum_of_chains_is_its_dense_kernel_whatever_their_groups(data: st.DataObject) -> None:
    stage = data.draw(stages(groupings=("grouped", "depthwise", "multiplier")))
    other = replace(stage.regrouped(1), weight=normal(1, *stage.regrouped(1).weight.shape))
    both = Factorization((Chain((stage,)), Chain((other,))), bias=np.zeros(stage.out_channels))
    x = data.draw(inputs(stage))
    assert both.dense().group == 1
    assert naive.distance(both.dense(), both.chains, x) < 1e-12
    assert (both.in_channels, both.out_channels) == (stage.in_channels, stage.out_channels)
    assert len(both.stages) == 2


@given(st.data())
def test_a_factorization_adds_up_its_stages(data: st.DataObject) -> None:
    first, last = data.draw(pairs())
    chain = Chain((first, last))
    size = data.draw(sizes(first.then(last)))
    middle = first.output_size(size)
    bias = np.zeros(last.out_channels)
    twice = Factorization((chain, chain), bias)
    assert chain.parameters == first.weight.size + last.weight.size
    assert chain.macs(size) == first.macs(size) + last.macs(middle)
    assert twice.macs(size) == 2 * chain.macs(size)
    assert twice.parameters == 2 * chain.parameters + bias.size
    assert replace(twice, bias=None).parameters == 2 * chain.parameters
    assert twice.output_size(size) == last.output_size(middle) == first.then(last).output_size(size)
