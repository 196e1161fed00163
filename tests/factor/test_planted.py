"""A kernel built at a rank is recovered at that rank, and not below."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given

from sepfactor.factor import Factorization, Rank, Stage, weight_error
from sepfactor.factor.stage import Array
from tests.factor.kinds import by_name
from tests.strategies import normal, seeds, unpadded

G, O, I, KH, KW = 2, 6, 5, 3, 4  # noqa: E741  the field's names
FOUND, MISSED = 1e-7, 1e-5
"""Relative errors: rounding on one side, clearly more on the other."""


def _spatial(seed: int) -> Array:
    """``Σ_r H[g, o, r, q] V[g, r, i, p]``, r = 4."""
    return np.einsum("gorq,grip->goipq", normal(seed, G, O, 4, KW), normal(seed + 1, G, 4, I, KH))


def _spatial_horizontal(seed: int) -> Array:
    return np.einsum("gorp,griq->goipq", normal(seed, G, O, 4, KH), normal(seed + 1, G, 4, I, KW))


def _depthwise_pointwise(seed: int) -> Array:
    return np.einsum("gtoi,gtipq->goipq", normal(seed, G, 3, O, I), normal(seed, G, 3, I, KH, KW))


def _pointwise_depthwise(seed: int) -> Array:
    return np.einsum("gtoi,gtopq->goipq", normal(seed, G, 3, O, I), normal(seed, G, 3, O, KH, KW))


def _channel_out(seed: int) -> Array:
    return np.einsum("gor,gripq->goipq", normal(seed, G, O, 3), normal(seed, G, 3, I, KH, KW))


def _channel_in(seed: int) -> Array:
    return np.einsum("gri,gorpq->goipq", normal(seed, G, 3, I), normal(seed, G, O, 3, KH, KW))


def _tucker2(seed: int) -> Array:
    core = normal(seed, G, 4, 3, KH, KW)
    return np.einsum("gos,gsrpq,gri->goipq", normal(seed + 1, G, O, 4), core, normal(seed + 2, G, 3, I))


def _asymmetric(seed: int) -> Array:
    vertical, horizontal = normal(seed, G, 4, I, KH), normal(seed + 1, G, 3, 4, KW)
    return np.einsum("gos,gsrq,grip->goipq", normal(seed + 2, G, O, 3), horizontal, vertical)


PLANTED: dict[str, tuple[Callable[[int], Array], Rank]] = {
    "spatial-vertical": (_spatial, (4,)),
    "spatial-horizontal": (_spatial_horizontal, (4,)),
    "depthwise-pointwise": (_depthwise_pointwise, (3,)),
    "pointwise-depthwise": (_pointwise_depthwise, (3,)),
    "channel-out": (_channel_out, (3,)),
    "channel-in": (_channel_in, (3,)),
    "tucker2": (_tucker2, (3, 4)),
    "asymmetric-3d": (_asymmetric, (4, 3)),
}


def _check(name: str, stage: Stage, planted: Rank) -> None:
    decomposition = by_name(name).decompose(stage)
    assert all(r < full for r, full in zip(planted, decomposition.full_rank, strict=True))
    for rank in itertools.product(*(range(1, r + 1) for r in planted)):
        error = weight_error(stage, Factorization(decomposition.build(rank)))
        if rank == planted:
            assert decomposition.error(rank) < FOUND
            assert error < 1e-12  # the factors know no 1e-8: they are projections
        else:
            assert decomposition.error(rank) > MISSED
            assert error > MISSED
    assert decomposition.error(tuple(0 for _ in planted)) == 1


@pytest.mark.parametrize("name", PLANTED)
@given(seed=seeds)
def test_a_planted_rank_is_found_in_every_group(name: str, seed: int) -> None:
    plant, rank = PLANTED[name]
    blocks = plant(seed)
    _check(name, unpadded(blocks.reshape(-1, *blocks.shape[2:]), G), rank)


@pytest.mark.parametrize("name", PLANTED)
@given(seed=seeds)
def test_a_planted_rank_is_found_without_groups(name: str, seed: int) -> None:
    plant, rank = PLANTED[name]
    _check(name, unpadded(plant(seed)[0]), rank)


VOLUMES = {
    "spatial-vertical": ("orhw,rid->oidhw", (KH, KW), (2,)),
    "spatial-horizontal": ("ordh,riw->oidhw", (2, KH), (KW,)),
    "spatial-depth-last": ("ord,rihw->oidhw", (2,), (KH, KW)),
    "spatial-width-last": ("orw,ridh->oidhw", (KW,), (2, KH)),
}


@pytest.mark.parametrize("name", VOLUMES)
@given(seed=seeds)
def test_a_planted_rank_is_found_among_kernels_of_three_axes(name: str, seed: int) -> None:
    product, last, first = VOLUMES[name]
    _check(
        name, unpadded(np.einsum(product, normal(seed, O, 4, *last), normal(seed + 1, 4, I, *first))), (4,)
    )


@given(seeds)
def test_a_planted_rank_of_depthwise_kernels_is_found(seed: int) -> None:
    kernels = np.einsum("crp,crq->cpq", normal(seed, 7, 2, 5), normal(seed + 1, 7, 2, 4))
    _check("separable-depthwise", unpadded(kernels[:, None], 7), (2,))


@given(seeds)
def test_one_channel_of_higher_rank_is_enough_to_miss(seed: int) -> None:
    kernels = np.einsum("cp,cq->cpq", normal(seed, 7, 5), normal(seed + 1, 7, 4))
    kernels[3] = normal(seed + 2, 5, 4)
    decomposition = by_name("separable-depthwise").decompose(unpadded(kernels[:, None], 7))
    assert decomposition.error((1,)) > MISSED
    assert decomposition.error((4,)) == 0


@given(seeds)
def test_noise_on_a_planted_kernel_shows_at_its_own_size(seed: int) -> None:
    """What is left behind the planted rank is the noise: neither hidden nor blown up."""
    clean = _spatial(seed)[0]
    noise = normal(seed + 9, *clean.shape)
    noise *= 1e-4 * np.linalg.norm(clean) / np.linalg.norm(noise)
    error = by_name("spatial-vertical").decompose(unpadded(clean + noise)).error((4,))
    assert 0.3e-4 < error < 1e-4
