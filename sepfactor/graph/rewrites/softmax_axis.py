"""A softmax over rows that lie side by side.

    softmax_a(x) = transpose⁻¹(softmax(transpose(x))),  transpose: axis a last

onnxruntime computes a softmax along the last axis of rows quickly. For any other axis it transposes, by a way
that is several times slower than Transpose itself; and a softmax along the last axis between two
transpositions that undo one another it makes into such a one. So the axis is brought to the end here, and the
rows are put into two axes, through which no transposition is moved.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from sepfactor.graph.rewrites.read import is_op, made_by, only_reader
from sepfactor.graph.rewrites.rule import Build, Edit, Rule

_BY_AXIS = 13
"""Before, it was over all axes from the one named."""


def _check(node: ir.Node, opset: int) -> Build | str | None:
    if not is_op(node, "Softmax", "LogSoftmax") or opset < _BY_AXIS:
        return None
    source = node.inputs[0]
    if source is None or source.shape is None or len(source.shape) < 3:
        return None
    axes = len(source.shape)
    axis = node.attributes.get_int("axis", -1) % axes
    count = source.shape[axis]
    if not isinstance(count, int):
        return "how long its axis is, is not known"
    if axis == axes - 1 and not _is_between_transpositions(node):
        return None
    order = [*(i for i in range(axes) if i != axis), axis]
    sizes = [source.shape[i] for i in order]

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        value = source if order[axis] == axis else edit.emit("Transpose", [source], {"perm": order})
        rows = edit.emit("Reshape", [value, edit.sizes(-1, count)])
        soft = edit.emit(node.op_type, [rows], {"axis": -1}, like=node)
        known = [size if isinstance(size, int) else -1 for size in sizes]
        back = edit.sizes(*known) if known.count(-1) < 2 else edit.emit("Shape", [value])
        answer = edit.emit("Reshape", [soft, back])
        if order[axis] != axis:
            answer = edit.emit("Transpose", [answer], {"perm": [order.index(i) for i in range(axes)]})
        return {node.outputs[0]: answer}

    return build


def _is_between_transpositions(node: ir.Node) -> bool:
    return made_by(node.inputs[0], "Transpose") is not None and is_op(
        only_reader(node.outputs[0]), "Transpose"
    )


SOFTMAX_AXIS = Rule("softmax-axis", "a softmax over rows side by side", _check)
