"""What holds for every scheme on every convolution it takes. A new scheme is tested by being registered."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor import SCHEMES, Factorization, Rank, Scheme, Stage, weight_error
from tests.factor import naive
from tests.factor.kinds import by_name, ranks, taken_by, untied
from tests.strategies import inputs, normal, same, seeds, stages, unpadded

every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)


@every_scheme
@given(st.data())
def test_full_rank_runs_like_the_dense_stage_borders_included(scheme: Scheme, data: st.DataObject) -> None:
    stage = data.draw(taken_by(scheme))
    decomposition = scheme.decompose(stage)
    chains = decomposition.build(decomposition.full_rank)
    x = data.draw(inputs(stage))
    assert naive.distance(stage, chains, x) < 1e-12
    assert Factorization(chains).output_size(x.shape[1:]) == stage.output_size(x.shape[1:])
    assert decomposition.error(decomposition.full_rank) < 1e-7


@every_scheme
@given(st.data())
def test_at_any_rank_the_chains_run_like_the_dense_kernel_they_claim(
    scheme: Scheme, data: st.DataObject
) -> None:
    stage = data.draw(taken_by(scheme))
    decomposition = scheme.decompose(stage)
    chains = decomposition.build(data.draw(ranks(decomposition.full_rank)))
    dense = naive.dense(chains)
    x = data.draw(inputs(stage))
    assert naive.distance(dense, chains, x) < 1e-12
    assert dense.strides == stage.strides
    if scheme.name != "trim":
        assert dense.pads == stage.pads
        assert dense.kernel_shape == stage.kernel_shape
    for k, found, expected in zip(dense.kernel_shape, dense.dilations, stage.dilations, strict=True):
        assert k == 1 or found == expected


@given(
    st.sampled_from((1, 2, 2, 3)).flatmap(lambda axes: stages(kernel=(1, 5 if axes < 3 else 3), axes=axes))
)
def test_whatever_does_not_refuse_factors_and_whatever_refuses_says_why(stage: Stage) -> None:
    for scheme in SCHEMES:
        reason = scheme.refuses(stage)
        if reason is None:
            decomposition = scheme.decompose(stage)
            chains = decomposition.build(decomposition.full_rank)
            assert weight_error(stage, Factorization(chains)) < 1e-12
        else:
            assert len(str(reason).split()) >= 2


@every_scheme
@given(st.data())
def test_an_outline_has_the_form_of_what_is_built(scheme: Scheme, data: st.DataObject) -> None:
    decomposition = scheme.decompose(data.draw(taken_by(scheme)))
    rank = tuple(data.draw(st.integers(1, full)) for full in decomposition.full_rank)
    built, outlined = decomposition.build(rank), decomposition.outline(rank)
    for ours, theirs in zip(outlined, built, strict=True):
        zeros = [replace(stage, weight=np.zeros(stage.weight.shape)) for stage in theirs.stages]
        ours_of_zeros = [replace(stage, weight=np.zeros(stage.weight.shape)) for stage in ours.stages]
        assert [*map(repr, ours_of_zeros)] == [*map(repr, zeros)]


@every_scheme
@given(st.data())
def test_error_never_rises_with_any_rank_and_ends_at_zero(scheme: Scheme, data: st.DataObject) -> None:
    decomposition = scheme.decompose(data.draw(taken_by(scheme)))
    errors = decomposition.squared_error
    assert errors.ndim == len(decomposition.widths) == len(decomposition.full_rank)
    for axis in range(errors.ndim):
        assert np.all(np.diff(errors, axis=axis) <= 1e-15)
    assert errors[decomposition.full_rank] <= 1e-15
    assert np.all((errors >= 0) & (errors <= 1 + 1e-12))
    if errors.ndim and errors.flat[0]:
        assert errors.flat[0] == 1


@every_scheme
@given(st.data())
def test_promised_error_is_the_measured_one(scheme: Scheme, data: st.DataObject) -> None:
    stage = data.draw(taken_by(scheme))
    decomposition = scheme.decompose(stage)
    rank = data.draw(ranks(decomposition.full_rank))
    measured = weight_error(stage, Factorization(decomposition.build(rank)))
    assert decomposition.error(rank) == pytest.approx(measured, abs=1e-6)


@every_scheme
@given(st.data())
def test_refusing_and_errors_do_not_depend_on_the_scale(scheme: Scheme, data: st.DataObject) -> None:
    stage = untied(data.draw(taken_by(scheme)), data.draw(seeds))
    scaled = stage.along(stage.weight * 3e5, stage.axes)
    assert scheme.refuses(scaled) is None
    np.testing.assert_allclose(
        scheme.decompose(scaled).squared_error, scheme.decompose(stage).squared_error, atol=1e-12
    )


def _transposed(stage: Stage) -> Stage:
    """The kernel axes in reverse order, geometry included."""
    return Stage(
        np.transpose(stage.weight, (0, 1, *range(stage.weight.ndim - 1, 1, -1))),
        stage.strides[::-1],
        stage.pads[::-1],
        stage.dilations[::-1],
        stage.group,
    )


@pytest.mark.parametrize(
    "names", [("spatial-vertical", "spatial-horizontal"), ("spatial-depth-last", "spatial-width-last")]
)
@given(st.data())
def test_vertical_first_is_horizontal_first_of_the_transposed_kernel(
    names: tuple[str, str], data: st.DataObject
) -> None:
    one, other = map(by_name, names)
    stage = data.draw(taken_by(one))
    vertical, horizontal = one.decompose(stage), other.decompose(_transposed(stage))
    np.testing.assert_allclose(vertical.squared_error, horizontal.squared_error, atol=1e-12)
    (ours,), (theirs,) = (d.build(d.full_rank) for d in (vertical, horizontal))
    for own, other in zip(ours.stages, theirs.stages, strict=True):
        assert own.kernel_shape == other.kernel_shape[::-1]
        assert own.strides == other.strides[::-1]


@pytest.mark.parametrize(
    "name", [s.name for s in SCHEMES if not s.name.startswith(("spatial", "asymmetric", "hybrid"))]
)
@given(st.data())
def test_schemes_that_treat_the_kernel_axes_alike_do_not_see_a_transpose(
    name: str, data: st.DataObject
) -> None:
    scheme = by_name(name)
    axes = (2,) if name == "separable-depthwise" else (2, 3)
    stage = untied(data.draw(taken_by(scheme, axes)), data.draw(seeds))
    swapped = _transposed(stage)
    assert scheme.refuses(swapped) is None
    np.testing.assert_allclose(
        scheme.decompose(stage).squared_error, scheme.decompose(swapped).squared_error, atol=1e-12
    )


@given(taken_by(by_name("channel-out")))
def test_exchanging_the_channels_turns_one_side_of_channel_and_of_decoupling_into_the_other(
    stage: Stage,
) -> None:
    blocks = np.swapaxes(stage.grouped(), 1, 2)
    mirrored = stage.along(blocks.reshape(-1, *blocks.shape[2:]), stage.axes)
    for one, other in [
        ("channel-out", "channel-in"),
        ("depthwise-pointwise", "pointwise-depthwise"),
    ]:
        np.testing.assert_allclose(
            by_name(one).decompose(stage).squared_error,
            by_name(other).decompose(mirrored).squared_error,
            atol=1e-12,
        )


def _per_pixel(name: str, rank: Rank, outs: int, ins: int, kernel: tuple[int, ...]) -> int:
    """The table of section 2 of the notes on the algorithm, for one group."""
    taps = math.prod(kernel)
    kd, *_, kw = [k for k in kernel if k > 1] if sum(k > 1 for k in kernel) > 1 else kernel
    r, *more = rank
    match name:
        case "spatial-vertical":
            return r * (ins * kd + outs * (taps // kd))
        case "spatial-horizontal":
            return r * (ins * kw + outs * (taps // kw))
        case "spatial-depth-last":
            return r * (ins * (taps // kd) + outs * kd)
        case "spatial-width-last":
            return r * (ins * (taps // kw) + outs * kw)
        case "depthwise-pointwise":
            return r * ins * (taps + outs)
        case "pointwise-depthwise":
            return r * outs * (ins + taps)
        case "channel-out":
            return r * (outs + ins * taps)
        case "channel-in":
            return r * (ins + outs * taps)
        case "tucker2":
            return r * ins + r * more[0] * taps + more[0] * outs
        case "asymmetric-3d":
            return r * ins * kd + r * more[0] * (taps // kd) + more[0] * outs
        case "hybrid":
            return r * ins * (taps + outs) + more[0] * (ins * kd + outs * (taps // kd))
        case "separable-depthwise":
            return r * (kd + taps // kd)
    raise AssertionError(f"no formula for {name}: add it")


@pytest.mark.parametrize("scheme", SCHEMES[1:], ids=lambda scheme: scheme.name)
@given(st.data())
def test_macs_and_parameters_follow_the_formula(scheme: Scheme, data: st.DataObject) -> None:
    stage = same(data.draw(taken_by(scheme)))
    decomposition = scheme.decompose(stage)
    rank = data.draw(ranks(decomposition.full_rank))
    size = tuple(data.draw(st.integers(1, 40)) for _ in stage.axes)
    replacement = Factorization(decomposition.build(rank))
    g, outs, ins = stage.grouped().shape[:3]
    per_pixel = g * _per_pixel(scheme.name, rank, outs, ins, stage.kernel_shape)
    assert replacement.macs(size) == per_pixel * math.prod(size)
    assert replacement.parameters == per_pixel
    assert replacement.parameters == sum(part.weight.size for part in replacement.stages)


@pytest.mark.parametrize("scheme", SCHEMES[1:], ids=lambda scheme: scheme.name)
@given(st.data())
def test_every_stage_costs_its_weights_times_the_pixels_it_writes(
    scheme: Scheme, data: st.DataObject
) -> None:
    stage = data.draw(taken_by(scheme))
    decomposition = scheme.decompose(stage)
    chains = decomposition.build(data.draw(ranks(decomposition.full_rank)))
    x = data.draw(inputs(stage))
    expected = 0
    for chain in chains:
        y = x
        for part in chain.stages:
            y = naive.convolve(part, y)
            expected += part.weight.size * math.prod(y.shape[1:])
    assert Factorization(chains).macs(x.shape[1:]) == expected


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
@given(st.data())
def test_the_original_is_not_written_to(scheme: Scheme, data: st.DataObject) -> None:
    stage = data.draw(taken_by(scheme))
    before = stage.weight.copy()
    stage.weight.flags.writeable = False
    decomposition = scheme.decompose(stage)
    weight_error(stage, Factorization(decomposition.build(decomposition.full_rank)))
    np.testing.assert_array_equal(stage.weight, before)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
@given(st.data())
def test_the_same_kernel_gives_the_same_factors(scheme: Scheme, data: st.DataObject) -> None:
    stage = data.draw(taken_by(scheme))
    once, again = (scheme.decompose(stage) for _ in range(2))
    for one, other in itertools.chain.from_iterable(
        zip(a.stages, b.stages, strict=True)
        for a, b in zip(
            once.build(once.full_rank),
            again.build(again.full_rank),
            strict=True,
        )
    ):
        np.testing.assert_array_equal(one.weight, other.weight)


@pytest.mark.parametrize(
    "name", [s.name for s in SCHEMES if s.name not in ("trim", "asymmetric-3d", "hybrid")]
)
@given(st.data())
def test_a_rank_of_terms_or_channels_is_a_prefix_of_a_larger_one(name: str, data: st.DataObject) -> None:
    """What a larger rank adds does not disturb what was there: errors of nested ranks telescope."""
    stage = data.draw(taken_by(by_name(name)))
    decomposition = by_name(name).decompose(stage)
    large = data.draw(ranks(decomposition.full_rank))
    small = data.draw(ranks(large))
    big, little = (naive.dense(decomposition.build(rank)) for rank in (large, small))
    whole = np.sum(stage.weight**2) or 1.0
    rest = np.sum((big.weight - little.weight) ** 2) / whole
    promised = decomposition.squared_error[small] - decomposition.squared_error[large]
    assert rest == pytest.approx(promised, abs=1e-12)


@given(seeds)
def test_strides_of_the_first_stage_make_the_later_ones_cheaper(seed: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((8, 4, 3, 3))
    strided = Stage(weight, (2, 2), ((1, 1), (1, 1)), (1, 1))
    for name, kernel in [("spatial-vertical", (3, 1)), ("spatial-horizontal", (1, 3))]:
        (chain,) = by_name(name).decompose(strided).build((5,))
        first = 5 * 4 * 3 * (10 * 20)
        assert chain.stages[0].kernel_shape == kernel
        assert chain.macs((20, 20)) == first + 8 * 5 * 3 * (10 * 10)
    (chain,) = by_name("channel-in").decompose(strided).build((3,))
    assert chain.macs((20, 20)) == 3 * 4 * 400 + 8 * 3 * 9 * 100
    (chain,) = by_name("channel-out").decompose(strided).build((3,))
    assert chain.macs((20, 20)) == 3 * 4 * 9 * 100 + 8 * 3 * 100


SHAPES = {  # (weight, group)
    "dense": ((6, 4, 3, 3), 1),
    "one channel": ((1, 1, 3, 3), 1),
    "pointwise": ((6, 4, 1, 1), 1),
    "row": ((6, 4, 1, 3), 1),
    "grouped": ((6, 4, 3, 3), 2),
    "depthwise": ((6, 1, 3, 3), 6),
    "depthwise row": ((6, 1, 1, 3), 6),
    "multiplier": ((12, 1, 3, 3), 6),
    "volume": ((6, 4, 3, 3, 3), 1),
    "flat volume": ((6, 4, 1, 3, 3), 1),
    "row in space": ((6, 4, 1, 1, 3), 1),
    "pointwise volume": ((6, 4, 1, 1, 1), 1),
    "depthwise volume": ((6, 1, 3, 3, 3), 6),
}
SPATIAL = ("spatial-vertical", "spatial-horizontal")
LAST = ("spatial-depth-last", "spatial-width-last")
MIXING = ("depthwise-pointwise", "pointwise-depthwise", "channel-out", "channel-in", "tucker2")


@pytest.mark.parametrize(
    ("shape", "takers"),
    [
        ("dense", {*SPATIAL, *MIXING, "asymmetric-3d", "hybrid"}),
        ("grouped", {*SPATIAL, *MIXING, "asymmetric-3d", "hybrid"}),
        ("one channel", {*SPATIAL}),
        ("multiplier", {*SPATIAL}),
        ("row", {*MIXING}),
        ("pointwise", {"channel-out"}),
        ("depthwise", {"separable-depthwise"}),
        ("depthwise row", set()),
        ("volume", {*SPATIAL, *LAST, *MIXING, "asymmetric-3d", "hybrid"}),
        ("flat volume", {*SPATIAL, *MIXING, "asymmetric-3d", "hybrid"}),
        ("row in space", {*MIXING}),
        ("pointwise volume", {"channel-out"}),
        ("depthwise volume", {"separable-depthwise"}),
    ],
)
def test_a_scheme_takes_what_it_can_gain_on_and_no_other(shape: str, takers: set[str]) -> None:
    weight, group = SHAPES[shape]
    stage = unpadded(normal(0, *weight), group)
    assert {scheme.name for scheme in SCHEMES if scheme.refuses(stage) is None} == takers
