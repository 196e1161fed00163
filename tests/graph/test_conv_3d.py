"""Conv and ConvTranspose of three axes: read as they are, and factored with their axes in two sets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sepfactor.factor import SCHEMES, Chain, Factorization
from sepfactor.graph.conv import CONV_3D
from sepfactor.graph.lower import bench_model
from sepfactor.graph.rebuild import Replacement, rebuild
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
def networks(draw: st.DrawFn, op: str = "Conv", dtype: type = np.float32) -> Drawn:
    def each(low: int, high: int) -> list[int]:
        return [draw(st.integers(low, high)) for _ in range(3)]

    grouping = draw(st.sampled_from(("dense", "dense", "grouped", "depthwise")))
    outs, ins, group = draw(channels(grouping))
    kernel, size, strides, dilations = each(1, 3), each(5, 7), each(1, 2), each(1, 2)
    shape = (outs, ins) if op == "Conv" else (ins * group, outs // group)
    made = {"w": normal(*shape, *kernel, dtype=dtype)}
    if draw(st.booleans()):
        made["c"] = normal(outs, dtype=dtype)
    said: dict[str, object] = {"dilations": dilations, "group": group, "strides": strides}
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    if op == "Conv":
        said["pads"] = each(0, 2) + each(0, 2)
    else:
        said["pads"] = [draw(st.integers(0, r)) for r in (*reach, *reach)]
        said["output_padding"] = [draw(st.integers(0, s - 1)) for s in strides]
    attributes = ", ".join(f"{name} = {value}" for name, value in said.items())
    kind = {np.float32: "float", np.float64: "double"}[dtype]
    proto = model(
        f"[k] z = {op}<{attributes}>({', '.join(['x', *made])})  y = Relu(z)",
        f"{kind}[N,{ins * group},D,H,W] x",
        f"{kind}[N,{outs},P,Q,R] y",
        **made,
    )
    return Drawn(proto, normal(2, ins * group, *size, dtype=dtype))


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
@given(st.data())
def test_every_scheme_at_full_rank_computes_the_same(op: str, data: st.DataObject) -> None:
    drawn = data.draw(networks(op))
    (expected,) = run(drawn.proto, {"x": drawn.x})
    assume(expected.size)
    assert_same_at_full_rank(drawn.proto, drawn.x, expected)


@given(networks(dtype=np.float64))
def test_the_stage_computes_it_by_its_definition(drawn: Drawn) -> None:
    """With the reference as the judge, in double precision."""
    (expected,) = run_reference(drawn.proto, {"x": drawn.x})
    assume(expected.size)
    _, site = opened(drawn.proto)
    assert site.stage is not None
    answers = np.stack([naive.convolve(site.stage, one) for one in drawn.x])
    if site.bias is not None:
        answers += site.bias[:, None, None, None]
    assert_same([np.maximum(answers, 0)], [expected])


WIDE = 'auto_pad = "SAME_UPPER"', "pads = [1,1,1,1,1,1]", "strides = [2,1,2], dilations = [1,2,1]"


@pytest.mark.parametrize("attributes", WIDE)
@pytest.mark.parametrize("opset", [6, 11, 17, 21])
def test_both_runtimes_agree_at_full_rank(attributes: str, opset: int) -> None:
    proto = model(
        f"y = Conv<{attributes}>(x, w, c)",
        "float[N,6,D,H,W] x",
        "float[N,8,P,Q,R] y",
        opset=opset,
        ir_version=7 if opset < 13 else 8,
        w=normal(8, 6, 3, 3, 3) / np.float32(9),
        c=normal(8),
    )
    x = normal(2, 6, 6, 7, 5)
    prepared, site = opened(proto)
    assert site.stage is not None
    taken = [scheme.name for scheme in SCHEMES if scheme.refuses(site.stage) is None]
    assert {"spatial-vertical", "spatial-depth-last", "spatial-width-last", "hybrid", "tucker2"} <= set(taken)
    for name in taken:
        decomposition = by_name(name).decompose(site.stage)
        full = Factorization(decomposition.build(decomposition.full_rank), site.bias)
        rebuilt = rebuild(prepared, [Replacement(site, full, {})])
        check(rebuilt.model)
        assert_same(run(rebuilt.model, {"x": x}), run(proto, {"x": x}))
        assert_same(run_reference(rebuilt.model, {"x": x}), run(proto, {"x": x}))


@pytest.mark.parametrize(
    ("kernel", "name", "expected"),
    [
        ((3, 3, 3), "spatial-vertical", [(3, 1, 1), (1, 3, 3)]),
        ((3, 3, 3), "spatial-horizontal", [(1, 1, 3), (3, 3, 1)]),
        ((3, 3, 3), "spatial-depth-last", [(1, 3, 3), (3, 1, 1)]),
        ((3, 3, 3), "spatial-width-last", [(3, 3, 1), (1, 1, 3)]),
        ((1, 3, 5), "spatial-vertical", [(1, 3, 1), (1, 1, 5)]),
        ((2, 1, 5), "spatial-horizontal", [(1, 1, 5), (2, 1, 1)]),
        ((2, 3, 4), "asymmetric-3d", [(2, 1, 1), (1, 3, 4), (1, 1, 1)]),
    ],
)
def test_axes_are_split_in_two_sets(
    kernel: tuple[int, ...], name: str, expected: list[tuple[int, ...]]
) -> None:
    _, site = opened(
        model("y = Conv(x, w)", "float[N,4,D,H,W] x", "float[N,5,P,Q,R] y", w=normal(5, 4, *kernel))
    )
    assert site.stage is not None
    decomposition = by_name(name).decompose(site.stage)
    (chain,) = decomposition.build((2,) * len(decomposition.full_rank))
    assert [stage.kernel_shape for stage in chain.stages] == expected


def test_an_axis_without_a_kernel_is_strided_first() -> None:
    body = "y = Conv<strides = [2,1,1], pads = [0,1,1,0,1,1]>(x, w)"
    _, site = opened(model(body, "float[N,4,D,H,W] x", "float[N,5,P,Q,R] y", w=normal(5, 4, 1, 3, 3)))
    assert site.stage is not None
    for name in ("spatial-vertical", "spatial-horizontal", "asymmetric-3d"):
        decomposition = by_name(name).decompose(site.stage)
        (chain,) = decomposition.build((2,) * len(decomposition.full_rank))
        assert [stage.strides[0] for stage in chain.stages][:2] == [2, 1]


def test_padding_and_normalisation_are_folded() -> None:
    proto = model(
        "p = Pad(x, pads)  [k] z = Conv(p, w)  y = BatchNormalization(z, s, b, m, v)",
        "float[N,4,D,H,W] x",
        "float[N,6,P,Q,R] y",
        w=normal(6, 4, 3, 2, 2),
        pads=np.array([0, 0, 1, 0, 2, 0, 0, 1, 1, 0]),
        **norm_of(6),
    )
    prepared, site = opened(proto)
    assert (site.name, site.output) == ("k", "y")
    assert site.stage is not None
    assert site.stage.pads == ((1, 1), (0, 1), (2, 0))
    same = Factorization.of(site.stage, site.bias)
    rebuilt = rebuild(prepared, [Replacement(site, same, {})])
    x = normal(1, 4, 5, 6, 4)
    assert_same(run(rebuilt.model, {"x": x}), run(proto, {"x": x}))


def test_a_bench_model_reads_and_writes_what_its_kind_does() -> None:
    weight = normal(32, 16, 3, 3, 3)
    proto = model("y = Conv(x, w)", "float[N,16,D,H,W] x", "float[N,32,P,Q,R] y", w=weight)
    _, site = opened(proto)
    assert site.stage is not None
    assert site.kind == CONV_3D
    dense = Factorization((Chain((replace(site.stage, group=1),)),))
    source = bench_model(dense, (5, 6, 4), np.dtype(np.float32), 2, CONV_3D)
    check(source)
    x = normal(2, 16, 5, 6, 4)
    assert_same(run(source, {"x": x}), [np.maximum(run(proto, {"x": x})[0], 0)])
