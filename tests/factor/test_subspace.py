"""Low-rank and Tucker approximation against ``numpy.linalg.svd``."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor.covariance import Formed
from sepfactor.factor.stage import Array
from sepfactor.factor.subspace import LowRank, Tucker, balanced, leading, remembered
from tests.strategies import normal, seeds, weights

matrices = st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8)).flatmap(weights)
tensors = st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 4), st.integers(1, 5)).flatmap(
    weights
)


def _tails(matrix: Array) -> Array:
    """Energy left out at every rank, over a stack: what no approximation can do better than."""
    squares = np.linalg.svd(matrix, compute_uv=False) ** 2
    per_rank = squares.reshape(-1, squares.shape[-1]).sum(axis=0)
    return np.array([per_rank[r:].sum() for r in range(per_rank.size + 1)])


@given(matrices)
def test_low_rank_is_as_good_as_the_svd_at_every_rank(matrix: Array) -> None:
    low, tails = LowRank.of(matrix), _tails(matrix)
    whole = tails[0] or 1.0
    np.testing.assert_allclose(low.squared_error(), tails / whole, atol=1e-13)
    for rank in range(1, tails.size):
        left, right = low.factors(rank)
        assert left.shape == (*matrix.shape[:-1], rank)
        assert right.shape == (matrix.shape[0], rank, matrix.shape[2])
        left_out = np.sum((matrix - left @ right) ** 2)
        assert left_out / whole == pytest.approx(tails[rank] / whole, abs=1e-13)


@given(matrices, st.integers(1, 8), seeds)
def test_of_many_answers_the_way_by_the_inputs_finds_the_same(matrix: Array, samples: int, seed: int) -> None:
    n = matrix.shape[-1]
    seen = normal(seed, n, samples)
    covariance = seen @ seen.T + 1e-3 * np.eye(n)
    tall = np.concatenate([matrix, matrix + 1.0, 2.0 - matrix], axis=-2)
    usual = LowRank.seen_through(tall, Formed(covariance))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sepfactor.factor.subspace._MANY", 1)
        other = LowRank.seen_through(tall, Formed(covariance))
    np.testing.assert_allclose(other.squared_error()[: n + 1], usual.squared_error()[: n + 1], atol=1e-9)
    left, right = other.factors(min(tall.shape[-2:]))
    np.testing.assert_allclose(left @ right, tall, atol=1e-9 * (1 + np.abs(tall).max()))


@given(matrices)
def test_a_smaller_rank_is_a_prefix_of_a_larger_one(matrix: Array) -> None:
    low = LowRank.of(matrix)
    left, right = low.factors(min(matrix.shape[-2:]))
    for rank in range(1, min(matrix.shape[-2:])):
        short_left, short_right = low.factors(rank)
        size = np.abs(matrix).max() or 1.0
        np.testing.assert_allclose(
            short_left @ short_right, left[..., :rank] @ right[..., :rank, :], atol=1e-13 * size
        )


@given(matrices)
def test_transposing_exchanges_the_factors(matrix: Array) -> None:
    swapped = np.swapaxes(matrix, -1, -2)
    np.testing.assert_allclose(
        LowRank.of(matrix).squared_error(), LowRank.of(swapped).squared_error(), atol=1e-13
    )


@given(matrices)
def test_leading_vectors_are_orthonormal_and_values_fall(matrix: Array) -> None:
    found = leading(matrix)
    vectors, squares = found.vectors, found.energy
    identity = np.swapaxes(vectors, -1, -2) @ vectors
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(matrix.shape[1]), identity.shape), atol=1e-12)
    assert np.all(squares >= 0)
    assert np.all(np.diff(squares, axis=-1) <= 0)
    np.testing.assert_allclose(squares.sum(), np.sum(matrix**2), atol=1e-12)


def test_of_a_large_gram_vectors_are_found_once_they_are_asked_for() -> None:
    """And are those of the values, whatever was asked for first."""
    matrix = normal(0, 2, 300, 310) * 0.98 ** np.arange(310)
    with remembered(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("scipy.linalg.eigh", None)
        found = leading(matrix)
        np.testing.assert_allclose(
            LowRank.of(matrix).squared_error(), _tails(matrix) / np.sum(matrix**2), atol=1e-13
        )
        patch.undo()
        assert leading(matrix) is found
        turned = np.swapaxes(found.vectors, -1, -2) @ matrix
    gram = turned @ np.swapaxes(turned, -1, -2)
    expected = found.energy[..., None] * np.eye(300)
    np.testing.assert_allclose(gram, expected, atol=1e-12 * found.energy.max())


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), seeds, st.integers(-12, 12))
def test_balanced_factors_have_equal_norms_and_the_same_product(
    m: int, n: int, r: int, seed: int, exponent: int
) -> None:
    left, right = 10.0**exponent * normal(seed, 2, m, r), normal(seed + 1, 2, r, n)
    one, other = balanced(left, right)
    np.testing.assert_allclose(one @ other, left @ right, atol=1e-12 * 10.0**exponent)
    np.testing.assert_allclose(np.linalg.norm(one, axis=-2), np.linalg.norm(other, axis=-1), rtol=1e-12)


def test_balancing_leaves_dead_channels_alone() -> None:
    left, right = np.ones((3, 2)), np.ones((2, 3))
    left[:, 0] = 0
    right[1] = 0
    one, other = balanced(left, right)
    np.testing.assert_array_equal(one, left)
    np.testing.assert_array_equal(other, right)


@given(tensors)
def test_tucker_lies_between_the_worse_mode_and_both_together(tensor: Array) -> None:
    stack, a, c, b = tensor.shape
    tucker = Tucker.of(tensor)
    errors = tucker.squared_error()
    whole = np.sum(tensor**2) or 1.0
    # min(a, c·b) singular values: ranks beyond leave nothing out.
    first = _padded(_tails(tensor.reshape(stack, a, c * b)) / whole, a)
    last = _padded(_tails(tensor.reshape(stack, a * c, b)) / whole, b)
    assert errors.shape == (a + 1, b + 1)
    for r, s in itertools.product(range(1, a + 1), range(1, b + 1)):
        assert max(first[r], last[s]) - 1e-13 <= errors[r, s] <= first[r] + last[s] + 1e-13
    np.testing.assert_allclose(errors[:, b], first, atol=1e-13)
    np.testing.assert_allclose(errors[a, :], last, atol=1e-13)


def _padded(tails: Array, most: int) -> Array:
    return np.append(tails, np.zeros(most + 1 - tails.size))


@given(tensors, st.data())
def test_tucker_promises_what_its_factors_leave_out(tensor: Array, data: st.DataObject) -> None:
    _, a, c, b = tensor.shape
    rank = data.draw(st.tuples(st.integers(1, a), st.integers(1, b)))
    tucker = Tucker.of(tensor)
    first, core, last = tucker.factors(rank)
    assert core.shape[1:] == (rank[0], c, rank[1])
    rebuilt = np.einsum("gar,grcs,gsb->gacb", first, core, last)
    left_out = np.sum((tensor - rebuilt) ** 2) / (np.sum(tensor**2) or 1.0)
    assert tucker.squared_error()[rank] == pytest.approx(left_out, abs=1e-13)


@given(seeds, st.integers(-12, 12))
def test_the_scale_of_a_tucker_core_is_shared_by_its_factors(seed: int, exponent: int) -> None:
    """All three grow with the cube root of the kernel, so that float16 holds them if it can."""
    tensor = normal(seed, 2, 5, 4, 6)
    plain = Tucker.of(tensor).factors((3, 4))
    scaled = Tucker.of(tensor * 10.0**exponent).factors((3, 4))
    for small, large in zip(plain, scaled, strict=True):
        grown = np.linalg.norm(large) / np.linalg.norm(small)
        assert grown == pytest.approx(10 ** (exponent / 3), rel=1e-9)


def test_an_empty_kernel_has_no_error_at_any_rank() -> None:
    assert not LowRank.of(np.zeros((4, 5))).squared_error().any()
    assert not Tucker.of(np.zeros((4, 3, 5))).squared_error().any()


@given(seeds)
def test_what_lies_under_float32_is_still_told_apart(seed: int) -> None:
    """A singular value 1e-6 of the largest is seen at its size, well below float32 weights."""
    u, _ = np.linalg.qr(normal(seed, 12, 12))
    v, _ = np.linalg.qr(normal(seed + 1, 12, 12))
    spectrum = np.array([1.0] * 4 + [1e-6] + [0.0] * 7)
    errors = LowRank.of(u * spectrum @ v).squared_error() ** 0.5
    assert errors[4] == pytest.approx(1e-6 / 2, rel=0.05)
    assert errors[5] < 1e-7
