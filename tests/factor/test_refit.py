"""Alternating least squares: it never gets worse, and leaves the structure as it is."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor import SCHEMES, Chain, Factorization, Scheme, Stage
from sepfactor.factor.features import Entries, Mixtures
from sepfactor.factor.moments import Moments
from sepfactor.factor.refit import can_refit, refit
from sepfactor.factor.statistics import on_grid
from tests.factor import naive
from tests.factor.kinds import by_name, ranks, taken_by, with_zero_border
from tests.factor.seen import correlated, exact_moments, rows_for, shapes_of
from tests.strategies import inputs, normal, seeds, stages, unpadded

RANKED = [scheme for scheme in SCHEMES if scheme.name != "trim"]
every_scheme = pytest.mark.parametrize("scheme", RANKED, ids=lambda scheme: scheme.name)


def loss(stage: Stage, moments: Moments, factorization: Factorization) -> float:
    """Share of the power that is missed."""
    return moments.loss(on_grid(stage, factorization)) / moments.power


def noisy(factorization: Factorization, seed: int, share: float) -> Factorization:
    """Every weight off by about ``share`` of it, zeros included."""
    rng = np.random.default_rng(seed)

    def shaken(stage: Stage) -> Stage:
        size = share * np.abs(stage.weight).mean()
        return replace(stage, weight=stage.weight + size * rng.standard_normal(stage.weight.shape))

    return Factorization(tuple(Chain(tuple(map(shaken, c.stages))) for c in factorization.chains))


@st.composite
def starts(draw: st.DrawFn, scheme: Scheme) -> tuple[Stage, Factorization, Moments]:
    stage = draw(taken_by(scheme))
    decomposition = scheme.decompose(stage)
    start = Factorization(decomposition.build(draw(ranks(decomposition.full_rank))))
    return stage, start, draw(correlated(stage)).moments()


@every_scheme
@given(st.data())
def test_more_sweeps_never_miss_more(scheme: Scheme, data: st.DataObject) -> None:
    stage, start, moments = data.draw(starts(scheme))
    assert can_refit(stage, start)
    found = [refit(stage, start, moments, sweeps=sweeps) for sweeps in (0, 1, 2, 4)]
    losses = [loss(stage, moments, one) for one in (start, *found)]
    assert all(after <= before + 1e-7 for before, after in pairwise(losses))


@given(taken_by(by_name("spatial-vertical")), seeds)
def test_entries_are_mixtures_of_one_entry_each(stage: Stage, seed: int) -> None:
    moments = rows_for(stage, seed).moments()
    inputs, size = moments.inputs.of_group(0), moments.inputs.entries
    places = np.random.default_rng(seed).permutation(size)[: max(1, size // 2)]
    entries, mixtures = Entries(places), Mixtures(np.eye(size)[places])
    post, theta, g = normal(seed, 5, 3), normal(seed + 1, 3, len(places)), normal(seed + 2, 5, size)
    totals = np.zeros((2, 5, size))
    for total, one in zip(totals, (entries, mixtures), strict=True):
        one.add(total, post, theta)
    for found, expected in (
        totals,
        (entries.back(post, g), mixtures.back(post, g)),
        (entries.covariance(inputs), mixtures.covariance(inputs)),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-9 * (1 + np.abs(expected).max()))


@every_scheme
@given(st.data())
def test_structure_and_geometry_stay(scheme: Scheme, data: st.DataObject) -> None:
    stage, start, moments = data.draw(starts(scheme))
    found = refit(stage, start, moments)
    assert shapes_of(found) == shapes_of(start)
    assert found.parameters == start.parameters + stage.out_channels
    x = data.draw(inputs(stage))
    assert naive.distance(naive.dense(found.chains), found.chains, x) < 1e-10


@every_scheme
@given(st.data())
def test_bias_is_the_best(scheme: Scheme, data: st.DataObject) -> None:
    stage, start, moments = data.draw(starts(scheme))
    found = refit(stage, start, moments, sweeps=0)
    assert found.bias is not None
    np.testing.assert_array_equal(found.bias, moments.bias(on_grid(stage, found)))


@every_scheme
@given(st.data())
def test_what_it_starts_from_is_left_as_it_was(scheme: Scheme, data: st.DataObject) -> None:
    stage, start, moments = data.draw(starts(scheme))
    before = [part.weight.copy() for part in start.stages]
    for array in (*(part.weight for part in start.stages), moments.covariance, moments.cross):
        array.flags.writeable = False
    refit(stage, start, moments)
    for part, weight in zip(start.stages, before, strict=True):
        np.testing.assert_array_equal(part.weight, weight)


@every_scheme
def test_the_same_twice(scheme: Scheme) -> None:
    stage = unpadded(normal(1, 6, 1, 4, 4), 6) if "separable" in scheme.name else STAGE
    start = Factorization(scheme.decompose(stage).build((2,) * len(scheme.decompose(stage).full_rank)))
    moments = rows_for(stage, 1).moments()
    once, again = (refit(stage, start, moments) for _ in range(2))
    for one, other in zip(once.stages, again.stages, strict=True):
        np.testing.assert_array_equal(one.weight, other.weight)


@every_scheme
@given(st.data())
def test_on_white_inputs_full_rank_stays_exact(scheme: Scheme, data: st.DataObject) -> None:
    stage = data.draw(taken_by(scheme).filter(lambda stage: stage.weight.any()))
    d = stage.weight[0].size
    white = exact_moments(stage, np.broadcast_to(np.eye(d), (stage.group, d, d)), stage.weight)
    decomposition = scheme.decompose(stage)
    found = refit(stage, Factorization(decomposition.build(decomposition.full_rank)), white)
    np.testing.assert_allclose(on_grid(stage, found), stage.weight, atol=1e-6 * np.abs(stage.weight).max())
    np.testing.assert_allclose(found.bias, 0, atol=1e-12)


STAGE = unpadded(normal(0, 8, 6, 3, 3))
GROUPED = unpadded(normal(0, 8, 4, 3, 3), 2)
DEPTHWISE = unpadded(normal(0, 6, 1, 4, 4), 6)


@pytest.mark.parametrize(
    ("scheme", "stage"),
    [
        (s, stage)
        for s in RANKED
        for stage in (STAGE, GROUPED, DEPTHWISE)
        if s.refuses(stage) is None and s.name != "hybrid"
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_finds_a_planted_factorization_again(scheme: Scheme, stage: Stage) -> None:
    """The target is a factorization of the same form, and the start is it with errors."""
    rank = (2,) * len(scheme.decompose(stage).full_rank)
    planted = Factorization(scheme.decompose(stage).build(rank))
    target = on_grid(stage, planted)
    moments = exact_moments(stage, rows_for(stage, 2, count=400).moments().covariance, target)
    start = noisy(planted, 3, 0.1)
    before = loss(stage, moments, start)
    found = refit(stage, start, moments, sweeps=60)
    assert before > 1e-3
    assert loss(stage, moments, found) < 1e-4 * before


@pytest.mark.parametrize("stage", [STAGE, GROUPED], ids=["dense", "grouped"])
def test_the_last_stages_alone_are_solved_for_exactly(stage: Stage) -> None:
    """Against least squares on the features of the rows, the stages before taken as they are."""
    rows = rows_for(stage, 4, count=300)
    start = Factorization(by_name("depthwise-pointwise").decompose(stage).build((2,)))
    found = refit(stage, start, rows.moments(), sweeps=0)
    ins = stage.weight.shape[1]
    features = []  # (n, group, in/group · terms): every depthwise tap sum of every term
    for chain in start.chains:
        depthwise = chain.stages[0].weight[:, 0]
        features.append(np.einsum("ncpq,cpq->nc", rows.x, depthwise).reshape(-1, stage.group, ins))
    z = np.concatenate(features, axis=2)
    missed = 0.0
    for g, y in enumerate(rows.answers):
        zg, yg = z[:, g] - z[:, g].mean(axis=0), y - y.mean(axis=0)
        missed += np.sum((yg - zg @ np.linalg.lstsq(zg, yg, rcond=None)[0]) ** 2) / len(yg)
    assert rows.moments().loss(on_grid(stage, found)) == pytest.approx(missed, rel=1e-8)


class TestHybrids:
    """Chains of different forms in one sum."""

    @staticmethod
    def of(stage: Stage, names: dict[str, tuple[int, ...]]) -> Factorization:
        """Each fitted to what those before it left."""
        chains: list[Chain] = []
        left = stage
        for name, rank in names.items():
            chains += by_name(name).decompose(left).build(rank)
            left = replace(stage, weight=stage.weight - on_grid(stage, Factorization(tuple(chains))))
        return Factorization(tuple(chains))

    @pytest.mark.parametrize("stage", [STAGE, GROUPED], ids=["dense", "grouped"])
    @pytest.mark.parametrize(
        "parts",
        [
            {"depthwise-pointwise": (1,), "spatial-vertical": (2,)},
            {"spatial-horizontal": (2,), "pointwise-depthwise": (1,)},
            {"channel-out": (2,), "depthwise-pointwise": (1,)},
            {"tucker2": (2, 2), "spatial-vertical": (2,)},
            {"asymmetric-3d": (2, 2), "channel-in": (1,), "depthwise-pointwise": (1,)},
        ],
        ids=lambda parts: " + ".join(parts),
    )
    def test_miss_less_than_either_part(self, stage: Stage, parts: dict[str, tuple[int, ...]]) -> None:
        moments = rows_for(stage, 6, count=400).moments()
        start = self.of(stage, parts)
        assert can_refit(stage, start)
        found = [refit(stage, start, moments, sweeps=sweeps) for sweeps in (0, 1, 3)]
        losses = [loss(stage, moments, one) for one in (start, *found)]
        assert all(after <= before + 1e-9 for before, after in pairwise(losses))
        assert shapes_of(found[-1]) == shapes_of(start)
        for name, rank in parts.items():
            alone = Factorization(by_name(name).decompose(stage).build(rank))
            assert losses[1] <= loss(stage, moments, alone) + 1e-9
            first = next(iter(parts)) == name
            if first:  # the sum begins where this one ends
                fitted = refit(stage, alone, moments, sweeps=0)
                assert losses[1] <= loss(stage, moments, fitted) + 1e-9

    def test_lose_nothing_where_one_part_is_exact(self) -> None:
        start = self.of(STAGE, {"spatial-vertical": (18,), "depthwise-pointwise": (1,)})
        target = exact_moments(STAGE, rows_for(STAGE, 2, count=400).moments().covariance, STAGE.weight)
        assert loss(STAGE, target, refit(STAGE, start, target)) < 1e-8


class TestWhatItLeavesAlone:
    @given(stages(("dense", "grouped"), kernel=(3, 4)), seeds)
    def test_trimmed_kernels_get_a_bias_and_nothing_else(self, stage: Stage, seed: int) -> None:
        stage = with_zero_border(replace(stage, pads=((3, 3), (3, 3))))
        trim = by_name("trim")
        if trim.refuses(stage):
            return
        start = Factorization(trim.decompose(stage).build(()))
        assert not can_refit(stage, start)
        rows = rows_for(stage, seed)
        found = refit(stage, start, rows.moments())
        assert found.chains is start.chains
        assert found.bias is not None
        missing = rows.y - rows.run(stage.weight) - found.bias
        np.testing.assert_allclose(missing.mean(axis=0), 0, atol=1e-5)

    def test_kernels_that_two_stages_share(self) -> None:
        """5×5 as 3×3 behind 3×3 is a chain, but not linear in a stage at one tap."""
        wide = unpadded(normal(0, 4, 3, 5, 5))
        chain = Chain((unpadded(normal(1, 2, 3, 3, 3)), unpadded(normal(2, 4, 2, 3, 3))))
        found = refit(wide, Factorization((chain,)), rows_for(wide, 1).moments())
        assert not can_refit(wide, Factorization((chain,)))
        assert found.chains == (chain,)
        assert found.bias is not None


@every_scheme
@pytest.mark.parametrize("blank", [np.s_[:, 0], np.s_[:], np.s_[..., 0], np.s_[1:]], ids=str)
def test_what_was_never_seen_stays_finite(scheme: Scheme, blank: object) -> None:
    stage = DEPTHWISE if "separable" in scheme.name else STAGE
    rows = rows_for(stage, 8, count=50)
    rows.x[blank] = 0.0  # type: ignore[index]
    moments = rows.moments()
    start = Factorization(scheme.decompose(stage).build((2,) * len(scheme.decompose(stage).full_rank)))
    found = refit(stage, start, moments, sweeps=3)
    for part in found.stages:
        assert np.isfinite(part.weight).all()
        assert np.abs(part.weight).max() < 1e6
    assert loss(stage, moments, found) <= loss(stage, moments, start) + 1e-7


@every_scheme
@given(st.integers(2, 6), seeds)
def test_of_fewer_rows_than_weights_the_start_is_a_floor(scheme: Scheme, count: int, seed: int) -> None:
    """Least squares have endless solutions then; many sweeps must not wander off among them."""
    stage = DEPTHWISE if "separable" in scheme.name else STAGE
    moments = rows_for(stage, seed, count=count).moments()
    decomposition = scheme.decompose(stage)
    start = Factorization(decomposition.build((2,) * len(decomposition.full_rank)))
    found = refit(stage, start, moments, sweeps=8)
    assert loss(stage, moments, found) <= loss(stage, moments, start) + 1e-12
    assert max(np.abs(part.weight).max() for part in found.stages) < 1e6
