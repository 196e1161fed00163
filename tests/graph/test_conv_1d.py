"""A 1-D Conv is a 2-D one over a row, read as one, and written as one where that is faster."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sepfactor.factor import SCHEMES, Chain, Factorization, Stage
from sepfactor.graph.conv import CONV_1D, gains_by_a_row
from sepfactor.graph.lower import bench_model
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.graph.survey import Site, survey
from tests.graph.build import as_bytes, assert_same, check, model, normal, run, run_reference, session
from tests.graph.test_fusion import BLOCKED, blocked
from tests.strategies import unpadded

WAYS = {"wide": (16, 32), "narrow": (6, 5)}
"""Channels that fit the blocked layout, and such that do not."""


def network(ins: int, outs: int, opset: int = 17, attributes: str = "pads = [2,2]") -> onnx.ModelProto:
    weights = {"w": normal(outs, ins, 5) / np.float32(9), "c": normal(outs)}
    return model(
        f"[k] z = Conv<{attributes}>(x, w, c)  y = Relu(z)",
        f"float[N,{ins},L] x",
        f"float[N,{outs},M] y",
        opset=opset,
        ir_version=7 if opset < 13 else 8,
        **weights,
    )


def opened(proto: onnx.ModelProto) -> tuple[ir.Model, Site]:
    prepared = prepare(ir.from_proto(proto))
    (site,) = survey(prepared)
    assert site.stage is not None, site.skipped
    return prepared, site


@pytest.mark.parametrize("opset", [6, 11, 12, 13, 17])
@pytest.mark.parametrize(("ins", "outs"), WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("attributes", ["pads = [2,2]", "strides = [3], dilations = [2], pads = [0,5]"])
def test_every_scheme_at_full_rank_computes_the_same(
    ins: int, outs: int, opset: int, attributes: str
) -> None:
    proto = network(ins, outs, opset, attributes)
    feed = {"x": normal(2, ins, 23)}
    prepared, site = opened(proto)
    assert site.stage is not None
    taken = [scheme for scheme in SCHEMES if scheme.refuses(site.stage) is None]
    assert {"channel-out", "depthwise-pointwise", "tucker2"} <= {scheme.name for scheme in taken}
    for scheme in taken:
        decomposition = scheme.decompose(site.stage)
        full = Factorization(decomposition.build(decomposition.full_rank), site.bias)
        rebuilt = rebuild(prepared, [Replacement(site, full, {})])
        check(rebuilt.model)
        assert_same(run(rebuilt.model, feed), run(proto, feed))
        assert_same(run_reference(rebuilt.model, feed), run(proto, feed))
        row = "Unsqueeze" in [node.op_type for node in rebuilt.model.graph]
        assert row == gains_by_a_row(full.stages) == (ins >= 16)


def test_what_gains_by_a_row() -> None:
    kernel, point = unpadded(normal(16, 16, 1, 3)), unpadded(normal(16, 16, 1, 1))
    narrow = unpadded(normal(15, 16, 1, 3))
    assert gains_by_a_row([kernel])
    assert gains_by_a_row([point, kernel])
    assert gains_by_a_row([unpadded(normal(16, 1, 1, 3), group=16)])
    assert not gains_by_a_row([point])
    assert not gains_by_a_row([narrow])


def of(*stages: Stage) -> Factorization:
    return Factorization((Chain(stages),))


def test_values_are_maps_of_one_row() -> None:
    value = normal(2, 3, 7)
    seen = CONV_1D.maps(value)
    assert seen.shape == (2, 3, 1, 7)
    assert np.shares_memory(seen, value)
    assert CONV_1D.shape(2, 3, (1, 7)) == value.shape
    assert CONV_1D.own((1, 7)) == (7,)


@pytest.mark.parametrize(("ins", "outs"), WAYS.values(), ids=WAYS.keys())
def test_a_bench_model_reads_and_writes_what_its_kind_does(ins: int, outs: int) -> None:
    _, site = opened(network(ins, outs))
    assert site.stage is not None
    dense = of(site.stage)
    source = bench_model(dense, (1, 30), np.dtype(np.float32), 2, CONV_1D)
    check(source)
    (x,) = session(source).get_inputs()
    assert x.shape == [2, ins, 30]
    (answer,) = run(source, {"x": normal(2, ins, 30)})
    assert answer.shape == (2, outs, 30)
    proto = network(ins, outs)
    del proto.graph.node[0].input[2]
    assert_same([answer], run(proto, {"x": normal(2, ins, 30)}))


@blocked
def test_over_a_row_the_blocked_layout_is_used(tmp_path: Path) -> None:
    prepared, site = opened(network(16, 32))
    assert site.stage is not None
    rebuilt = rebuild(prepared, [Replacement(site, of(site.stage), {})])
    session(as_bytes(rebuilt.model), optimised=tmp_path / "optimised.onnx")
    nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
    assert [node.domain for node in nodes if node.op_type == "Conv"] == [BLOCKED]


W = {"w": normal(16, 16, 3) / np.float32(7), "c": normal(16)}
CONV = "Conv<pads = [1,1]>"
JOINED = {
    "a chain": (f"a = {CONV}(x, w, c)  r = Relu(a)  y = {CONV}(r, w)", 1, 1),
    "a shortcut": (f"a = {CONV}(x, w)  r = Relu(a)  b = {CONV}(r, w)  s = Add(b, r)  y = Sigmoid(s)", 1, 1),
    "of one input": (f"a = {CONV}(x, w)  b = {CONV}(x, w, c)  y = Mul(a, b)", 1, 1),
    "numbers": (f"a = {CONV}(x, w)  d = Mul(half, a)  e = Clip(d, half)  y = {CONV}(e, w)", 1, 1),
    "a slope for each channel": (f"a = {CONV}(x, w)  q = PRelu(a, slopes)  y = {CONV}(q, w)", 2, 2),
    "another summand": (f"a = {CONV}(x, w)  s = Add(a, x)  y = {CONV}(s, w)", 1, 1),
    "a summand of fewer axes": (
        f"v = ReduceMean<keepdims = 0>(x)  a = {CONV}(x, w)  s = Add(a, v)  y = {CONV}(s, w)",
        2,
        2,
    ),
    "a branch beside": (
        f"t = Transpose<perm = [0,1,2]>(x)  a = {CONV}(x, w)  s = Add(t, a)  b = {CONV}(s, w)  y = Sub(b, t)",
        2,
        1,
    ),
    "a trunk of maps": (
        f"a = {CONV}(x, w)  s = Add(x, a)  b = {CONV}(s, w)  v = Add(s, b)  q = {CONV}(v, w)  y = Add(v, q)",
        1,
        1,
    ),
    "something between": (f"a = {CONV}(x, w)  t = Transpose<perm = [0,1,2]>(a)  y = {CONV}(t, w)", 2, 2),
    "read besides": (
        f"a = {CONV}(x, w)  r = Relu(a)  b = {CONV}(r, w)  t = Transpose<perm = [0,1,2]>(r)  y = Add(b, t)",
        2,
        2,
    ),
    "a pointwise one behind": (f"a = {CONV}(x, w)  r = Relu(a)  b = Conv(r, p, c)  y = {CONV}(b, w)", 1, 1),
    "strided behind": (
        f"a = {CONV}(x, w)  b = Conv<strides = [3], kernel_shape = [1], pads = [1,2]>(a, p)  y = Relu(b)",
        1,
        1,
    ),
    "a pointwise one before": (f"a = Conv(x, p)  r = Relu(a)  y = {CONV}(r, w)", 1, 1),
    "both factors": (f"a = {CONV}(x, w)  q = Mul(a, a)  y = {CONV}(q, w)", 1, 1),
}


@pytest.mark.parametrize(("body", "unsqueezed", "squeezed"), JOINED.values(), ids=JOINED.keys())
@pytest.mark.parametrize("opset", [12, 17])
@pytest.mark.parametrize("more", ["", "a"])
def test_neighbours_are_joined(body: str, unsqueezed: int, squeezed: int, opset: int, more: str) -> None:
    """As few changes as there must be, whatever is read or put out in between."""
    constants = {"half": np.float32(0.5), "slopes": normal(16, 1), "p": normal(16, 16, 1)}
    used = {name: constants[name] for name in re.findall(r"\w+", body) if name in constants}
    outputs = ", ".join(f"float[N,16,M] {name}" for name in ("y", *more))
    proto = model(body, "float[N,16,L] x", outputs, opset=opset, **W, **used)
    prepared = prepare(ir.from_proto(proto))
    sites = survey(prepared)
    same = [Replacement(site, replace(of(site.stage), bias=site.bias), {}) for site in sites if site.stage]
    assert len(same) == len(sites)
    rebuilt = rebuild(prepared, same)
    check(rebuilt.model)
    feed = {"x": normal(2, 16, 11)}
    assert_same(run(rebuilt.model, feed), run(proto, feed))
    assert_same(run_reference(rebuilt.model, feed), run(proto, feed))
    operators = [node.op_type for node in rebuilt.model.graph]
    assert operators.count("Unsqueeze") == unsqueezed
    assert squeezed <= operators.count("Squeeze") <= squeezed + len(more)
    read = {value.name for node in rebuilt.model.graph for value in node.inputs if value is not None}
    assert set(rebuilt.model.graph.initializers) <= read
    convolutions = {n.outputs[0].name for n in rebuilt.model.graph if n.op_type == "Conv"}
    assert convolutions <= set(rebuilt.site_of)


def test_a_squeeze_of_the_network_itself_is_left_alone() -> None:
    proto = model(
        f"s = Squeeze(x, two)  r = Relu(s)  u = Unsqueeze(r, two)  t = Squeeze(u, two)  y = {CONV}(t, w)",
        "float[N,16,1,L] x",
        "float[N,16,M] y",
        two=np.array([2]),
        **W,
    )
    prepared, site = opened(proto)
    assert site.stage is not None
    rebuilt = rebuild(prepared, [Replacement(site, of(site.stage), {})])
    before = [node.op_type for node in rebuilt.model.graph][:4]
    assert before == ["Squeeze", "Relu", "Unsqueeze", "Squeeze"]
