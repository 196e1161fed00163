"""Looking inside a network, and finding the way back from what onnxruntime reports."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from sepfactor.graph.instrument import (
    convolution_times,
    product_times,
    read_by,
    serialized,
    upstream_convs,
    with_node_names,
    with_outputs,
)
from sepfactor.graph.prepare import prepare
from sepfactor.measure import OnnxRuntime
from tests.graph.build import assert_same, interface, model, norm_of, normal, run
from tests.graph.nested import NESTED

# A residual block as exporters write it: two convolutions with BatchNormalization, and a shortcut.
BLOCK = model(
    """[stem] s0 = Conv<pads = [1,1,1,1]>(x, w0)  r0 = Relu(s0)
       [first] c1 = Conv<pads = [1,1,1,1]>(r0, w1)  n1 = BatchNormalization(c1, s, b, m, v)  r1 = Relu(n1)
       [second] c2 = Conv<pads = [1,1,1,1]>(r1, w2)  n2 = BatchNormalization(c2, s, b, m, v)
       a = Add(n2, r0)  r2 = Relu(a)
       [down] c3 = Conv<strides = [2,2]>(r2, w3)
       [main] c4 = Conv<strides = [2,2], pads = [1,1,1,1]>(r2, w4)
       e = Add(c3, c4)  y = Sigmoid(e)""",
    "float[N,16,H,W] x",
    "float[N,32,P,Q] y",
    **{f"w{n}": normal(16, 16, 3, 3, seed=n) / 12 for n in range(3)},
    w3=normal(32, 16, 1, 1) / 4,
    w4=normal(32, 16, 3, 3) / 12,
    **norm_of(16),
)
FEED = {"x": normal(1, 16, 12, 12)}
X, WEIGHT = "float[N,4,H,W] x", normal(4, 4, 3, 3)
CONVOLUTIONS = ["s0", "c1", "c2", "c3", "c4"]


def graph(proto: onnx.ModelProto) -> ir.Model:
    return ir.from_proto(proto)


def test_values_become_outputs() -> None:
    view = graph(BLOCK)
    before = ir.to_proto(view).SerializeToString(deterministic=True)
    named = with_outputs(view, ["c1", "y", "a", "c1"])
    assert ir.to_proto(view).SerializeToString(deterministic=True) == before
    assert [value.name for value in onnx.load_from_string(named).graph.output] == ["y", "c1", "a"]
    y, c1, a = run(named, FEED)
    assert_same([y], run(BLOCK, FEED))
    assert c1.shape == a.shape == (1, 16, 12, 12)


def test_an_input_can_be_looked_at_too() -> None:
    prepared = prepare(graph(BLOCK))
    assert_same(run(with_outputs(prepared, ["x"]), FEED)[1:], [FEED["x"]])


def test_a_value_of_unknown_type_can_be_looked_at() -> None:
    proto = model("h = Gelu(x)  y = Conv(h, w)", X, "float[N,4,P,Q] y", w=WEIGHT)
    proto.graph.node[0].domain = "com.microsoft"
    proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    found = run(with_outputs(prepare(graph(proto)), ["h"]), {"x": normal(1, 4, 6, 6)})
    assert [value.shape for value in found] == [(1, 4, 4, 4), (1, 4, 6, 6)]


def test_nodes_are_called_after_what_they_write() -> None:
    named = onnx.load_from_string(with_node_names(graph(BLOCK)))
    assert all(node.name == node.output[0] for node in named.graph.node)
    assert interface(named) == interface(BLOCK)
    assert_same(run(named, FEED), run(BLOCK, FEED))


@pytest.mark.parametrize("prepared", [False, True], ids=["as exported", "prepared"])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_convolution_gets_its_own_event(prepared: bool, threads: int) -> None:
    view = prepare(graph(BLOCK)) if prepared else graph(BLOCK)
    nodes = OnnxRuntime(threads).profile(with_node_names(view), FEED, runs=2)
    events = {node.name: node.median_ms for node in nodes if node.op_type in ("Conv", "FusedConv")}
    assert len(events) == 5
    found = convolution_times(view, events)
    # Folding gives the convolution the name of what follows it.
    expected = ["s0", "n1", "n2", "c3", "c4"] if prepared else CONVOLUTIONS
    assert sorted(found) == sorted(expected)
    assert sorted(found.values()) == sorted(events.values())
    by_end = {event.removesuffix("_nchwc"): milliseconds for event, milliseconds in events.items()}
    for conv, end in zip(expected[:3], ("r0", "r1", "r2"), strict=True):
        if end in by_end:  # the name of what was fused last, where the layout is blocked
            assert found[conv] == by_end[end]


def test_events_are_traced_to_the_convolution_they_grew_from() -> None:
    times = {"r0_nchwc": 1.0, "r1_nchwc": 2.0, "r2_nchwc": 3.0, "c3_nchwc": 4.0, "e_nchwc": 5.0}
    expected = {"s0": 1.0, "c1": 2.0, "c2": 3.0, "c3": 4.0, "c4": 5.0}
    assert convolution_times(graph(BLOCK), times) == expected
    times = {"e": 5.0, "c3": 4.0, "r2": 3.0, "n1": 2.0, "s0": 1.0}
    assert convolution_times(graph(BLOCK), times) == expected


def test_events_that_lead_nowhere_are_left_out() -> None:
    assert convolution_times(graph(BLOCK), {"x_nchwc": 1.0, "nothing": 2.0, "ReorderInput": 3.0}) == {}
    proto = model(
        "h = Softmax(x)  t = Relu(h)  y = Conv(t, w)",
        X,
        "float[N,4,P,Q] y",
        w=WEIGHT,
    )
    assert convolution_times(graph(proto), {"t": 1.0}) == {}


def test_a_trunk_of_many_joins_takes_no_time() -> None:
    """Every block doubles the ways back, but not the values they pass."""
    blocks = " ".join(f"g{n} = Sigmoid(v{n})  v{n + 1} = Mul(v{n}, g{n})" for n in range(60))
    proto = model(f"[k] v0 = Conv(x, w)  {blocks}", X, "float[N,4,P,Q] v60", w=WEIGHT)
    assert convolution_times(graph(proto), {"v0": 1.0, "v60": 2.0}) == {"v0": 1.0}


def test_the_way_from_what_folding_left_to_the_original() -> None:
    view = graph(BLOCK)
    for site in (node.outputs[0].name for node in prepare(view).graph if node.op_type == "Conv"):
        assert upstream_convs(view, [site]) == [site.replace("n", "c")]
    assert upstream_convs(view, ["x", "unheard of"]) == [None, None]


def test_serialised_is_the_model() -> None:
    assert_same(run(serialized(graph(BLOCK)), FEED), run(BLOCK, FEED))


OTHERS = model(
    """[up] t = ConvTranspose<strides = [2,2]>(x, w)  r = Relu(t)  p = GlobalAveragePool(r)
       f = Flatten(p)  g = Gemm(f, m, b)  q = Relu(g)  h = MatMul(q, m)  s = Add(h, b)  [k] u = Conv(r, w)
       y = Softmax(s)  z = Sigmoid(u)""",
    "float[N,8,H,W] x",
    "float[N,8] y, float[N,8,P,Q] z",
    w=normal(8, 8, 2, 2),
    m=normal(8, 8),
    b=normal(8),
)


def test_every_other_kind_gets_its_own_event() -> None:
    """Also where it took in an activation or a bias."""
    view = prepare(graph(OTHERS))
    nodes = OnnxRuntime().profile(with_node_names(view), {"x": normal(1, 8, 6, 6)}, runs=2)
    kinds = ("Gemm", "FusedGemm", "MatMul", "ConvTranspose")
    events = {node.name: node.median_ms for node in nodes if node.op_type in kinds}
    assert len(events) == 3
    assert {"g", "h"}.isdisjoint(events)
    found = product_times(view, events)
    assert sorted(found) == ["g", "h", "t"]
    assert sorted(found.values()) == sorted(events.values())
    assert product_times(view, {"u": 1.0, "nothing": 2.0}) == {}
    for output in ("t", "g", "h", "u"):
        assert upstream_convs(graph(OTHERS), [output]) == [output]


def test_what_a_site_reads_is_followed_by_it() -> None:
    followed = read_by(graph(OTHERS), ["g", "u"])
    assert {"t", "r", "f", "x"} <= followed
    assert followed.isdisjoint({"g", "u", "h", "s", "y", "z"})
    assert read_by(graph(OTHERS), ["t"]) == {"x"}


BODIES = [name for name in NESTED if not name.endswith("opset 8")]


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("prepared", [False, True], ids=["as exported", "prepared"])
def test_the_way_leads_into_bodies_and_out_of_them(name: str, prepared: bool) -> None:
    """From the last convolution to the inner one, and from that to the first."""
    view = graph(NESTED[name].proto)
    view = prepare(view) if prepared else view
    assert {"a", "c", "b"} <= read_by(view, ["y"])
    by_inner = read_by(view, ["c"])
    assert "a" in by_inner
    assert by_inner.isdisjoint({"c", "b", "y"})
