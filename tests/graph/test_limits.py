"""A small file that asks for endless work is refused in a sentence; the same in reasonable measure is not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from sepfactor.errors import ModelError
from sepfactor.graph.load import load
from tests.graph.build import model, normal

X, Y = "float[N,4,9,8] x", "float[N,4,9,8] y"
CONV = "Conv<pads = [1,1,1,1]>"
WEIGHT = normal(4, 4, 3, 3)


def doubling(levels: int, *, of_conv: bool = True) -> onnx.ModelProto:
    """Functions each of which calls the one before twice."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    first = (
        helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)
        if of_conv
        else helper.make_node("Neg", ["x"], ["y"])
    )
    functions = [helper.make_function("own", "f0", ["x", "w"], ["y"], [first], imports)]
    for level in range(1, levels):
        calls = [
            helper.make_node(f"f{level - 1}", ["x", "w"], ["a"], domain="own"),
            helper.make_node(f"f{level - 1}", ["x", "w"], ["b"], domain="own"),
            helper.make_node("Add", ["a", "b"], ["y"]),
        ]
        functions.append(helper.make_function("own", f"f{level}", ["x", "w"], ["y"], calls, imports))
    proto = model("y = Relu(x)", X, Y, w=WEIGHT)
    del proto.graph.node[:]
    proto.graph.node.append(helper.make_node(f"f{levels - 1}", ["x", "w"], ["y"], domain="own"))
    proto.functions.extend(functions)
    del proto.opset_import[:]
    proto.opset_import.extend(imports)
    return proto


@pytest.mark.parametrize("of_conv", [True, False])
@pytest.mark.parametrize("levels", [12, 40, 300])
def test_functions_that_double_with_each_level(levels: int, of_conv: bool) -> None:
    with pytest.raises(ModelError, match=r"functions call each other so often"):
        load(doubling(levels, of_conv=of_conv))


def test_functions_that_are_called_often_are_written_out() -> None:
    assert sum(node.op_type == "Conv" for node in load(doubling(5)).model.graph) == 2**4
    proto = doubling(3)
    for number in range(300):
        proto.graph.node.append(helper.make_node("f0", ["x", "w"], [f"more{number}"], domain="own"))
    assert sum(node.op_type == "Conv" for node in load(proto).model.graph) == 304


def with_sparse(shape: tuple[int, ...], count: int, in_constant: bool) -> onnx.ModelProto:
    proto = model(f"y = {CONV}(x, w)", X, Y, w=WEIGHT)
    for number in range(count):
        values = helper.make_tensor(f"s{number}", 1, [1], [1.0])
        sparse = helper.make_sparse_tensor(values, helper.make_tensor("i", 7, [1], [5]), shape)
        if in_constant:
            proto.graph.node.append(helper.make_node("Constant", [], [f"c{number}"], sparse_value=sparse))
        else:
            proto.graph.sparse_initializer.append(sparse)
    return proto


@pytest.mark.parametrize("in_constant", [True, False])
@pytest.mark.parametrize(("shape", "count"), [((2**14, 2**14), 1), ((2**12, 2**11), 3), ((2**31, 2**31), 1)])
def test_sparse_tensors_that_are_huge_once_dense(shape, count: int, in_constant: bool) -> None:
    with pytest.raises(ModelError, match="sparse tensors that take"):
        load(with_sparse(shape, count, in_constant))


def test_sparse_tensors_of_a_reasonable_size() -> None:
    assert any("became dense" in note for note in load(with_sparse((512, 512), 2, False)).notes)


def loop(count: int | None, *, condition: str, kept: bool, to_begin: str = "yes") -> onnx.ModelProto:
    """A Loop around a convolution; ``condition`` is computed of ``before`` in its body."""
    more = f", {X[:-1]}each" if kept else ""
    return model(
        f"""y{", all" if kept else ""} = Loop({"n" if count is not None else ""}, {to_begin}, x)
            <body = l (int64 i, bool before, {X[:-1]}s) => (bool after, {X[:-1]}e{more})
            {{after = {condition}  e = {CONV}(s, w)  {"each = Relu(s)" if kept else ""}}}>""",
        X,
        Y + (", float[T,N,4,9,8] all" if kept else ""),
        w=WEIGHT,
        yes=np.array(True),
        **({} if count is None else {"n": np.array(count)}),
    )


@pytest.mark.parametrize("to_begin", ["yes", ""])
@pytest.mark.parametrize("condition", ["Identity(before)", "Identity(yes)", "Constant<value = bool {1}>()"])
@pytest.mark.parametrize(("count", "kept"), [(2**40, False), (2**40, True), (2**17, True), (None, False)])
def test_loops_that_nothing_stops(count: int | None, kept: bool, condition: str, to_begin: str) -> None:
    if count is None and not to_begin:
        return
    with pytest.raises(ModelError, match=r"which turns .* with nothing to stop it"):
        load(loop(count, condition=condition, kept=kept, to_begin=to_begin))


@pytest.mark.parametrize(
    "proto",
    [
        loop(1000, condition="Identity(before)", kept=True),
        loop(2**17, condition="Identity(before)", kept=False),
        loop(2**62, condition="Not(before)", kept=False),  # as exporters write a while
    ],
)
def test_loops_that_end(proto: onnx.ModelProto) -> None:
    load(proto)
