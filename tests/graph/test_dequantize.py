"""Weights and values behind DequantizeLinear become float ones, where that is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from sepfactor.graph.prepare import prepare
from sepfactor.graph.survey import survey
from tests.graph.build import assert_same, check, model, normal, run, run_reference

X, Y = "float[N,4,H,W] x", "float[N,6,P,Q] y"
CONV = "y = Conv<pads = [1,1,1,1]>(x, w, c)"


def whole(*shape: int, kind: Any = np.int8, seed: int = 0) -> np.ndarray:
    limits = np.iinfo(kind)
    return np.random.default_rng(seed).integers(limits.min, limits.max, shape, kind, endpoint=True)


def floated(proto: onnx.ModelProto) -> ir.Model:
    return prepare(ir.from_proto(proto), dequantized=True)


def operators(network: ir.Model) -> list[str]:
    return [node.op_type for node in network.graph]


WEIGHTS = {
    "per tensor": ("w = DequantizeLinear(q, s)", {"s": np.float32(0.01)}),
    "with a zero point": (
        "w = DequantizeLinear(q, s, z)",
        {"s": np.float32(0.01), "z": np.int8(-7)},
    ),
    "per channel": (
        "w = DequantizeLinear<axis = 0>(q, s, z)",
        {"s": np.linspace(0.01, 0.03, 6, dtype=np.float32), "z": whole(6, seed=3)},
    ),
    "per input channel": (
        "w = DequantizeLinear<axis = -3>(q, s)",
        {"s": np.linspace(0.01, 0.03, 4, dtype=np.float32)},
    ),
    "turned over": (
        "d = DequantizeLinear(q, s)  w = Transpose<perm = [0,1,3,2]>(d)",
        {"s": np.float32(0.01)},
    ),
    "quantised in the graph": (
        "q2 = QuantizeLinear(f, s, z)  w = DequantizeLinear(q2, s, z)",
        {"f": normal(6, 4, 3, 3), "s": np.float32(0.01), "z": np.int8(3)},
    ),
}


@pytest.mark.parametrize(("body", "more"), WEIGHTS.values(), ids=WEIGHTS.keys())
@pytest.mark.parametrize("opset", [13, 17, 21])
def test_weights_become_the_floats_they_stand_for(body: str, more: dict[str, Any], opset: int) -> None:
    used = more if "f" in more else {**more, "q": whole(6, 4, 3, 3)}
    bias = {"b": np.arange(6, dtype=np.int32) * 100, "t": np.float32(0.001)}
    proto = model(f"{body}  c = DequantizeLinear(b, t)  {CONV}", X, Y, opset=opset, **used, **bias)
    network = floated(proto)
    (site,) = survey(network)
    assert site.stage is not None, site.skipped
    assert site.bias is not None
    assert "DequantizeLinear" not in operators(network)
    check(network)
    feed = {"x": normal(2, 4, 7, 8)}
    wanted = run(proto, feed, plain=True)  # 1.23 optimises what is turned over wrongly
    assert_same(run(network, feed), wanted)
    assert_same(run_reference(network, feed), wanted)
    assert survey(prepare(ir.from_proto(proto)))[0].skipped is not None


def test_weights_in_blocks() -> None:
    body = "w = DequantizeLinear<axis = 1, block_size = 2>(q, s)  y = Conv(x, w)"
    scales = np.abs(normal(6, 2, 3, 3)) * np.float32(0.01)
    proto = model(body, X, Y, opset=21, ir_version=10, q=whole(6, 4, 3, 3), s=scales)
    network = floated(proto)
    (site,) = survey(network)
    assert site.stage is not None
    expected = whole(6, 4, 3, 3) * np.repeat(scales, 2, axis=1)
    np.testing.assert_allclose(site.stage.weight, expected, rtol=1e-6)


def test_weights_of_four_bits_in_half_precision() -> None:
    proto = model("w = DequantizeLinear(q, s)  y = Conv(x, w)", "float16[N,2,H,W] x", "float16[N,1,P,Q] y",
                  opset=21, ir_version=10, s=np.float16(0.5))  # fmt: skip
    numbers = [-8, 7, 1, 0, 3, -2, 5, 6]
    proto.graph.initializer.append(helper.make_tensor("q", TensorProto.INT4, [1, 2, 2, 2], numbers))
    (site,) = survey(floated(proto))
    assert site.stage is not None
    assert site.dtype == np.float16
    np.testing.assert_array_equal(site.stage.weight.ravel(), 0.5 * np.array(numbers))


@pytest.mark.parametrize("opset", [10, 11, 13, 21])
@pytest.mark.parametrize(("kind", "zero"), [(np.uint8, 0), (np.uint8, 128), (np.int8, -128), (np.int8, 5)])
def test_values_stay_in_the_range_they_had(opset: int, kind: Any, zero: int) -> None:
    """Off by rounding only, of half a step at most, also where whole numbers ran out."""
    body = "q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Relu(d)"
    scale = np.float32(0.02)
    proto = model(body, "float[N] x", "float[N] y", opset=opset, s=scale, z=kind(zero))
    x = np.linspace(-9, 9, 999, dtype=np.float32)
    network = floated(proto)
    check(network)
    assert operators(network) == ["Clip", "Relu"]
    for runtime in (run, run_reference):
        (exact,), (rounded,) = runtime(network, {"x": x}), run(proto, {"x": x})
        assert np.abs(exact - rounded).max() <= scale / 2 * 1.001
        assert exact.max() == rounded.max()


ELSE = {
    "another scale": "q = QuantizeLinear(x, s, z)  y0 = DequantizeLinear(q, t, z)  y = Relu(y0)",
    "another zero point": "q = QuantizeLinear(x, s, z)  y0 = DequantizeLinear(q, s, o)  y = Relu(y0)",
    "a scale for each channel": "q = QuantizeLinear(x, r, u)  y0 = DequantizeLinear(q, r, u)  y = Relu(y0)",
    "a scale that is computed": (
        "m = ReduceMax<keepdims = 0>(x)  q = QuantizeLinear(x, m, z)  y0 = DequantizeLinear(q, m, z)"
        "  y = Relu(y0)"
    ),
    "whole numbers from elsewhere": (
        "q, s0, z0 = DynamicQuantizeLinear(x)  y0 = DequantizeLinear(q, s0, z0)  y = Relu(y0)"
    ),
}


@pytest.mark.parametrize("body", ELSE.values(), ids=ELSE.keys())
def test_all_else_stays(body: str) -> None:
    made = {
        "s": np.float32(0.1), "t": np.float32(0.2), "z": np.uint8(9), "o": np.uint8(8),
        "r": np.full(4, 0.1, np.float32), "u": np.zeros(4, np.uint8),
    }  # fmt: skip
    used = {name: array for name, array in made.items() if f" {name})" in body or f" {name}," in body}
    proto = model(body, "float[N,4] x", "float[N,4] y", **used)
    network = floated(proto)
    assert operators(network) == [node.op_type for node in proto.graph.node]
    assert_same(run(network, {"x": normal(3, 4)}), run(proto, {"x": normal(3, 4)}))


def test_an_output_of_the_network_keeps_its_name() -> None:
    proto = model(
        "q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z)",
        "float[N] x",
        "float[N] y",
        s=np.float32(0.1),
        z=np.uint8(9),
    )
    network = floated(proto)
    check(network)
    assert operators(network) == ["Clip"]
    assert [value.name for value in network.graph.outputs] == ["y"]
    feed = {"x": normal(99)}
    assert np.abs(run(network, feed)[0] - run(proto, feed)[0]).max() <= 0.0501


def test_a_quantised_value_that_others_read_stays_beside() -> None:
    body = "q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Relu(d)"
    proto = model(body, "float[N] x", "float[N] y, uint8[N] q", s=np.float32(0.1), z=np.uint8(9))
    assert sorted(operators(floated(proto))) == ["Clip", "QuantizeLinear", "Relu"]


@pytest.mark.parametrize("opset", [10, 13])
def test_in_the_branch_of_an_if_too(opset: int) -> None:
    """A body says nothing of its operator set: it is that of the model."""
    inner = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            helper.make_node("Relu", ["d"], ["r"]),
        ],
        "branch",
        [],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)],
    )
    proto = model(
        "e = Neg(x)", "float[2,3] x, bool yes", "float[2,3] e", opset=opset, s=np.float32(0.5), z=np.int8(1)
    )
    proto.graph.node.append(helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner))
    proto.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3]))
    found = floated(proto)
    check(found)
    x = np.array([[-100, -3, 0], [1, 40, 100]], np.float32)
    _, y = run(found, {"x": x, "yes": np.array(True)})
    np.testing.assert_array_equal(y, np.maximum(np.clip(x, -64.5, 63), 0))
