"""Moments against numpy on the rows they were added up from."""

from __future__ import annotations

import dataclasses
import itertools
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor import Factorization, Stage, moment_sums, moments
from sepfactor.factor.moment_sums import MomentSums, MovedTargets
from sepfactor.factor.solving import roots, solve
from sepfactor.factor.statistics import Statistics, on_grid
from tests.factor.kinds import by_name, taken_by
from tests.factor.seen import Rows, correlated, rows_for
from tests.strategies import normal, seeds, stages, unpadded

LIVELY = st.one_of(stages(kernel=(1, 4)), stages(kernel=(1, 2), axes=3)).filter(
    lambda stage: bool(stage.weight.any())
)
"""Not zero, so that there is something to answer."""


def close(found: object, expected: object, tolerance: float = 1e-9) -> None:
    scale = float(np.abs(expected).max()) if np.size(expected) else 1.0  # type: ignore[call-overload]
    np.testing.assert_allclose(found, expected, atol=tolerance * (scale or 1.0), rtol=0)


def covariance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``(a, b)`` of rows ``(n, a)`` and ``(n, b)``."""
    return (one - one.mean(axis=0)).T @ (other - other.mean(axis=0)) / len(one)


def added(rows: Rows, cuts: list[int], dtype: type = np.float64) -> moments.Moments:
    """The moments of ``rows``, added in batches that end at ``cuts``."""
    sums = MomentSums(rows.x.shape[1:], rows.stage.group, rows.stage.out_channels, spread=True)
    for begin, end in pairwise([0, *sorted(cuts), len(rows.x)]):
        sums.add(rows.x[begin:end].astype(dtype), rows.y[begin:end].astype(dtype))
    return sums.moments()


def check(found: moments.Moments, rows: Rows, tolerance: float) -> None:
    for g, (x, y) in enumerate(zip(rows.blocks, rows.answers, strict=True)):
        close(found.covariance[g], covariance(x, x), tolerance)
        np.testing.assert_allclose(
            found.cross[g], covariance(y, x), rtol=0, atol=tolerance * (y.std() * x.std() + 1e-30) * 30
        )
    assert found.spread is not None
    for block, y in zip(found.spread, rows.answers, strict=True):
        close(block, covariance(y, y), tolerance)
    close(found.x_mean, rows.blocks.mean(axis=1), tolerance)
    close(found.y_mean, rows.y.mean(axis=0), tolerance)
    assert found.power == pytest.approx(float(rows.y.var(axis=0).sum()), rel=tolerance)
    assert found.count == len(rows.x)
    assert found.group == rows.stage.group
    assert found.kernel_shape == rows.stage.weight.shape[1:]


class TestSums:
    @given(st.data())
    def test_of_any_batches_are_those_of_all_rows(self, data: st.DataObject) -> None:
        rows = data.draw(correlated(data.draw(LIVELY)))
        cuts = data.draw(st.lists(st.integers(0, len(rows.x)), max_size=5))
        check(added(rows, cuts), rows, 1e-9)

    @pytest.mark.parametrize("batch", [1, 3, 64])
    def test_when_they_are_multiplied_in_between(self, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(moment_sums, "BATCH", batch)
        rows = rows_for(unpadded(normal(0, 4, 3, 3, 2), 2), 1)
        check(added(rows, list(range(0, 200, 7))), rows, 1e-9)

    @pytest.mark.parametrize("mean", [1e3, 1e5])
    def test_keep_their_digits_beside_a_large_mean(
        self, mean: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(moment_sums, "BATCH", 32)
        rows = rows_for(unpadded(normal(0, 4, 3, 3, 2)), 1, mean=mean)
        check(added(rows, [50, 90]), rows, 1e-8)

    @pytest.mark.parametrize("mean", [0.0, 100.0])
    @pytest.mark.parametrize("group", [1, 2])
    def test_in_single_precision(self, mean: float, group: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(moment_sums, "_SINGLE_FROM", 1)
        monkeypatch.setattr(moment_sums, "BATCH", 50)
        rows = rows_for(unpadded(normal(0, 4, 3, 3, 2), group), 1, mean=mean)
        check(added(rows, list(range(0, 200, 20)), np.float32), rows, 2e-4 if mean else 1e-5)

    def test_of_one_row(self) -> None:
        rows = rows_for(unpadded(normal(0, 4, 3, 3, 3)), 1, count=1)
        found = rows.moments()
        assert not found.covariance.any()
        assert not found.cross.any()
        assert found.power == 0
        assert found.error(rows.stage.weight) == 0
        close(found.bias(rows.stage.weight), rows.y[0] - rows.run(rows.stage.weight)[0])

    def test_of_none(self) -> None:
        found = MomentSums((3, 2, 2), 1, 4).moments()
        assert found.count == 0
        assert not found.covariance.any()
        assert np.isfinite(found.target()).all()


@given(st.data(), seeds)
def test_of_targets_that_moved_are_those_of_the_rows(data: st.DataObject, seed: int) -> None:
    rows = data.draw(correlated(data.draw(LIVELY)))
    move = normal(seed, *rows.y.shape).astype(np.float32)
    before = added(rows, [])
    moved = MovedTargets(before)
    for begin, end in pairwise([0, len(rows.x) // 3, len(rows.x)]):
        part = slice(begin, end)
        moved.add(rows.x[part].astype(np.float32), rows.y[part].astype(np.float32), move[part])
    found = moved.moments()
    check(found, dataclasses.replace(rows, y=rows.y + move), 1e-5)
    assert found.covariance is before.covariance


@given(st.data())
def test_loss_and_error_are_those_of_the_rows(data: st.DataObject) -> None:
    stage = data.draw(LIVELY)
    rows = data.draw(correlated(stage))
    found = rows.moments()
    weight = normal(data.draw(seeds), *stage.weight.shape)
    bias = normal(data.draw(seeds), stage.out_channels)
    missed = rows.y - rows.run(weight)
    spread = float(rows.y.var(axis=0).sum())
    assert found.loss(weight) == pytest.approx(float(missed.var(axis=0).sum()), rel=1e-6)
    assert found.error(weight) == pytest.approx(np.sqrt(missed.var(axis=0).sum() / spread), rel=1e-6)
    square = np.sum((missed - bias) ** 2) / len(missed)
    assert found.error(weight, bias) == pytest.approx(np.sqrt(square / spread), rel=1e-6)
    close(found.bias(weight), missed.mean(axis=0), 1e-8)


@given(st.data())
def test_no_other_bias_is_as_good(data: st.DataObject) -> None:
    stage = data.draw(LIVELY)
    found = data.draw(correlated(stage)).moments()
    weight = normal(data.draw(seeds), *stage.weight.shape)
    best = found.bias(weight)
    assert found.error(weight, best) == pytest.approx(found.error(weight), rel=1e-9)
    other = best + 0.1 * normal(data.draw(seeds), stage.out_channels)
    assert found.error(weight, other) > found.error(weight, best)


class TestTarget:
    @given(st.data())
    def test_is_that_of_least_squares(self, data: st.DataObject) -> None:
        stage = data.draw(LIVELY)
        rows = data.draw(correlated(stage, least=250))
        found = rows.moments().ridged(stage.weight, 0.0).target()
        assert found.shape == stage.weight.shape
        expected = np.concatenate(
            [
                np.linalg.lstsq(x - x.mean(axis=0), y - y.mean(axis=0), rcond=None)[0].T
                for x, y in zip(rows.blocks, rows.answers, strict=True)
            ]
        ).reshape(found.shape)
        close(rows.run(found), rows.run(expected), 1e-6)

    @given(st.data())
    def test_misses_less_than_any_other(self, data: st.DataObject) -> None:
        stage = data.draw(LIVELY)
        found = data.draw(correlated(stage)).moments()
        best = found.target()
        least = found.loss(best)
        assert least <= found.loss(stage.weight) + 1e-9 * found.power
        for scale in (1e-3, 1.0):
            other = best + scale * normal(data.draw(seeds), *best.shape)
            assert least <= found.loss(other) + 1e-9 * found.power

    @given(st.data())
    def test_pulled_hard_is_the_anchor(self, data: st.DataObject) -> None:
        stage = data.draw(LIVELY)
        found = data.draw(correlated(stage)).moments()
        close(found.ridged(stage.weight, 1e9).target(), stage.weight, 1e-5)

    @given(st.data())
    def test_is_pulled_towards_the_anchor_the_more_the_harder(self, data: st.DataObject) -> None:
        stage = data.draw(LIVELY)
        found = data.draw(correlated(stage)).moments()
        targets = [found.ridged(stage.weight, share).target() for share in (1e-4, 1e-2, 1.0, 100.0)]
        away = [float(np.linalg.norm(target - stage.weight)) for target in targets]
        losses = [found.loss(target) for target in targets]
        slack = 1e-9 * found.power
        assert all(near <= far + 1e-9 for far, near in pairwise(away))
        assert all(soft <= hard + slack for soft, hard in pairwise(losses))

    @given(st.data())
    def test_ridge_is_an_addition_to_the_loss(self, data: st.DataObject) -> None:
        stage = data.draw(LIVELY)
        found = data.draw(correlated(stage)).moments()
        share = data.draw(st.floats(0, 10))
        other = normal(data.draw(seeds), *stage.weight.shape)
        blocks = (other - stage.weight).reshape(found.group, -1)
        variance = np.trace(found.covariance, axis1=1, axis2=2) / found.covariance.shape[-1]
        expected = found.loss(other) + share * float(variance @ (blocks**2).sum(axis=1))
        ridged = found.ridged(stage.weight, share)
        assert ridged.loss(other) == pytest.approx(expected, rel=1e-9)
        assert ridged.error(other) >= 0
        close(ridged.bias(other), found.bias(other))

    @given(st.data())
    def test_ridge_is_as_rows_more_that_the_anchor_answers(self, data: st.DataObject) -> None:
        """One more for each entry of a patch, as far off as the ridge is strong."""
        stage = data.draw(LIVELY)
        rows = data.draw(correlated(stage))
        found, share = rows.moments(spread=True), data.draw(st.floats(0, 10))
        ridged = found.ridged(stage.weight, share)
        assert ridged.spread is not None
        anchor, n = found.split(stage.weight), len(rows.x)
        for g, (x, y) in enumerate(zip(rows.blocks, rows.answers, strict=True)):
            entries = x.shape[1]
            more = np.sqrt(n * share * x.var(axis=0).sum() / entries) * np.eye(entries)
            xs = np.concatenate([x - x.mean(axis=0), more])
            ys = np.concatenate([y - y.mean(axis=0), more @ anchor[g].T])
            close(ridged.covariance[g], xs.T @ xs / n, 1e-6)
            close(ridged.cross[g], ys.T @ xs / n, 1e-6)
            close(ridged.spread[g], ys.T @ ys / n, 1e-6)
        assert ridged.power == pytest.approx(float(np.einsum("goo->", ridged.spread)), rel=1e-6)


def test_error_is_never_negative_nor_undefined() -> None:
    """What rounding leaves of a perfect fit, and of outputs that never change."""
    stage = unpadded(normal(0, 4, 3, 3, 3))
    rows = rows_for(stage, 3, wrong=0.0)
    perfect = Rows(stage, rows.x, rows.run(stage.weight)).moments()
    assert 0 <= perfect.error(stage.weight) < 1e-7
    constant = Rows(stage, rows.x, np.ones_like(rows.y)).moments()
    assert np.isfinite(constant.error(stage.weight))
    assert constant.error(np.zeros_like(stage.weight)) == 0


class TestSlices:
    """Covariances of parts of the patches, averaged over where the part may be cut."""

    @pytest.fixture(params=[(1, (4, 2)), (2, (4, 2)), (1, (2, 3, 2)), (2, (2, 3, 1))], ids=str)
    def rows(self, request: pytest.FixtureRequest) -> Rows:
        group, kernel = request.param
        return rows_for(unpadded(normal(0, 4, 3, *kernel), group), 5)

    @staticmethod
    def mean_over(cuts: list[np.ndarray]) -> np.ndarray:
        """The mean covariance of several cuts ``(n, entries)``."""
        return np.mean([covariance(cut, cut) for cut in cuts], axis=0)

    def shaped(self, rows: Rows) -> np.ndarray:
        """``(group, n, in/group, *kernel)``."""
        return rows.blocks.reshape(rows.stage.group, len(rows.x), *rows.stage.weight.shape[1:])

    def cuts(self, x: np.ndarray, kept: tuple[int, ...]) -> list[np.ndarray]:
        """``(n, in/group · taps on kept)`` of every place on the other axes of the kernel."""
        others = [axis for axis in range(2, x.ndim) if axis - 2 not in kept]
        moved = np.moveaxis(x, others, range(len(others)))
        return [moved[place].reshape(len(x), -1) for place in np.ndindex(*moved.shape[: len(others)])]

    def test_strips(self, rows: Rows) -> None:
        axes = range(rows.stage.weight.ndim - 2)
        for count in range(len(axes) + 1):
            for kept in itertools.combinations(axes, count):
                for g, x in enumerate(self.shaped(rows)):
                    close(rows.moments().strips(kept)[g], self.mean_over(self.cuts(x, kept)))

    def test_channels(self, rows: Rows) -> None:
        for g, x in enumerate(self.shaped(rows)):
            close(rows.moments().channels()[g], self.mean_over(self.cuts(x, ())))

    def test_per_channel(self, rows: Rows) -> None:
        for g, x in enumerate(self.shaped(rows)):
            for i in range(x.shape[1]):
                taps = x[:, i].reshape(len(x), -1)
                close(rows.moments().per_channel()[g, i], covariance(taps, taps))

    def test_taps_on(self, rows: Rows) -> None:
        axes = range(rows.stage.weight.ndim - 2)
        for kept in ((axes[0],), (axes[-1],), tuple(axes[1:]), tuple(axes)):
            for g, x in enumerate(self.shaped(rows)):
                cuts = [cut for i in range(x.shape[1]) for cut in self.cuts(x[:, i : i + 1], kept)]
                close(rows.moments().taps_on(kept)[g], self.mean_over(cuts))

    def test_neighbours(self, rows: Rows) -> None:
        """Mean covariance of pixels side by side, on any axis, over their mean variance."""
        together, alone = [], []
        for x in self.shaped(rows):
            for axis in range(2, x.ndim):
                moved = np.moveaxis(x, axis, -1)
                pairs = [(moved[..., a], moved[..., a + 1]) for a in range(moved.shape[-1] - 1)]
                for one, other in pairs:
                    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
                    together.append((one * other).mean(axis=0).ravel())
            alone.append(x.var(axis=0).ravel())
        found = rows.moments().neighbour_correlation()
        assert found == pytest.approx(np.concatenate(together).mean() / np.concatenate(alone).mean())


class TestSolve:
    @given(st.integers(1, 12), st.integers(0, 12), seeds)
    def test_matrices_of_any_rank(self, size: int, rank: int, seed: int) -> None:
        factor = normal(seed, size, min(rank, size))
        matrix = factor @ factor.T
        right = matrix @ normal(seed, size, 3)
        found = solve(matrix, right)
        assert np.isfinite(found).all()
        close(matrix @ found, right, 1e-5)

    @pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e12])
    def test_does_not_mind_the_scale(self, scale: float) -> None:
        factor = normal(3, 8, 5)
        matrix = scale * factor @ factor.T
        right = matrix @ normal(4, 8, 2)
        close(matrix @ solve(matrix, right), right, 1e-5)

    @given(st.integers(2, 10), seeds)
    def test_directions_that_are_rounding_are_not_blown_up(self, size: int, seed: int) -> None:
        factor = normal(seed, size, size - 1)
        matrix = factor @ factor.T
        matrix += 1e-16 * np.trace(matrix) * np.eye(size)  # by luck every pivot may be above zero
        right = matrix @ normal(seed, size, 2) + 1e-13 * np.trace(matrix)
        known = np.linalg.pinv(factor @ factor.T, rcond=1e-13) @ right
        assert np.abs(solve(matrix, right)).max() < 1e3 * (1 + np.abs(known).max())

    def test_of_nothing_is_nothing(self) -> None:
        assert not solve(np.zeros((3, 3)), np.ones((3, 2))).any()
        assert np.isfinite(solve(-np.eye(3), np.ones((3, 2)))).all()


class TestRoots:
    @given(st.integers(1, 10), st.integers(0, 10), seeds)
    def test_are_inverse_to_each_other(self, size: int, rank: int, seed: int) -> None:
        factor = normal(seed, 2, size, min(rank, size))
        matrix = factor @ np.swapaxes(factor, -1, -2)
        root, inverse = roots(matrix)
        close(root @ inverse, np.broadcast_to(np.eye(size), root.shape), 1e-8)
        np.testing.assert_allclose(root, np.swapaxes(root, -1, -2), atol=1e-9)
        if rank:
            close(root @ root, matrix, 1e-5)  # but for what the floor lifts

    def test_of_nothing_is_the_identity(self) -> None:
        for found in roots(np.zeros((1, 3, 3))):
            np.testing.assert_array_equal(found[0], np.eye(3))


@given(st.data())
def test_statistics_give_the_moments_of_their_patches(data: st.DataObject) -> None:
    stage = data.draw(LIVELY)
    rows = data.draw(correlated(stage))
    bias = normal(1, stage.out_channels)
    seen = Statistics(rows.x.astype(np.float32))
    found = seen.moments(stage, bias)
    rounding = np.abs(found.y_mean).max() / np.sqrt(found.power)  # in float32, of answers beside their spread
    assert found.error(stage.weight, bias) < 1e-5 + 1e-7 * rounding
    close(found.bias(stage.weight), bias, 1e-3)
    head, tail = seen.parts(0.3)
    assert len(tail.patches) == round(0.3 * len(rows.x))
    np.testing.assert_array_equal(np.concatenate([head.patches, tail.patches]), seen.patches)


def test_a_few_patches_are_not_parted() -> None:
    one = Statistics(np.ones((1, 2, 3, 3), np.float32))
    assert one.parts() == (one, one)


@given(taken_by(by_name("trim")))
def test_a_trimmed_kernel_is_put_back_on_the_grid(stage: Stage) -> None:
    trimmed = Factorization(by_name("trim").decompose(stage).build(()))
    np.testing.assert_allclose(on_grid(stage, trimmed), stage.weight, atol=1e-6)
    np.testing.assert_array_equal(on_grid(stage, Factorization.of(stage)), stage.weight)


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("cuts", [[], [20, 41]])
def test_in_blocks_they_are_the_same(group: int, cuts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moment_sums, "_IN_BLOCKS_FROM", 1)
    stage = Stage(normal(0, 6, 10 // group, 3, 1), (1, 1), ((1, 1), (0, 0)), (1, 1), group)
    seen = rows_for(stage, 1, count=60)
    check(added(seen, cuts), seen, 1e-9)
