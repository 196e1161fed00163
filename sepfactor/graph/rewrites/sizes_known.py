"""Numbers that follow from known sizes as constants, and branches that they decide as what is in them.

    if shape(x)[1] = 1: squeeze(x) else: x      is squeeze(x) where x is (N, 1, T)
    reshape(x, (N, 1, 2·T))                     is reshape(x, (0, 1, −1)) where x is (N, …)

onnxruntime does the first where all sizes are known. A branch it leaves, and knows no shape behind it, so
that it fuses nothing that asks for one (torch exports a squeeze so).
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from sepfactor.graph.rewrites.read import constant, is_op
from sepfactor.graph.rewrites.rule import Build, Edit, Rule
from sepfactor.graph.rewrites.whole_numbers import WHOLE, is_known, whole_numbers

_BRANCHES = ("else_branch", "then_branch")


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    if is_op(node, "If"):
        return _branch(node)
    if is_op(node, "Reshape"):
        return _reshape(node)
    if len(node.outputs) != 1 or node.outputs[0].dtype not in WHOLE or node.outputs[0].is_graph_output():
        return None
    found = whole_numbers(node.outputs[0])
    if found is None or not all(is_known(number) for number in found.reshape(-1)):
        return None
    dtype = node.outputs[0].dtype

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        assert dtype is not None  # it is one of whole numbers
        return {node.outputs[0]: edit.constant(found.astype(dtype.numpy()), dtype)}

    return build


def _reshape(node: ir.Node) -> Build | str | None:
    """The sizes that a map keeps as 0, and one that is open as −1."""
    source, sizes = node.inputs[0], whole_numbers(node.inputs[1]) if len(node.inputs) > 1 else None
    if source is None or sizes is None or constant(node.inputs[1]) is not None or sizes.ndim != 1:
        return None
    before = [] if source.shape is None else [s if isinstance(s, int) else s.value for s in source.shape]
    wanted: list[int] = []
    for place, number in enumerate(sizes):
        kept = number is not None and place < len(before) and before[place] == number
        wanted.append(int(number) if is_known(number) else 0 if kept else -1)
    if wanted.count(-1) > 1 or node.attributes.get_int("allowzero", 0) != 0:
        return None

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        return {node.outputs[0]: edit.again(node, [source, edit.sizes(*wanted)])}

    return build


def _branch(node: ir.Node) -> Build | str | None:
    decided = whole_numbers(node.inputs[0])
    if decided is None or decided.size != 1 or not is_known(decided.reshape(-1)[0]):
        return None
    graph = node.attributes[_BRANCHES[bool(decided.reshape(-1)[0])]].as_graph()
    for inner in graph:
        if len(inner.outputs) != 1 or not is_op(inner, inner.op_type) or _has_body(inner):
            return "a branch that is decided holds more than plain operators"

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        made: dict[ir.Value | None, ir.Value] = {}
        for value in graph.initializers.values():
            assert value.const_value is not None
            made[value] = edit.constant(value.const_value.numpy(), value.const_value.dtype)
        for inner in graph:
            inputs = [made.get(value, value) for value in inner.inputs]
            made[inner.outputs[0]] = edit.emit(inner.op_type, inputs, [*inner.attributes.values()])
        ends = [edit.emit("Identity", [made.get(value, value)]) for value in graph.outputs]
        return dict(zip(node.outputs, ends, strict=True))

    return build


def _has_body(node: ir.Node) -> bool:
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in kinds for attribute in node.attributes.values())


SIZES_KNOWN = Rule("sizes-known", "numbers that follow from sizes as constants, branches they decide", _check)
