"""What ``beyond.py`` builds on: elimination is least squares, and bases of siblings are in order."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("PIL")

from beyond_channels import Problem, eliminated
from beyond_factors import FORMS, SHAPES, Reader, basis_of, pivot_model

from sepfactor.measure import OnnxRuntime


def problem(rng: np.random.Generator, taps: int = 4) -> Problem:
    """Of six channels, the last twice the first."""
    x = rng.normal(size=(900, 6, taps)).astype(np.float32)
    x[:, 5] = 2 * x[:, 0]
    weight = rng.normal(size=(3, 6, taps)).astype(np.float32)
    y = x.reshape(900, -1) @ weight.reshape(3, -1).T + 1
    return Problem(x, y, np.zeros_like(y), False, weight)


def test_a_channel_that_others_hold_goes_first_and_costs_nothing() -> None:
    one = problem(np.random.default_rng(0))
    kept = eliminated([one], {0: 1}, np.zeros(6, int))
    assert kept.sum() == 5
    assert not (kept[0] and kept[5])
    left = one.taken(kept)
    assert left.missed(*left.fitted(), slice(None)) < 1e-4


def test_what_elimination_leaves_is_least_squares_of_what_is_kept() -> None:
    one = problem(np.random.default_rng(1))
    found = []
    eliminated([one], {0: 3}, np.zeros(6, int), lambda kept, solved: found.append((kept, solved[0])))
    for kept, (weight, bias) in found:
        gram, right, mean, aim = one.normal(slice(None), 1e-3)
        there = np.repeat(kept, 4)
        wanted = right[:, there] @ np.linalg.inv(gram[np.ix_(there, there)])
        np.testing.assert_allclose(weight[:, there], wanted, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(bias, aim - wanted @ mean[there], rtol=1e-6, atol=1e-6)


def test_quotas_of_groups_are_kept_apart() -> None:
    group = np.array([0, 0, 0, 1, 1, 1])
    kept = eliminated([problem(np.random.default_rng(2))], {0: 2, 1: 1}, group)
    assert [int(kept[group == g].sum()) for g in (0, 1)] == [1, 2]


def test_a_basis_for_all_is_exact_at_full_rank_and_no_worse_with_every_row() -> None:
    rng = np.random.default_rng(3)
    roots = rng.normal(size=(20, 20))
    gram = (roots @ roots.T).reshape(5, 4, 5, 4)
    readers = [Reader(rng.normal(size=(outs, 5, 4)), gram) for outs in (3, 8)]
    basis = basis_of(readers)
    for reader in readers:
        missed = [reader.missed(basis[:rank]) for rank in range(1, 6)]
        assert missed[-1] == pytest.approx(0, abs=1e-6)
        assert np.all(np.diff(missed) < 1e-9)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("relu", [False, True])
def test_every_form_of_pivots_runs(form: str, relu: bool) -> None:
    shape = SHAPES[0]._replace(size=6)
    session = OnnxRuntime(threads=1).open(pivot_model(shape, form, relu))
    assert session.run({"x": np.ones((1, 32, 6, 6), np.float32)})[0].shape == (1, 32, 6, 6)
