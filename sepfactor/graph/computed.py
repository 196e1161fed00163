"""Weights that a graph computes from constants alone: cast from half precision, transposed, normalised.

onnxruntime computes them once, when it loads a model. Here they are computed where they are read, and the
graph is left as it is: what a replaced convolution alone needed goes with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Set

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

_ARRAY_STEPS = {
    *("Cast", "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Concat", "Slice"),
    *("Add", "Sub", "Mul", "Div", "Sqrt", "Pow", "Reciprocal", "Abs", "Exp", "Log", "Neg", "Sum", "Mean"),
    *("Sin", "Cos", "Tanh", "Sigmoid", "Softplus", "Relu", "Clip", "Min", "Max", "Where", "Sign", "Softmax"),
    *("ReduceL1", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceMax", "ReduceMin"),
    *("Expand", "Tile", "Split", "Gather", "Pad", "Constant", "ConstantOfShape", "Shape", "Range"),
    *("InstanceNormalization", "BatchNormalization", "LayerNormalization", "LpNormalization", "Equal"),
}
"""Each is a few passes over its numbers, so that large ones are no trouble."""

_PRODUCTS = {"MatMul", "Gemm", "Einsum"}

_RANDOM = {
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"),
}

_QUANTISED = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
"""What goes through these is only made float where that is asked for."""

_STANDARD = ("", "ai.onnx")

_MOST_NODES = 256
_MOST_NUMBERS = 2**26
"""In any value on the way."""

_FEW_NUMBERS = 2**18
"""The same around operators whose reference may be a loop in Python."""

_MOST_MACS = 2**33
"""Of one product."""


def computed(value: ir.Value, opset: int, operators: Set[str] | None = None) -> NDArray[np.floating] | None:
    """The numbers of ``value`` if they follow from constants, and None if not, or if not in this way.

    Whatever gives the same answer every time is computed, as long as it is no great work.

    Args:
        value: of any graph; what computes it may be in several, around each other.
        opset: to take the operators from. A body does not know that of its model.
        operators: that may stand in between; if not given, all that draw nothing at random, look into no
            body and undo no quantisation.
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
        unsized = [made for node in nodes for made in node.outputs if made.name and _size(made) is None]
        shapes = _inferred(model) if unsized else {}
        for node in nodes:
            _check_work(node, shapes)
        return _run(model)
    except _Unknown:
        return None


class _Unknown(Exception):
    """It is no constant."""


def _nodes_behind(value: ir.Value, operators: Set[str] | None) -> list[ir.Node]:
    """The nodes that compute it, in order."""
    seen: set[ir.Node] = set()
    ordered: list[ir.Node] = []

    def visit(value: ir.Value) -> None:
        made = value.producer()
        if made is None or made.domain not in _STANDARD or not _may_stand_between(made, operators):
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


def _may_stand_between(node: ir.Node, operators: Set[str] | None) -> bool:
    if operators is not None:
        return node.op_type in operators
    draws = node.op_type in _RANDOM or (node.op_type == "Dropout" and len(node.inputs) > 2)
    has_bodies = any(
        a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()
    )
    return not (draws or has_bodies or node.op_type in _QUANTISED)


def _check_work(node: ir.Node, inferred: Mapping[str, tuple[int, ...]]) -> None:
    """Fail where a node is great work, or where it cannot be told."""
    shapes = [_shape(value, inferred) for value in (*node.outputs, *node.inputs) if value is not None]
    made, read = shapes[: len(node.outputs)], shapes[len(node.outputs) :]
    sizes = [math.prod(shape) for shape in shapes]
    is_plain = node.op_type in _ARRAY_STEPS or node.op_type in _PRODUCTS or node.op_type in _QUANTISED
    if max(sizes, default=0) > (_MOST_NUMBERS if is_plain else _FEW_NUMBERS):
        raise _Unknown
    if node.op_type in _PRODUCTS:
        inner = math.prod(max(shape, default=1) for shape in read)
        if math.prod(made[0]) * min(inner, max(map(math.prod, read), default=1)) > _MOST_MACS:
            raise _Unknown


def _shape(value: ir.Value, inferred: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Of a value on the way; of an output that is left out, that of nothing."""
    if not value.name:
        return (0,)
    shape = value.shape
    if shape is not None and shape.is_static():
        return tuple(shape.numpy())
    if value.const_value is not None:
        return tuple(value.const_value.shape.numpy())
    if value.name not in inferred:
        raise _Unknown
    return inferred[value.name]


def _is_constant(value: ir.Value) -> bool:
    return value.const_value is not None and not value.is_graph_input()


def _size(value: ir.Value) -> int | None:
    shape = value.shape
    return math.prod(shape.numpy()) if shape is not None and shape.is_static() else None


def _is_large(value: ir.Value) -> bool:
    size = _size(value)
    return size is not None and size > _MOST_NUMBERS


def _inferred(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of the values a graph computes that turn out to be known once all its constants are at hand.

    In a body, nothing was known of the sizes that constants outside of it ask for.
    """
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:  # whatever it makes of a graph that is not valid, or too large
        raise _Unknown from error
    shapes = {}
    for value in (*graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(size.HasField("dim_value") for size in kind.shape.dim):
            shapes[value.name] = tuple(size.dim_value for size in kind.shape.dim)
    return shapes


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
