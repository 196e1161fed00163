"""An average moved before a 1×1 layer: the same where nothing bends between, found only where it may be."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sepfactor.factor.stage import Ints
from sepfactor.graph.averages import averaged_sites, move_averages
from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.survey import survey
from tests.graph.build import assert_same, check, model, normal, run, run_reference

GLOBAL = "y = GlobalAveragePool (t)"


def head(
    between: str = "t = Identity (a)",
    average: str = GLOBAL,
    size: str = "7, 5",
    opset: int = 17,
    attributes: str = "",
    outputs: str = "float[N, 6, P, Q] y",
    **weights: Any,
) -> onnx.ModelProto:
    return model(
        f"a = Conv {attributes} (x, w, b)  {between}  {average}",
        f"float[N, 4, {size}] x",
        outputs,
        opset=opset,
        w=normal(6, 4, 1, 1),
        b=normal(6, seed=1),
        **weights,
    )


def found(proto: onnx.ModelProto) -> dict[str, tuple[Ints, Ints, bool]]:
    prepared = prepare(load(proto).model)
    sites = averaged_sites(prepared, survey(prepared))
    return {name: (a.size, a.block, a.linear) for name, a in sites.items()}


def moved(proto: onnx.ModelProto, block: Ints) -> Any:
    return move_averages(prepare(load(proto).model), {"a": block})


STRAIGHT = {
    "nothing": "t = Identity (a)",
    "dropout": "t = Dropout (a)",
    "scale and shift": "m = Mul (a, s)  n = Add (k, m)  t = Neg (n)",
}
CONSTANTS = {"s": normal(6, 1, 1, seed=2), "k": np.float32(0.5)}
AVERAGES = {
    "global": (GLOBAL, 17),
    "mean, axes as attribute": ("y = ReduceMean <axes = [2, 3]> (t)", 17),
    "mean, axes from behind": ("y = ReduceMean <axes = [-1, -2]> (t)", 17),
    "mean, axes as input": ("y = ReduceMean (t, axes)", 18),
}


@pytest.mark.parametrize("between", STRAIGHT.values(), ids=STRAIGHT)
@pytest.mark.parametrize(("average", "opset"), AVERAGES.values(), ids=AVERAGES)
@given(block=st.one_of(st.just(()), st.tuples(st.integers(1, 7), st.integers(1, 5))))
@settings(max_examples=6)
def test_where_nothing_bends_the_order_does_not_matter(
    between: str, average: str, opset: int, block: Ints
) -> None:
    axes = {"axes": np.array([2, 3])} if opset > 17 else {}
    proto = head(between, average, opset=opset, **CONSTANTS, **axes)
    assert found(proto) == {"a": ((7, 5), (), True)}
    result, feed = moved(proto, block), {"x": normal(2, 4, 7, 5, seed=3)}
    check(result.model)
    assert_same(run(result.model, feed), run(proto, feed))
    assert_same(run_reference(result.model, feed), run(proto, feed))


def test_the_layer_works_on_fewer_pixels() -> None:
    result = moved(head("t = Relu (a)"), (2, 2))
    shapes = {v.name: v.shape for node in result.model.graph for v in node.outputs}
    assert list(shapes["a"])[2:] == [4, 3]  # type: ignore[arg-type]
    assert set(result.site_of.values()) == {"a"}
    assert set(result.site_of) <= shapes.keys()
    assert result.inputs["a"] in result.site_of


@pytest.mark.parametrize("block", [(2, 2), (7, 5), ()])
def test_behind_a_relu_it_is_the_mean_of_what_the_blocks_answer(block: Ints) -> None:
    proto, x = head("t = Relu (a)"), normal(1, 4, 7, 5, seed=3)
    w, b = normal(6, 4, 1, 1)[:, :, 0, 0], normal(6, seed=1)
    height, width = block or (7, 5)
    total = np.zeros(6)
    for i in range(0, 7, height):
        for j in range(0, 5, width):
            cell = x[0, :, i : i + height, j : j + width]
            total += cell[0].size * np.maximum(w @ cell.mean((1, 2)) + b, 0)
    (answer,) = run(moved(proto, block).model, {"x": x})
    np.testing.assert_allclose(answer[0, :, 0, 0], total / 35, atol=1e-5)


BENT = {
    "relu": "t = Relu (a)",
    "clip": "t = Clip (a, low, high)",
    "silu": "g = Sigmoid (a)  t = Mul (a, g)",
    "hard swish of old": "p = Add (a, three)  q = Clip (p, low, high)  r = Mul (a, q)  t = Div (r, high)",
    "prelu": "t = PRelu (a, s)",
}


@pytest.mark.parametrize("between", BENT.values(), ids=BENT)
def test_activations_are_seen_through(between: str) -> None:
    bounds = {name: np.float32(v) for name, v in (("low", 0), ("high", 6), ("three", 3))}
    proto = head(between, **bounds, s=normal(6, 1, 1, seed=2))
    assert found(proto) == {"a": ((7, 5), (), False)}
    feed = {"x": np.broadcast_to(normal(1, 4, 1, 1, seed=4), (1, 4, 7, 5)).copy()}  # all pixels alike
    assert_same(run(moved(proto, (3, 2)).model, feed), run(proto, feed))


ELSEWHERE = {
    "a shortcut": {"between": "z = MaxPool <kernel_shape=[1,1]> (a)  t = Add (a, z)"},
    "another reader": {
        "outputs": "float[N, 6, P, Q] y, float[N, 6, 7, 5] z",
        "between": "z = Relu (a)  t = Relu (a)",
    },
    "an output": {"outputs": "float[N, 6, P, Q] y, float[N, 6, 7, 5] a", "between": "t = Relu (a)"},
    "a map of weights": {"between": "t = Mul (a, s)", "s": normal(7, 5)},
    "a row of weights": {"between": "t = Mul (a, s)", "s": normal(5)},
    "softmax": {"between": "t = Softmax <axis = 1> (a)"},
    "the mean of channels too": {"average": "y = ReduceMean <axes = [1, 2, 3]> (t)"},
    "one axis": {"average": "y = ReduceMean <axes = [2]> (t)"},
    "a maximum": {"average": "y = GlobalMaxPool (t)"},
    "blocks that overlap": {"average": "y = AveragePool <kernel_shape = [3, 3]> (t)"},
    "pads": {"average": "y = AveragePool <kernel_shape=[2,2], strides=[2,2], pads=[1,1,1,1]> (t)"},
    "ragged blocks": {"average": "y = AveragePool <kernel_shape=[2,2], strides=[2,2], ceil_mode=1> (t)"},
    "strides": {"attributes": "<strides = [2, 2]>"},
    "zeros around": {"attributes": "<pads = [1, 1, 1, 1]>"},
    "dropout while training": {
        "between": "t = Dropout (a, ratio, yes)",
        "ratio": np.float32(0.5),
        "yes": np.True_,
    },
}


@pytest.mark.parametrize("given", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_is_looked_at_otherwise_stays(given: dict[str, Any]) -> None:
    assert found(head(**given)) == {}


def test_what_an_if_reads_stays() -> None:
    graph = head(average=GLOBAL)
    inner = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["a"], ["r"])],
        "inner",
        [],
        [onnx.helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, None)],
    )
    graph.graph.input.append(onnx.helper.make_tensor_value_info("q", onnx.TensorProto.BOOL, []))
    graph.graph.node.append(onnx.helper.make_node("If", ["q"], ["z"], then_branch=inner, else_branch=inner))
    graph.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None))
    assert found(graph) == {}


def test_a_larger_kernel_stays() -> None:
    proto = model(
        f"a = Conv <pads = [1, 1, 1, 1]> (x, w)  t = Relu (a)  {GLOBAL}",
        "float[N, 4, 7, 5] x",
        "float[N, 6, 1, 1] y",
        w=normal(6, 4, 3, 3),
    )
    assert found(proto) == {}


@pytest.mark.parametrize("size", ["6, 4", "7, 5"])
def test_a_pooled_layer_is_averaged_by_the_same_blocks(size: str) -> None:
    """As between the blocks of a DenseNet; what the blocks leave over is left over before, too."""
    proto = head(average="y = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (t)", size=size)
    sizes = tuple(int(n) for n in size.split(","))
    assert found(proto) == {"a": (sizes, (2, 2), True)}
    result, feed = moved(proto, (2, 2)), {"x": normal(2, 4, *sizes, seed=5)}
    check(result.model)
    assert_same(run(result.model, feed), run(proto, feed))
    assert sum(node.op_type == "AveragePool" for node in result.model.graph) == 1


def test_an_open_map_can_only_be_averaged_whole() -> None:
    proto = head("t = Relu (a)", size="H, W")
    assert found(proto) == {"a": ((), (), False)}
    for height in (3, 8):
        feed = {"x": np.broadcast_to(normal(1, 4, 1, 1, seed=4), (1, 4, height, 5)).copy()}
        assert_same(run(moved(proto, ()).model, feed), run(proto, feed))


def test_two_heads_are_moved_at_once_and_names_stay_apart() -> None:
    proto = model(
        "a = Conv (x, w)  y = GlobalAveragePool (a)  c = Conv (x, w)  z = GlobalAveragePool (c)",
        "float[N, 4, 7, 5] x",
        "float[N, 6, 1, 1] y, float[N, 6, 1, 1] z",
        w=normal(6, 4, 1, 1),
    )
    result = move_averages(prepare(load(proto).model), {"a": (2, 2), "c": ()})
    feed = {"x": normal(1, 4, 7, 5)}
    check(result.model)
    assert_same(run(result.model, feed), run(proto, feed))
    assert result.inputs["a"] != result.inputs["c"]
