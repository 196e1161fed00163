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
    value: ir.Value, opset: int, operators: Set[str] = BEFORE_WEIGHTS
) -> NDArray[np.floating] | None:
    """The numbers of ``value`` if they follow from constants, and None if not, or if not in this way.

    Args:
        value: of any graph; what computes it may be in several, around each other.
        opset: to take the operators from. A body does not know that of its model.
        operators: that may stand in between.
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
        imports = onnx.helper.make_opsetid("", opset)
        model = onnx.helper.make_model(graph, opset_imports=[imports])
        unsized = {made.name for node in nodes for made in node.outputs if _size(made) is None}
        return _run(model) if not unsized or unsized <= _small_ones(model) else None
    except _Unknown:
        return None


class _Unknown(Exception):
    """It is no constant."""


def _nodes_behind(value: ir.Value, operators: Set[str]) -> list[ir.Node]:
    """The nodes that compute it, in order."""
    seen: set[ir.Node] = set()
    ordered: list[ir.Node] = []

    def visit(value: ir.Value) -> None:
        made = value.producer()
        if made is None or made.op_type not in operators or made.domain not in ("", "ai.onnx"):
            raise _Unknown
        if made in seen:
            return
        if len(seen) > _MOST_NODES or any(map(_is_large, made.outputs)):
            raise _Unknown
        seen.add(made)
        for source in made.inputs:
            if source is not None and not _is_constant(source):
                visit(source)
        ordered.append(made)

    visit(value)
    return ordered


def _is_constant(value: ir.Value) -> bool:
    return value.const_value is not None and not value.is_graph_input()


def _size(value: ir.Value) -> int | None:
    shape = value.shape
    return math.prod(shape.numpy()) if shape is not None and shape.is_static() else None


def _is_large(value: ir.Value) -> bool:
    size = _size(value)
    return size is not None and size > _MOST_NUMBERS


def _small_ones(model: onnx.ModelProto) -> set[str]:
    """Names of the values a graph computes that turn out to be small once all its constants are at hand.

    In a body, nothing was known of the sizes that constants outside of it ask for.
    """
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception as error:  # whatever it makes of a graph that is not valid, or too large
        raise _Unknown from error
    sizes = {}
    for value in (*graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(size.HasField("dim_value") for size in kind.shape.dim):
            sizes[value.name] = math.prod(size.dim_value for size in kind.shape.dim)
    return {name for name, size in sizes.items() if size <= _MOST_NUMBERS}


def _leaves(node: ir.Node) -> Iterator[ir.Value]:
    for value in node.inputs:
        if value is not None and _is_constant(value):
            if _is_large(value):
                raise _Unknown
            yield value


def _tensor(leaf: ir.Value) -> onnx.TensorProto:
    assert leaf.const_value is not None
    return onnx.numpy_helper.from_array(np.asarray(leaf.const_value.numpy()), leaf.name)


def _run(model: onnx.ModelProto) -> NDArray[np.floating]:
    from onnx.reference import ReferenceEvaluator

    try:
        with np.errstate(all="ignore"):
            (array,) = ReferenceEvaluator(model).run(None, {})
    except Exception as error:  # whatever the reference makes of a graph that is not valid
        raise _Unknown from error
    return np.asarray(array)
