"""Weights that a graph computes from constants alone: cast from half precision, transposed, normalised.

onnxruntime computes them once, when it loads a model. Here they are computed where they are read, and the
graph is left as it is: what a replaced convolution alone needed goes with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Set

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

BEFORE_WEIGHTS = {
    *("Cast", "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Concat", "Slice"),
    *("Add", "Sub", "Mul", "Div", "Sqrt", "Pow", "Reciprocal", "Abs", "Exp", "Softplus"),
    *("ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare", "Expand", "Constant", "ConstantOfShape"),
}
"""What exporters put between a stored weight and the convolution; each gives the same answer every time."""

_MOST_NODES = 64
_MOST_NUMBERS = 2**26
"""In any value on the way."""


def computed(
    value: ir.Value, operators: Set[str] = BEFORE_WEIGHTS, opset: int | None = None
) -> NDArray[np.floating] | None:
    """The numbers of ``value`` if they follow from constants, and None if not, or if not in this way.

    Args:
        value: of any graph.
        operators: that may stand in between.
        opset: to take them from, where that is not the model's.
    """
    try:
        nodes = _nodes_behind(value, operators)
        leaves = {leaf.name: leaf for node in nodes for leaf in _leaves(node)}
        graph = onnx.helper.make_graph(
            [ir.serde.serialize_node(node) for node in nodes],
            "weight",
            [],
            [onnx.ValueInfoProto(name=value.name)],
            [_tensor(leaf) for leaf in leaves.values()],
        )
        imports = onnx.helper.make_opsetid("", opset or _opset(value))
        return _run(onnx.helper.make_model(graph, opset_imports=[imports]))
    except _Unknown:
        return None


class _Unknown(Exception):
    """It is no constant."""


def _nodes_behind(value: ir.Value, operators: Set[str]) -> list[ir.Node]:
    """The nodes that compute it, in order."""
    found: set[ir.Node] = set()
    front = [value]
    while front:
        made = front.pop().producer()
        if made is None or made.op_type not in operators or made.domain not in ("", "ai.onnx"):
            raise _Unknown
        if len(found) > _MOST_NODES or not all(map(_is_small, made.outputs)):
            raise _Unknown
        if made not in found:
            found.add(made)
            front += [v for v in made.inputs if v is not None and not _is_constant(v)]
    graph = next(iter(found)).graph
    ordered = [node for node in graph or () if node in found]
    if len(ordered) < len(found):  # part of it lies outside the body of a branch
        raise _Unknown
    return ordered


def _is_constant(value: ir.Value) -> bool:
    return value.const_value is not None and not value.is_graph_input()


def _is_small(value: ir.Value) -> bool:
    shape = value.shape
    known = shape is not None and all(isinstance(size, int) for size in shape)
    return known and math.prod(shape.numpy()) <= _MOST_NUMBERS  # type: ignore[union-attr]


def _leaves(node: ir.Node) -> Iterator[ir.Value]:
    for value in node.inputs:
        if value is not None and _is_constant(value):
            if not _is_small(value):
                raise _Unknown
            yield value


def _tensor(leaf: ir.Value) -> onnx.TensorProto:
    assert leaf.const_value is not None
    return onnx.numpy_helper.from_array(np.asarray(leaf.const_value.numpy()), leaf.name)


def _opset(value: ir.Value) -> int:
    made = value.producer()
    assert made is not None
    return made.graph.opset_imports.get("", 1) if made.graph is not None else 1


def _run(model: onnx.ModelProto) -> NDArray[np.floating]:
    from onnx.reference import ReferenceEvaluator

    try:
        with np.errstate(all="ignore"):
            (array,) = ReferenceEvaluator(model).run(None, {})
    except Exception as error:  # whatever the reference makes of a graph that is not valid
        raise _Unknown from error
    return np.asarray(array)
