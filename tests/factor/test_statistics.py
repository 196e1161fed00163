"""Errors over a sample of patches, and the kernel difference behind them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor import SCHEMES, Chain, Factorization, Stage, Statistics, weight_error
from sepfactor.factor.stage import Array
from sepfactor.factor.statistics import kernel_difference
from tests.factor import naive
from tests.factor.kinds import ranks, taken_by, with_zero_border
from tests.factor.seen import output_error
from tests.strategies import normal, seeds, stages, unpadded


def _map_for(stage: Stage, seed: int) -> Array:
    """A map with several pixels of output, whatever the stage."""
    return normal(seed, stage.in_channels, *((17, 18) if len(stage.axes) == 2 else (8, 9, 8)))


def _sample(stage: Stage, x: Array) -> Statistics:
    seen = naive.patches(stage, x)
    return Statistics(seen.reshape(-1, *seen.shape[len(stage.axes) :]).astype(np.float32))


def _rows(stage: Stage, x: Array) -> Array:
    """``(positions, out_channels)`` by the naive convolution."""
    return naive.convolve(stage, x).reshape(stage.out_channels, -1).T


@given(stages(), seeds)
def test_outputs_are_the_convolution_at_the_patches(stage: Stage, seed: int) -> None:
    x = _map_for(stage, seed)
    found = _sample(stage, x).outputs(stage.weight, stage.group)
    expected = _rows(stage, x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5 * (np.abs(expected).max() + 1))


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
@given(st.data())
def test_output_error_is_what_running_both_would_show(scheme, data: st.DataObject) -> None:
    stage = data.draw(taken_by(scheme).filter(lambda stage: stage.weight.any()))
    decomposition = scheme.decompose(stage)
    chains = decomposition.build(data.draw(ranks(decomposition.full_rank)))
    x = _map_for(stage, data.draw(seeds))
    right = _rows(stage, x)
    wrong = right - naive.run(chains, x).reshape(stage.out_channels, -1).T
    expected = np.linalg.norm(wrong) / np.linalg.norm(right - right.mean(axis=0))
    found = output_error(_sample(stage, x), stage, Factorization(chains))
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
@given(st.data())
def test_output_error_is_zero_for_an_exact_replacement(scheme, data: st.DataObject) -> None:
    stage = data.draw(taken_by(scheme))
    decomposition = scheme.decompose(stage)
    exact = Factorization(decomposition.build(decomposition.full_rank))
    sample = _sample(stage, _map_for(stage, data.draw(seeds)))
    assert output_error(sample, stage, exact) < 1e-12
    assert output_error(sample, stage, Factorization.of(stage)) == 0


@given(stages(), seeds)
def test_nothing_instead_of_the_layer_is_an_error_of_about_one(stage: Stage, seed: int) -> None:
    """Of one, plus what the mean of the output adds."""
    stage = replace(stage, weight=normal(seed, *stage.weight.shape))
    x = _map_for(stage, seed + 1)
    nothing = Factorization((Chain((replace(stage, weight=0 * stage.weight),)),))
    y = _rows(stage, x)
    expected = np.linalg.norm(y) / np.linalg.norm(y - y.mean(axis=0))
    assert expected >= 1
    found = output_error(_sample(stage, x), stage, nothing)
    assert found == pytest.approx(expected, rel=1e-4)


@given(seeds, st.integers(2, 300), st.floats(0.01, 0.9))
def test_a_constant_output_counts_by_its_own_norm(seed: int, samples: int, share: float) -> None:
    stage = unpadded(normal(seed, 4, 3, 3, 3))
    patch = normal(seed + 1, 1, 3, 3, 3).astype(np.float32)
    off = Factorization((Chain((replace(stage, weight=(1 - share) * stage.weight),)),))
    found = output_error(Statistics(np.repeat(patch, samples, axis=0)), stage, off)
    assert found == pytest.approx(share, rel=1e-4)


def test_zero_activations_and_zero_kernels_show_no_error() -> None:
    stage = unpadded(normal(0, 4, 3, 3, 3))
    none = replace(stage, weight=0 * stage.weight)
    silent = Statistics(np.zeros((5, 3, 3, 3), np.float32))
    assert output_error(silent, stage, Factorization.of(none)) == 0
    loud = Statistics(normal(1, 5, 3, 3, 3).astype(np.float32))
    assert output_error(loud, none, Factorization.of(none)) == 0


@given(st.data())
def test_kernel_difference_is_the_difference_also_across_groups(data: st.DataObject) -> None:
    stage = data.draw(stages(groupings=("grouped", "depthwise", "multiplier")))
    other = Factorization((Chain((stage.regrouped(1),)), Chain((stage,))))
    difference = kernel_difference(stage, other)
    assert difference.group == 1
    np.testing.assert_allclose(difference.weight, -stage.regrouped(1).weight, atol=1e-15)
    assert weight_error(stage, other) == pytest.approx(1.0 if stage.weight.any() else 0.0)


@given(stages(kernel=(2, 4)), seeds, st.integers(-2, 2))
def test_kernel_difference_puts_a_trimmed_kernel_back_where_it_was_cut(
    stage: Stage, seed: int, scale: int
) -> None:
    stage = replace(stage, pads=((3, 3), (3, 3)), weight=normal(seed, *stage.weight.shape))
    inner = with_zero_border(stage)
    trimmed = replace(
        inner,
        weight=scale * inner.weight[:, :, 1:, :-1],
        pads=((3 - stage.dilations[0], 3), (3, 3 - stage.dilations[1])),
    )
    difference = kernel_difference(stage, Factorization.of(trimmed))
    np.testing.assert_allclose(difference.weight, stage.weight - scale * inner.weight, atol=1e-14)


@given(st.data())
def test_weight_error_is_the_distance_of_the_kernels(data: st.DataObject) -> None:
    stage = data.draw(stages())
    stage = replace(stage, weight=normal(data.draw(seeds), *stage.weight.shape))
    share = data.draw(st.floats(-2, 2))
    off = Factorization((Chain((replace(stage, weight=share * stage.weight),)),))
    assert weight_error(stage, off) == pytest.approx(abs(1 - share), abs=1e-14)


@given(seeds)
def test_white_patches_see_the_error_in_weight_space(seed: int) -> None:
    """Why plain SVD minimises the wrong thing: its error is the output's only on white inputs."""
    stage = unpadded(normal(seed, 4, 3, 3, 3))
    sample = Statistics(normal(seed + 1, 4000, 3, 3, 3).astype(np.float32))
    decomposition = SCHEMES[1].decompose(stage)
    replacement = Factorization(decomposition.build((3,)))
    assert output_error(sample, stage, replacement) == pytest.approx(
        weight_error(stage, replacement), rel=0.1
    )
