"""Kernels that try arithmetic: zero, constant, tiny, huge, of one channel. A warning fails the test."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor import SCHEMES, Factorization, Scheme, Stage, weight_error
from tests.factor.kinds import taken_by, untied
from tests.strategies import GROUPINGS, normal, seeds, stages, unpadded

every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)


def _check(scheme: Scheme, stage: Stage, exact: float = 1e-12) -> None:
    """Every rank gives finite factors and errors; full rank is exact."""
    decomposition = scheme.decompose(stage)
    assert np.isfinite(decomposition.squared_error).all()
    for rank in itertools.product(*(range(1, full + 1) for full in decomposition.full_rank)):
        for part in Factorization(decomposition.build(rank)).stages:
            assert np.isfinite(part.weight).all()
    whole = Factorization(decomposition.build(decomposition.full_rank))
    assert weight_error(stage, whole) < exact


@every_scheme
@given(st.data())
def test_all_zero_kernels_factor_into_zeros(scheme: Scheme, data: st.DataObject) -> None:
    stage = data.draw(taken_by(scheme))
    stage = stage.along(0 * stage.weight, stage.axes)
    assert scheme.refuses(stage) is None
    _check(scheme, stage)
    assert not scheme.decompose(stage).squared_error.any()


@every_scheme
@given(st.data())
def test_a_dead_channel_or_group_harms_nothing(scheme: Scheme, data: st.DataObject) -> None:
    stage = data.draw(taken_by(scheme))
    weight = stage.weight.copy()
    weight[data.draw(st.integers(0, stage.out_channels - 1))] = 0
    weight[:, data.draw(st.integers(0, weight.shape[1] - 1))] = 0
    _check(scheme, stage.along(weight, stage.axes))


@pytest.mark.parametrize("scheme", SCHEMES[1:], ids=lambda scheme: scheme.name)
@given(st.data())
def test_constant_kernels_are_of_rank_one(scheme: Scheme, data: st.DataObject) -> None:
    stage = data.draw(taken_by(scheme))
    stage = stage.along(0 * stage.weight + 0.1, stage.axes)
    _check(scheme, stage)
    decomposition = scheme.decompose(stage)
    ones = tuple(1 for _ in decomposition.full_rank)
    assert weight_error(stage, Factorization(decomposition.build(ones))) < 1e-12


@every_scheme
@pytest.mark.parametrize("scale", [1e-12, 1e12])
@given(st.data())
def test_tiny_and_huge_kernels_factor_like_others(scheme: Scheme, scale: float, data: st.DataObject) -> None:
    stage = untied(data.draw(taken_by(scheme)), data.draw(seeds))
    scaled = stage.along(scale * stage.weight, stage.axes)
    assert scheme.refuses(scaled) is None
    _check(scheme, scaled)
    np.testing.assert_allclose(
        scheme.decompose(scaled).squared_error, scheme.decompose(stage).squared_error, atol=1e-12
    )


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_one_channel_in_or_out_or_both(outs: int, ins: int, kh: int, kw: int) -> None:
    for o, i in [(1, 1), (1, ins), (outs, 1)]:
        stage = unpadded(normal(kh + kw, o, i, kh, kw))
        for scheme in SCHEMES:
            if scheme.refuses(stage) is None:
                _check(scheme, stage)


@given(stages(GROUPINGS, kernel=(1, 3)))
def test_weights_of_very_different_scales_stay_exact(stage: Stage) -> None:
    """Batch normalisation folded into a kernel leaves outputs many orders apart."""
    spread = np.logspace(-6, 6, stage.out_channels)
    uneven = stage.along(spread.reshape(-1, 1, 1, 1) * stage.weight, stage.axes)
    for scheme in SCHEMES:
        if scheme.refuses(uneven) is None:
            _check(scheme, uneven, 1e-7 if scheme.name == "trim" else 1e-12)
