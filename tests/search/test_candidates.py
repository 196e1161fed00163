"""Candidates are cheaper than the layer, as good as they claim, and the cheapest that will do."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sepfactor.factor import (
    SCHEMES,
    Decomposition,
    Factorization,
    Rank,
    Scheme,
    Stage,
    Statistics,
    select_schemes,
    weight_error,
)
from sepfactor.factor.stage import Ints
from sepfactor.search.candidate import Factorized
from sepfactor.search.candidates import propose
from sepfactor.search.dense_layer import DenseLayer
from sepfactor.search.ranks import MacsByRank, RankSearch, energy_ranks, ranks
from sepfactor.text import rank_text
from tests.factor.kinds import taken_by, with_zero_border
from tests.strategies import normal, same, seeds, sizes, stages, unpadded

every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)

EPSILON = float(np.finfo(np.float32).eps)


def layer_of(stage: Stage, size: Ints | None = None, seed: int = 0, samples: int = 200) -> DenseLayer:
    """``stage`` on white noise; maps of 12 pixels on each axis if not said."""
    size = size or (12,) * len(stage.axes)
    patches = normal(seed, samples, stage.in_channels, *stage.kernel_shape).astype(np.float32)
    return DenseLayer(stage, normal(seed, stage.out_channels), size, Statistics(patches), EPSILON)


@st.composite
def layers(draw: st.DrawFn, scheme: Scheme) -> DenseLayer:
    stage = draw(taken_by(scheme))
    return layer_of(stage, draw(sizes(stage)), draw(seeds))


def wide(outs: int, ins: int, kernel: Ints = (3, 3), group: int = 1, seed: int = 0) -> Stage:
    """At stride 1, padded to keep the size; the energy falls off along every mode."""
    weight = normal(seed, outs, ins // group, *kernel)
    for axis, length in enumerate(weight.shape):
        decay = 0.85 ** np.arange(length) if axis < 2 else 0.3 ** np.arange(length)
        mixing, _ = np.linalg.qr(normal(seed + axis, length, length))
        weight = np.moveaxis(np.tensordot(mixing * decay, weight, axes=(1, axis)), 0, axis)
    return same(unpadded(weight, group))


def all_ranks(decomposition: Decomposition) -> list[Rank]:
    return list(itertools.product(*(range(1, full + 1) for full in decomposition.full_rank)))


def macs_of(factorization: Factorization, size: Ints) -> int:
    """Counted from the shapes alone: entries of every kernel times pixels of every map it writes."""
    total = 0
    for chain in factorization.chains:
        at = size
        for stage in chain.stages:
            at = stage.output_size(at)
            total += math.prod(stage.weight.shape) * math.prod(at)
    return total


def check(candidate: Factorized, layer: DenseLayer) -> None:
    """What a candidate says of itself is true."""
    assert candidate.macs == macs_of(candidate.factorization, layer.size) < layer.macs
    assert candidate.factorization.bias is layer.bias
    kept = weight_error(layer.stage, candidate.factorization)  # in the type of the file
    assert candidate.weight_error == pytest.approx(kept, abs=1e-6)
    same_patches = layer.stage if candidate.scheme == "trim" else candidate.factorization.dense()
    right, other = (layer.statistics.outputs(s.weight, s.group) for s in (layer.stage, same_patches))
    spread = np.linalg.norm(right - right.mean(axis=0))
    if spread > 1e-3:
        found = np.linalg.norm(other - right) / spread
        assert abs(candidate.output_error - found) < 1e-4
    assert candidate.scheme in candidate.label
    assert rank_text(candidate.rank) in candidate.label


@every_scheme
@given(st.data())
def test_macs_at_every_rank_are_those_of_the_chains_built(scheme: Scheme, data: st.DataObject) -> None:
    stage = data.draw(taken_by(scheme))
    size = data.draw(sizes(stage))
    decomposition = scheme.decompose(stage)
    macs = MacsByRank(decomposition, size)
    for rank in all_ranks(decomposition):
        assert macs(rank) == macs_of(Factorization(decomposition.build(rank)), size)


@every_scheme
@given(st.data())
def test_the_front_is_what_nothing_beats(scheme: Scheme, data: st.DataObject) -> None:
    search = RankSearch(data.draw(layers(scheme)), scheme)
    front = search.front()
    errors = [float(search.decomposition.squared_error[rank]) for rank in front]
    costs = [search.macs(rank) for rank in front]
    assert all(a > b for a, b in itertools.pairwise(errors))
    assert all(a < b for a, b in itertools.pairwise(costs))
    stage, limit = search.layer.stage, search.layer.macs
    on_grid = [rank for rank in ranks(search.decomposition, stage) if search.macs(rank) < limit]
    assert set(front) <= set(on_grid)
    for rank in on_grid:
        error, cost = float(search.decomposition.squared_error[rank]), search.macs(rank)
        assert any(e <= error and c <= cost for e, c in zip(errors, costs, strict=True))


def affordable(search: RankSearch) -> list[Factorized]:
    return [search.candidate(rank) for rank in search.front()]


@every_scheme
@given(st.data())
def test_within_an_error_the_cheapest_is_found(scheme: Scheme, data: st.DataObject) -> None:
    layer = data.draw(layers(scheme))
    search = RankSearch(layer, scheme)
    front = affordable(search)
    limits = [0.0, 1e9, data.draw(st.floats(0, 1)), *(c.output_error for c in front)]
    best_error = front[-1].output_error if front else math.inf
    for limit in limits:
        best, nearest = search.within(limit)
        if not front:
            assert best is nearest is None
            continue
        assert nearest is not None
        if best is None:
            assert not front[-1].exact
            assert nearest.rank == front[-1].rank
            assert best_error > limit
            continue
        check(best, layer)
        if front[-1].exact:
            good = [c for c in front if c.exact or c.output_error == 0]
            assert best.exact or best.output_error == 0
        else:
            good = [c for c in front if c.exact or c.output_error <= limit]
            assert best.output_error <= limit
        at = [c.rank for c in front].index(best.rank)
        assert at == 0 or front[at - 1].rank not in {c.rank for c in good}
        falling = all(a.output_error >= b.output_error for a, b in itertools.pairwise(front))
        if falling:  # on other data than white noise it need not be, for the front is of the weights
            assert best.macs == min(c.macs for c in good)


@every_scheme
@given(st.data())
def test_candidates_cost_less_than_the_layer_or_there_is_a_reason(
    scheme: Scheme, data: st.DataObject
) -> None:
    layer = data.draw(layers(scheme))
    asked = data.draw(
        st.one_of(
            st.fixed_dictionaries({"rank": st.integers(1, 20), "max_error": st.none()}),
            st.fixed_dictionaries({"rank": st.none(), "max_error": st.floats(0, 1)}),
        )
    )
    proposal = propose(layer, [scheme], **asked)
    for candidate in proposal.candidates:
        check(candidate, layer)
    assert bool(proposal.candidates) != bool(proposal.reason)
    if proposal.reason:
        assert len(str(proposal.reason).split()) >= 4


@given(stages(), st.one_of(st.none(), st.integers(1, 6)), st.floats(0, 1))
def test_all_schemes_together(stage: Stage, rank: int | None, max_error: float) -> None:
    layer = layer_of(stage, (16, 16))
    proposal = propose(layer, SCHEMES, rank=rank, max_error=None if rank else max_error)
    alone = [propose(layer, [s], rank=rank, max_error=None if rank else max_error) for s in SCHEMES]
    single = [c for p in alone for c in p.candidates]
    assert {c.label for c in proposal.candidates} == {c.label for c in single}
    keys = [(not c.exact, c.output_error if rank else c.macs) for c in proposal.candidates]
    assert keys == sorted(keys)
    if not proposal.candidates:
        assert len(str(proposal.reason).split()) >= 3


LAYER = wide(64, 48)


@pytest.mark.parametrize(
    ("name", "asked", "found"),
    [
        ("spatial-vertical", 1, (16,)),
        ("spatial-vertical", 16, (16,)),
        ("spatial-vertical", 17, (32,)),
        ("channel-out", 20, (32,)),
        ("channel-in", 33, None),  # 48 is the full rank, and costs more than the layer
        ("tucker2", 16, (16, 16)),
        ("tucker2", 20, (32, 32)),
        ("asymmetric-3d", 17, (32, 32)),
        ("depthwise-pointwise", 1, (1,)),
        ("depthwise-pointwise", 3, (3,)),
        ("pointwise-depthwise", 5, (5,)),
        ("depthwise-pointwise", 32, None),  # there are nine terms at most
    ],
)
def test_widths_are_rounded_up_to_the_block_grid(name: str, asked: int, found: Rank | None) -> None:
    proposal = propose(layer_of(LAYER), select_schemes([name]), rank=asked, max_error=None)
    if found is None:
        assert proposal.candidates == ()
        assert f"rank {asked}" in str(proposal.reason)
    else:
        (candidate,) = proposal.candidates
        assert candidate.rank == found


GRIDS = {
    "wide": (wide(64, 48), 16),
    "few inputs": (wide(64, 12), 1),
    "few outputs": (wide(8, 64), 1),
    "narrow groups": (wide(64, 64, group=8), 1),
}


@pytest.mark.parametrize(("stage", "step"), GRIDS.values(), ids=GRIDS.keys())
def test_narrow_layers_have_no_grid(stage: Stage, step: int) -> None:
    for scheme in SCHEMES:
        if scheme.refuses(stage) is not None:
            continue
        decomposition = scheme.decompose(stage)
        found = list(ranks(decomposition, stage))
        for axis, (full, is_width) in enumerate(
            zip(decomposition.full_rank, decomposition.widths, strict=True)
        ):
            wanted = step if is_width and full >= 16 else 1
            assert sorted({rank[axis] for rank in found}) == list(range(wanted, full + 1, wanted))


@pytest.mark.parametrize("max_error", [0.03, 0.1, 0.3])
def test_on_a_real_sized_layer_every_rank_was_weighed(max_error: float) -> None:
    """All ranks of all schemes, tried one by one, find nothing cheaper."""
    layer = layer_of(wide(32, 32))
    found = {c.scheme: c for c in propose(layer, SCHEMES, rank=None, max_error=max_error).candidates}
    assert found
    for scheme in SCHEMES:
        if scheme.refuses(layer.stage) is not None:
            continue
        search = RankSearch(layer, scheme)
        every = [
            search.candidate(rank)
            for rank in ranks(search.decomposition, layer.stage)
            if search.macs(rank) < layer.macs
        ]
        good = [c.macs for c in every if c.output_error <= max_error]
        if scheme.name not in found:
            assert not good
            continue
        assert found[scheme.name].output_error <= max_error
        # The front is of the errors of weights, which on noise rank nearly as those of outputs do.
        assert found[scheme.name].macs <= min(good) * (1.2 if len(search.decomposition.widths) > 1 else 1)


def planted(scheme: Scheme, width: int) -> Stage:
    """A layer, in float32, that is exactly of this width and of one term in ``scheme``."""
    kernel = (3, 3, 3) if scheme.name.endswith("-last") else (5, 5)
    stage = wide(32, 32, kernel, 32 if scheme.name.startswith("separable") else 1)
    if scheme.name == "trim":
        return with_zero_border(stage)
    decomposition = scheme.decompose(stage)
    chains = decomposition.build(tuple(width if is_width else 1 for is_width in decomposition.widths))
    weight = Factorization(chains).dense().weight.astype(np.float32)
    return replace(stage, weight=weight.astype(np.float64))


@pytest.mark.parametrize(
    "scheme",
    [s for s in SCHEMES if s.name != "hybrid"],  # the SVD of a sum does not give its summands back
    ids=lambda scheme: scheme.name,
)
def test_exactly_low_rank_kernels_are_lossless_whatever_the_data(scheme: Scheme) -> None:
    stage = planted(scheme, 3)
    expected = tuple(16 if is_width else 1 for is_width in scheme.decompose(stage).widths)
    for seed, samples in ((0, 200), (1, 3), (2, 1)):
        for max_error in (0.0, 0.5):
            layer = layer_of(stage, seed=seed, samples=samples)
            (candidate,) = propose(layer, [scheme], rank=None, max_error=max_error).candidates
            check(candidate, layer)
            assert candidate.exact
            assert candidate.rank == expected
            assert candidate.weight_error < 1e-6
            assert candidate.output_error < 1e-5


def test_a_lossless_rank_is_preferred_to_a_cheaper_lossy_one() -> None:
    stage = planted(by("spatial-vertical"), 20)  # on the grid that is 32
    search = RankSearch(layer_of(stage), by("spatial-vertical"))
    assert search.candidate((16,)).output_error < 0.9
    for max_error in (0.0, 0.9):
        best, _ = search.within(max_error)
        assert best is not None
        assert best.exact
        assert best.rank == (32,)


@every_scheme
def test_a_kernel_of_zeros_takes_the_least_rank(scheme: Scheme) -> None:
    stage = planted(scheme, 3)
    layer = layer_of(replace(stage, weight=np.zeros_like(stage.weight)))
    if scheme.refuses(layer.stage) is None:
        (candidate,) = propose(layer, [scheme], rank=None, max_error=0.0).candidates
        assert candidate.exact
        assert len(RankSearch(layer, scheme).front()) == 1


def by(name: str) -> Scheme:
    (scheme,) = select_schemes([name])
    return scheme


SOBEL = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
GAUSS = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


@pytest.mark.parametrize("kernel", [SOBEL, SOBEL.T, GAUSS], ids=["sobel", "sobel across", "gauss"])
def test_fixed_filters_are_found_without_loss(kernel: np.ndarray) -> None:
    depthwise = same(replace(wide(8, 8, kernel.shape, 8), weight=np.tile(kernel, (8, 1, 1, 1))))
    (best, *_) = propose(layer_of(depthwise), SCHEMES, rank=None, max_error=0.0).candidates
    assert best.exact
    assert best.scheme in ("separable-depthwise", "trim")
    gray = same(replace(wide(1, 1, kernel.shape), weight=kernel[None, None]))
    spatial = propose(layer_of(gray), select_schemes(["spatial"]), rank=None, max_error=0.0)
    assert {c.rank for c in spatial.candidates} == {(1,)}
    assert all(c.exact for c in spatial.candidates)


def test_lossless_ones_come_first() -> None:
    stage = planted(by("spatial-vertical"), 3)
    proposal = propose(layer_of(stage), SCHEMES, rank=None, max_error=0.9)
    exact = [c.exact for c in proposal.candidates]
    assert exact[0]
    assert exact == sorted(exact, reverse=True)
    assert min(c.macs for c in proposal.candidates if not c.exact) < proposal.candidates[0].macs


def test_a_kernel_without_structure_is_kept_with_a_reason() -> None:
    noise = replace(wide(32, 32), weight=normal(0, 32, 32, 3, 3))
    proposal = propose(layer_of(noise), SCHEMES, rank=None, max_error=1e-3)
    assert proposal.candidates == ()
    assert "0.001" in str(proposal.reason)
    assert any(scheme.name in str(proposal.reason) for scheme in SCHEMES)
    ranked = propose(layer_of(noise), SCHEMES, rank=100, max_error=None)
    assert str(ranked.reason) == "no scheme of the rank asked for costs fewer multiplications (rank 100)"


def test_reasons_of_refusal_are_handed_on() -> None:
    pointwise = wide(32, 32, (1, 1))
    reason = propose(layer_of(pointwise), select_schemes(["tucker2"]), rank=None, max_error=0.1).reason
    assert reason == by("tucker2").refuses(pointwise)
    reason = propose(layer_of(wide(8, 8, (1, 1), 8)), SCHEMES, rank=None, max_error=0.1).reason
    assert reason in [scheme.refuses(wide(8, 8, (1, 1), 8)) for scheme in SCHEMES]


def test_where_no_rank_saves_anything() -> None:
    tiny = wide(1, 1, (2, 2))
    proposal = propose(layer_of(tiny), select_schemes(["spatial"]), rank=None, max_error=1.0)
    assert proposal.candidates == ()
    assert str(proposal.reason) == "no scheme costs fewer multiplications at any rank"


@every_scheme
@given(st.data(), st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_energy_ranks_keep_the_energy_asked_for_and_no_rank_less_does(
    scheme: Scheme, data: st.DataObject, shares: list[float]
) -> None:
    stage = data.draw(taken_by(scheme))
    assume(np.any(stage.weight))
    decomposition = scheme.decompose(stage)
    full = decomposition.full_rank

    def kept(axis: int, rank: int) -> float:
        """Share of the energy when this axis is cut to ``rank`` and the other left whole."""
        cut = tuple(rank if at == axis else most for at, most in enumerate(full))
        return 1.0 - weight_error(stage, Factorization(decomposition.build(cut))) ** 2

    found = energy_ranks(decomposition, shares)
    assert len(found) == len(shares)
    for share, rank in zip(shares, found, strict=True):
        assert len(rank) == len(full)
        for axis, r in enumerate(rank):
            assert 1 <= r <= full[axis]
            assert kept(axis, r) >= share - 1e-9
            assert r == 1 or kept(axis, r - 1) < share + 1e-9


def test_energy_ranks_of_a_known_spectrum() -> None:
    weight = np.zeros((3, 3, 1, 1))
    weight[[0, 1, 2], [0, 1, 2], 0, 0] = 3.0, 2.0, 1.0  # shares of the energy: 9/14, 4/14, 1/14
    stage = replace(wide(3, 3, (1, 1)), weight=weight)
    found = energy_ranks(by("channel-out").decompose(stage), [0.0, 0.6, 0.65, 0.9, 0.95, 1.0])
    assert found == [(1,), (1,), (2,), (2,), (3,), (3,)]
