"""ConvTranspose is read as a convolution over upsampled maps, and its factors are written as such again."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sepfactor.factor import Factorization
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.graph.survey import survey
from sepfactor.graph.writer import turned
from tests.factor import naive
from tests.factor.kinds import by_name
from tests.graph.build import assert_same, check, model, norm_of, normal, run, run_reference
from tests.graph.full_rank import assert_same_at_full_rank, opened
from tests.strategies import channels


@dataclass(frozen=True)
class Drawn:
    proto: onnx.ModelProto
    x: np.ndarray


@st.composite
def networks(
    draw: st.DrawFn,
    dtype: type = np.float32,
    groupings: tuple[str, ...] = ("dense", "dense", "grouped", "depthwise"),
) -> Drawn:
    axes = draw(st.sampled_from((1, 2, 2)))

    def each(low: int, high: int) -> list[int]:
        return [draw(st.integers(low, high)) for _ in range(axes)]

    grouping = draw(st.sampled_from(groupings))
    outs, ins, group = draw(channels(grouping))
    kernel, size, strides, dilations = each(1, 5), each(2, 5), each(1, 3), each(1, 2)
    made = {"w": normal(ins * group, outs // group, *kernel, dtype=dtype)}
    if draw(st.booleans()):
        made["c"] = normal(outs, dtype=dtype)
    said: dict[str, object] = {"strides": strides, "dilations": dilations, "group": group}
    form = draw(st.sampled_from(("pads", "pads", "none", "VALID", "SAME_UPPER", "SAME_LOWER")))
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    if form == "pads":
        pads = said["pads"] = [draw(st.integers(0, r)) for r in (*reach, *reach)]
        extra = [draw(st.integers(0, s - 1)) for s in strides]
        said |= {"output_padding": extra} if any(extra) or draw(st.booleans()) else {}
        cropped = [pads[a] + pads[a + axes] for a in range(axes)]
        assume(all((n - 1) * s + r >= c for n, s, r, c in zip(size, strides, reach, cropped, strict=True)))
    elif form != "none":
        said["auto_pad"] = f'"{form}"'
        assume(all(r + 1 >= s for r, s in zip(reach, strides, strict=True)) or form == "VALID")
    attributes = ", ".join(f"{name} = {value}" for name, value in said.items())
    kind = {np.float32: "float", np.float64: "double"}[dtype]
    proto = model(
        f"[k] z = ConvTranspose<{attributes}>({', '.join(['x', *made])})  y = Relu(z)",
        f"{kind}[N,{ins * group},{','.join('HW'[:axes])}] x",
        f"{kind}[N,{outs},{','.join('PQ'[:axes])}] y",
        **made,
    )
    return Drawn(proto, normal(2, ins * group, *size, dtype=dtype))


def computed(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    (y,) = run(proto, {"x": x})
    assume(y.size)
    return y


@settings(max_examples=2 * settings().max_examples)
@given(networks())
def test_every_scheme_at_full_rank_computes_the_same(drawn: Drawn) -> None:
    expected = computed(drawn.proto, drawn.x)
    assert_same_at_full_rank(drawn.proto, drawn.x, expected)


@given(networks(dtype=np.float64, groupings=("dense",)))
def test_the_stage_computes_it_by_its_definition(drawn: Drawn) -> None:
    """With the reference as the judge, in double precision; groups it gets wrong."""
    (expected,) = run_reference(drawn.proto, {"x": drawn.x})
    assume(expected.size)
    _, site = opened(drawn.proto)
    assert site.stage is not None, site.skipped
    answers = np.stack([naive.convolve(site.stage, one) for one in site.kind.maps(drawn.x)])
    if site.bias is not None:
        answers += site.bias[:, None, None]
    assert_same([np.maximum(answers, 0)], [site.kind.maps(expected)])


@pytest.mark.parametrize("auto", ["", 'auto_pad = "SAME_UPPER", ', 'auto_pad = "SAME_LOWER", '])
@pytest.mark.parametrize("strides", [[2, 2], [3, 2]])
def test_an_output_shape_becomes_pads(auto: str, strides: list[int]) -> None:
    body = f"y = ConvTranspose<{auto}output_shape = [11, 8], strides = {strides}>(x, w)"
    proto = model(body, "float[N,3,5,4] x", "float[N,2,11,8] y", w=normal(3, 2, 4, 3))
    x = normal(2, 3, 5, 4)
    prepared, site = opened(proto)
    assert site.stage is not None, site.skipped
    decomposition = by_name("spatial-vertical").decompose(site.stage)
    full = Factorization(decomposition.build(decomposition.full_rank))
    rebuilt = rebuild(prepared, [Replacement(site, full, {})])
    assert_same(run(rebuilt.model, {"x": x}), run(proto, {"x": x}))


def test_each_axis_is_upsampled_where_its_kernel_is() -> None:
    body = "y = ConvTranspose<strides = [2,3], pads = [1,0,1,2], output_padding = [1,0]>(x, w)"
    prepared, site = opened(model(body, "float[N,4,H,W] x", "float[N,4,P,Q] y", w=normal(4, 4, 4, 5)))
    assert site.stage is not None
    wanted = {
        "spatial-vertical": [("ConvTranspose", [2, 1]), ("ConvTranspose", [1, 3])],
        "channel-in": [("Conv", [1, 1]), ("ConvTranspose", [2, 3])],
        "tucker2": [("Conv", [1, 1]), ("ConvTranspose", [2, 3]), ("Conv", [1, 1])],
    }
    for name, nodes in wanted.items():
        decomposition = by_name(name).decompose(site.stage)
        full = Factorization(decomposition.build(decomposition.full_rank))
        made = rebuild(prepared, [Replacement(site, full, {})]).model.graph
        assert [(node.op_type, list(node.attributes.get_ints("strides"))) for node in made] == nodes


def test_normalisation_behind_it_is_folded_and_it_is_named_as_before() -> None:
    proto = model(
        "[k] z = ConvTranspose<strides = [2,2]>(x, w)  y = BatchNormalization(z, s, b, m, v)",
        "float[N,4,H,W] x",
        "float[N,6,P,Q] y",
        w=normal(4, 6, 2, 2),
        **norm_of(6),
    )
    prepared, site = opened(proto)
    assert (site.name, site.output) == ("k", "y")
    assert site.stage is not None
    same = Factorization.of(site.stage, site.bias)
    rebuilt = rebuild(prepared, [Replacement(site, same, {})])
    x = normal(1, 4, 5, 6)
    assert_same(run(rebuilt.model, {"x": x}), run(proto, {"x": x}))


def test_turning_over_twice_is_as_before() -> None:
    weight = normal(6, 2, 3, 4)
    assert turned(weight, 3).shape == (6, 2, 3, 4)
    np.testing.assert_array_equal(turned(turned(weight, 3), 3), weight)
    np.testing.assert_array_equal(turned(weight, 1)[1, 5], weight[5, 1, ::-1, ::-1])


SKIPPED = {
    "an open output_shape": (
        "<output_shape = [11,8]>(x, w)",
        "its output_shape crops by the size of the map",
    ),
    "more than it adds": ("<pads = [3,0,0,0]>(x, w)", "it crops more than its kernel adds"),
    "negative pads": ("<pads = [-1,0,0,0]>(x, w)", "it has negative pads"),
    "far apart": (
        '<auto_pad = "SAME_UPPER", strides = [5,1]>(x, w)',
        "auto_pad=SAME_UPPER asks for more than its kernel reaches",
    ),
    "groups": ("<group = 3>(x, w)", "its inputs do not divide into its groups (4 into 3)"),
    "unknown": ('<auto_pad = "SOME">(x, w)', "not a valid ConvTranspose (there is no auto_pad=SOME)"),
    "another kernel": ("<kernel_shape = [2,2]>(x, w)", "not a valid ConvTranspose (its kernel_shape"),
}


@pytest.mark.parametrize(("said", "reason"), SKIPPED.values(), ids=SKIPPED.keys())
def test_what_is_skipped_says_why(said: str, reason: str) -> None:
    proto = model(f"y = ConvTranspose{said}", "float[N,4,H,W] x", "float[N,2,P,Q] y", w=normal(4, 2, 3, 3))
    (site,) = survey(ir.from_proto(proto))
    assert site.skipped is not None
    assert reason in str(site.skipped)
    assert site.weight_shape == (2, 4, 3, 3)


@pytest.mark.parametrize("dilations", [[1, 1], [2, 1]])
@pytest.mark.parametrize("strides", [[1, 2], [3, 2], [1, 1]])
@pytest.mark.parametrize("kept", list(itertools.product(range(3), range(3))))
def test_kernels_with_a_zero_border_are_trimmed_as_far_as_they_can_be_written(
    kept: tuple[int, int], strides: list[int], dilations: list[int]
) -> None:
    """A ConvTranspose cannot begin before its first pixel."""
    weight = np.zeros((2, 3, 3, 3), np.float32)
    weight[(slice(None), slice(None), *kept)] = normal(2, 3)
    for pads in ([0, 0, 0, 0], [1, 0, 0, 2], [2, 2, 1, 1]):
        body = f"y = ConvTranspose<strides = {strides}, dilations = {dilations}, pads = {pads}>(x, w)"
        proto = model(body, "float[N,2,H,W] x", "float[N,3,P,Q] y", w=weight)
        prepared, site = opened(proto)
        assert site.stage is not None
        trim = by_name("trim")
        if trim.refuses(site.stage) is None:
            trimmed = Factorization(trim.decompose(site.stage).build(()))
            rebuilt = rebuild(prepared, [Replacement(site, trimmed, {})])
            check(rebuilt.model)
            x = normal(2, 2, 5, 4)
            assert_same(run(rebuilt.model, {"x": x}), run(proto, {"x": x}))
