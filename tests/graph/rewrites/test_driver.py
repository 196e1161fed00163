"""Rules together: bodies, names, metadata, models as they were."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rewrites import REWRITES, apply
from tests.graph.build import assert_same, check, model, normal, run, with_weights_as_inputs
from tests.graph.rewrites.rewriting import rewritten

PADDLE = (
    "a = Conv <pads = [1, 1, 1, 1], group = 16> (x, w)  m = Mul (s, a)  n = Add (m, t)"
    " p = Add (n, three)  c = Clip (p, zero, six)  q = Mul (n, c)  h = Div (q, six)"
    " u = Mul (s, h)  l = Add (u, t)  y = Conv (l, v)"
)
"""A layer of PP-LCNetV3 as Paddle's exporter writes it."""


def paddle(opset: int = 12) -> onnx.ModelProto:
    numbers = {"s": [0.4], "t": [0.3], "three": 3, "zero": 0, "six": 6}
    return model(
        PADDLE,
        "float[N, 16, 8, 8] x",
        "float[N, 24, 8, 8] y",
        opset=opset,
        w=normal(16, 1, 3, 3),
        v=normal(24, 16, 1, 1),
        **{name: np.float32(number) for name, number in numbers.items()},
    )


def test_rules_work_together() -> None:
    result = rewritten(paddle())
    assert [node.op_type for node in result.model.graph] == ["Conv", "HardSwish", "Conv"]
    feed = {"x": normal(2, 16, 8, 8)}
    assert_same(run(result.model, feed), run(paddle(), feed))


def test_names_of_rules_are_their_own_and_all_say_what_they_do() -> None:
    assert len({rule.name for rule in REWRITES}) == len(REWRITES)
    assert all(rule.does and not rule.does.endswith(".") for rule in REWRITES)


def test_the_model_given_is_left_alone() -> None:
    prepared = prepare(load(paddle()).model)
    before = ir.to_proto(prepared).SerializeToString(deterministic=True)
    apply(prepared, REWRITES)
    assert ir.to_proto(prepared).SerializeToString(deterministic=True) == before


def test_a_second_time_finds_nothing() -> None:
    once = rewritten(paddle())
    again = apply(once.model, REWRITES)
    assert not again.counts
    as_bytes = [ir.to_proto(m).SerializeToString(deterministic=True) for m in (once.model, again.model)]
    assert as_bytes[0] == as_bytes[1]


def test_convolutions_keep_their_names_and_new_nodes_say_where_they_are_from() -> None:
    proto = paddle()
    for node in proto.graph.node:
        node.name = f"node of {node.output[0]}"
    result = rewritten(proto)
    convs = [node for node in result.model.graph if node.op_type == "Conv"]
    assert [node.name for node in convs] == ["node of a", "node of y"]
    assert all("sepfactor.rewrite" in node.metadata_props for node in convs)


def test_what_is_not_rewritten_is_as_it_was() -> None:
    proto = model("y = Relu (x)", "float[N, 4] x", "float[N, 4] y")
    assert [node.op_type for node in rewritten(proto).model.graph] == ["Relu"]
    assert not rewritten(proto).counts


def test_weights_a_caller_may_replace_are_no_constants() -> None:
    proto = with_weights_as_inputs(paddle())
    assert apply(load(proto).model, REWRITES).counts == {}


def test_before_opset_7_nothing_is_done() -> None:
    proto = model(
        "a = Conv (x, w)  y = Mul <broadcast = 1> (a, k)",
        "float[1, 4, 5, 5] x",
        "float[1, 4, 3, 3] y",
        opset=6,
        w=normal(4, 4, 3, 3),
        k=np.float32([2]),
    )
    result = rewritten(proto)
    assert not result.counts
    assert "opset" in result.notes[0]


@pytest.mark.parametrize("opset", [12, 16])
def test_bodies(opset: int) -> None:
    """Of an If, whose branches read convolutions and numbers of the graph around."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    branch = helper.make_graph(
        [
            helper.make_node("Conv", ["a", "v"], ["b"]),
            helper.make_node("Mul", ["b", "k"], ["r"]),
        ],
        "branch",
        [],
        [helper.make_tensor_value_info("r", kind, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["m"], ["o"])], "other", [], [helper.make_tensor_value_info("o", kind, None)]
    )
    proto = model(
        "a = Conv (x, w)  m = Mul (a, k)",
        "float[1, 4, 7, 7] x, bool q",
        "float[1, 4, P, Q] y",
        opset=opset,
        w=normal(4, 4, 3, 3),
        v=normal(4, 4, 1, 1),
        k=np.float32(0.3),
    )
    proto.graph.node.append(helper.make_node("If", ["q"], ["y"], then_branch=branch, else_branch=other))
    result = rewritten(proto, "fold-backward")
    assert result.counts == {"fold-backward": 1}  # that of the branch; what two graphs read stays
    check(result.model)
    for q in (True, False):
        feed = {"x": normal(1, 4, 7, 7), "q": np.array(q)}
        assert_same(run(result.model, feed), run(proto, feed))


def test_a_graph_of_unknown_shapes() -> None:
    body = "a = Conv (x, w)  y = Mul (a, k)"
    proto = model(body, "float[1] x", "float[1] y", w=normal(4, 4, 3, 3), k=np.float32(2))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.ClearField("shape")
    feed = {"x": normal(1, 4, 5, 5)}
    assert_same(run(rewritten(proto).model, feed), run(proto, feed))
