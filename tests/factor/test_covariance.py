"""A covariance kept as rows is the same as its matrix, for all that is asked of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor import SCHEMES, Factorization, Stage
from sepfactor.factor.covariance import Formed, OfRows
from sepfactor.factor.moment_sums import MomentSums
from sepfactor.factor.refit import refit
from tests.factor.seen import rows_for
from tests.strategies import normal, seeds

SHAPE = (3, 2, 4)
GROUPS, ENTRIES = 2, 24


def both(seed: int, count: int, share: float) -> tuple[OfRows, Formed]:
    rows = (normal(seed, GROUPS, count, ENTRIES) * np.linspace(0.1, 2.0, ENTRIES)).astype(np.float32)
    ridge = share * np.array([1.0, 2.0])
    matrix = np.swapaxes(rows, 1, 2).astype(np.float64) @ rows / count
    return OfRows(rows, ridge), Formed(matrix + ridge[:, None, None] * np.eye(ENTRIES))


@given(seeds, st.integers(1, 30), st.sampled_from((0.0, 1e-3, 1.0)))
def test_every_question_has_the_same_answer(seed: int, count: int, share: float) -> None:
    ours, theirs = both(seed, count, share)
    kernels = normal(seed + 1, GROUPS, 5, ENTRIES)
    pairs = [
        (ours.matrix, theirs.matrix),
        (ours.variance(), theirs.variance()),
        (ours.times(kernels), theirs.times(kernels)),
        (ours.of_answers(kernels), theirs.of_answers(kernels)),
        (ours.per_channel(3), theirs.per_channel(3)),
        (ours.ridged(np.array([0.5, 3.0])).matrix, theirs.ridged(np.array([0.5, 3.0])).matrix),
        (ours.of_group(1).matrix, theirs.of_group(1).matrix),
    ]
    for places in (np.array([3, 0, 17]), np.arange(ENTRIES)):
        pairs += [(one.between(places), theirs.matrix[:, places][:, :, places]) for one in (ours, theirs)]
    axes = itertools.chain.from_iterable(itertools.combinations(range(3), k) for k in (1, 2))
    pairs += [(ours.averaged(SHAPE, kept), theirs.averaged(SHAPE, kept)) for kept in axes]
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    assert ours.single().times(kernels.astype(np.float32)).dtype == np.float32


@given(seeds, st.integers(1, 23), st.sampled_from((1e-4, 1e-2, 1.0)))
def test_solving_by_rows_is_solving_by_the_matrix(seed: int, count: int, share: float) -> None:
    """Ridge by ridge, whatever was asked for before."""
    ours, theirs = both(seed, count, 0.0)
    kernels = normal(seed + 1, GROUPS, 5, ENTRIES)
    for factor in (1.0, 10.0):
        ridge = share * factor * theirs.variance() / ENTRIES
        found, expected = ours.ridged(ridge).solved(kernels), theirs.ridged(ridge).solved(kernels)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_what_was_never_seen_is_solved_without_harm() -> None:
    rows = OfRows(np.zeros((1, 1, 6), np.float32), np.zeros(1))
    assert not rows.solved(np.ones((1, 2, 6))).any()
    assert np.isfinite(both(0, 4, 0.0)[0].solved(normal(1, GROUPS, 2, ENTRIES))).all()


@pytest.mark.parametrize("parts", (1, 3))
@pytest.mark.parametrize("group", (1, 2))
def test_layers_are_fitted_to_few_rows_as_to_their_matrix(
    group: int, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(normal(0, 8, 12 // group, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), group)
    seen = rows_for(stage, 1, count=60)
    found = []
    monkeypatch.setattr("sepfactor.factor.moment_sums._SINGLE_FROM", 10**9)
    for limit in (10**9, 1):
        monkeypatch.setattr("sepfactor.factor.moment_sums.ROWS_FROM", limit)
        sums = MomentSums(seen.x.shape[1:], group, 8, spread=True)
        for x, y in zip(np.array_split(seen.x, parts), np.array_split(seen.y, parts), strict=True):
            sums.add(x.astype(np.float32), y.astype(np.float32))
            sums._flush()
        found.append(sums.moments().ridged(stage.weight, 1e-2))
    formed, kept = found
    assert isinstance(kept.inputs, OfRows if 108 // group > 60 else Formed)
    np.testing.assert_allclose(kept.target(), formed.target(), atol=1e-6 * np.abs(formed.target()).max())
    for scheme in SCHEMES:
        if scheme.refuses(stage) is None:
            starts = [scheme.decompose(stage, moments) for moments in found]
            np.testing.assert_allclose(*[one.squared_error for one in starts], atol=1e-5)
            rank = tuple(min(2, full) for full in starts[0].full_rank)
            start = Factorization(starts[0].build(rank))
            fits = [refit(stage, start, moments, sweeps=1) for moments in found]
            errors = [formed.error(fit.dense().regrouped(group).weight) for fit in fits]
            assert errors[1] == pytest.approx(errors[0], rel=1e-2, abs=1e-3)
