"""Every scheme in the metric of what the convolution reads, against itself in weight space."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor import SCHEMES, Factorization, Rank, Scheme, Stage
from sepfactor.factor.covariance import Formed
from sepfactor.factor.moments import Moments
from sepfactor.factor.refit import refit
from sepfactor.factor.statistics import on_grid
from tests.factor.kinds import by_name, taken_by
from tests.factor.seen import correlated, rows_for
from tests.strategies import normal, unpadded

RANKED = [scheme for scheme in SCHEMES if scheme.name != "trim"]
every_scheme = pytest.mark.parametrize("scheme", RANKED, ids=lambda scheme: scheme.name)

STAGES = {
    "separable-depthwise": unpadded(normal(1, 6, 1, 4, 4), 6),
    "grouped": unpadded(normal(2, 8, 4, 3, 3), 2),
    "dense": unpadded(normal(3, 10, 8, 3, 3)),
}


def stage_for(scheme: Scheme) -> Stage:
    return STAGES.get(scheme.name, STAGES["dense"])


def aware(scheme: Scheme, stage: Stage, moments: Moments, rank: Rank, sweeps: int = 0) -> Factorization:
    """Decomposed in the metric, and the last stages fitted."""
    target = Stage(moments.target(), stage.strides, stage.pads, stage.dilations, stage.group)
    start = Factorization(scheme.decompose(target, moments).build(rank))
    return refit(stage, start, moments, sweeps=sweeps)


def bare(scheme: Scheme, stage: Stage, rank: Rank) -> Factorization:
    return Factorization(scheme.decompose(stage).build(rank))


def missed(stage: Stage, moments: Moments, factorization: Factorization) -> float:
    return moments.error(on_grid(stage, factorization), factorization.bias)


def some_ranks(scheme: Scheme, stage: Stage) -> list[Rank]:
    """From weak to full."""
    full = scheme.decompose(stage).full_rank
    return [tuple(max(1, round(share * most)) for most in full) for share in (0.15, 0.3, 0.5, 0.7, 1.0)]


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [(s, kind) for s in RANKED for kind, stage in STAGES.items() if s.refuses(stage) is None],
    ids=lambda value: getattr(value, "name", value),
)
def test_misses_no_more_than_the_bare_weights_at_any_rank(scheme: Scheme, kind: str) -> None:
    stage = STAGES[kind]
    ratios = []
    for seed in range(4):
        moments = rows_for(stage, seed, count=400).moments().ridged(stage.weight, 1e-3)
        for rank in some_ranks(scheme, stage):
            ours = missed(stage, moments, aware(scheme, stage, moments, rank))
            theirs = missed(stage, moments, bare(scheme, stage, rank))
            assert ours <= theirs + 1e-9
            ratios.append(ours / theirs)
    assert np.median(ratios) < 0.7


@every_scheme
@given(st.data())
def test_full_rank_loses_nothing(scheme: Scheme, data: st.DataObject) -> None:
    stage = data.draw(taken_by(scheme))
    moments = data.draw(correlated(stage)).moments()
    decomposition = scheme.decompose(stage, moments)
    found = Factorization(decomposition.build(decomposition.full_rank))
    np.testing.assert_allclose(on_grid(stage, found), stage.weight, atol=1e-5 * np.abs(stage.weight).max())
    assert decomposition.full_rank == scheme.decompose(stage).full_rank
    assert decomposition.squared_error[decomposition.full_rank] <= 1e-12


@every_scheme
def test_what_is_decomposed_promises_less_with_every_rank(scheme: Scheme) -> None:
    stage = stage_for(scheme)
    errors = scheme.decompose(stage, rows_for(stage, 5).moments()).squared_error
    assert errors.flat[0] == 1
    for axis in range(errors.ndim):
        assert np.all(np.diff(errors, axis=axis) <= 1e-12)


@every_scheme
def test_fitted_it_misses_less_with_more_rank(scheme: Scheme) -> None:
    stage = stage_for(scheme)
    moments = rows_for(stage, 7, count=400).moments()
    fitted = [aware(scheme, stage, moments, rank, sweeps=2) for rank in some_ranks(scheme, stage)]
    errors = [missed(stage, moments, one) for one in fitted]
    assert all(more <= less + 1e-9 for less, more in pairwise(errors))
    assert errors[-1] == pytest.approx(moments.error(moments.target()), abs=1e-5)


@every_scheme
def test_white_inputs_ask_for_the_bare_weights(scheme: Scheme) -> None:
    """Nothing is correlated, so the metric is that of the weights."""
    stage = stage_for(scheme)
    d = stage.weight[0].size
    identity = np.broadcast_to(np.eye(d), (stage.group, d, d)).copy()
    zeros = np.zeros((stage.group, d))
    white = Moments(stage.weight.shape[1:], Formed(identity), zeros[:, None], 1.0, zeros, zeros[0], 9)
    rank = some_ranks(scheme, stage)[2]
    ours, theirs = (scheme.decompose(stage, seen) for seen in (white, None))
    np.testing.assert_allclose(ours.squared_error, theirs.squared_error, atol=1e-9)
    one, other = (on_grid(stage, Factorization(d.build(rank))) for d in (ours, theirs))
    np.testing.assert_allclose(one, other, atol=1e-7)


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_channel_out_is_the_optimum(group: int, rank: int) -> None:
    """Reduced-rank regression (Izenman 1975) by another way: a generalised eigenproblem on the rows."""
    stage = unpadded(normal(4, 8, 6 // group, 2, 2), group)
    rows = rows_for(stage, 11, count=300)
    moments = rows.moments()
    least = 0.0
    for x, y in zip(rows.blocks, rows.answers, strict=True):
        cxx, cyy, cyx = np.cov(x.T, bias=True), np.cov(y.T, bias=True), np.cov(y.T, x.T, bias=True)
        cyx = cyx[: y.shape[1], y.shape[1] :]
        explained = scipy.linalg.eigh(cyx @ np.linalg.solve(cxx, cyx.T), eigvals_only=True)
        least += np.trace(cyy) - explained[::-1][:rank].sum()
    found = aware(by_name("channel-out"), stage, moments, (rank,))
    assert moments.loss(on_grid(stage, found)) == pytest.approx(least, rel=1e-6)
    unfitted = by_name("channel-out").decompose(
        Stage(moments.target(), stage.strides, stage.pads, stage.dilations, group), moments
    )
    assert moments.loss(on_grid(stage, Factorization(unfitted.build((rank,))))) == pytest.approx(
        least, rel=1e-6
    )


@pytest.mark.parametrize("scheme", RANKED, ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("blank", ["one channel", "all", "one tap", "one sample"])
def test_inputs_that_never_change_do_no_harm(scheme: Scheme, blank: str) -> None:
    stage = stage_for(scheme)
    rows = rows_for(stage, 9, count=1 if blank == "one sample" else 100)
    where = {"one channel": np.s_[:, 0], "one tap": np.s_[..., 0, 0]}.get(blank, np.s_[:])
    if blank != "one sample":
        rows.x[where] = 3.0
    rows = type(rows)(stage, rows.x, rows.run(stage.weight))
    moments = rows.moments()
    found = aware(scheme, stage, moments, some_ranks(scheme, stage)[1], sweeps=2)
    for part in found.stages:
        assert np.isfinite(part.weight).all()
    assert found.bias is not None
    assert np.isfinite(found.bias).all()
    missing = rows.y - rows.run(on_grid(stage, found)) - found.bias
    np.testing.assert_allclose(missing.mean(axis=0), 0, atol=1e-6)
