"""A softmax before a transposition and not behind it, where its axis lies further inside there.

    softmax_a(transpose_p(x)) = transpose_p(softmax_p[a](x))

(The distributions of boxes in YOLOv8 and after.) onnxruntime computes a softmax along the last axis, and
transposes for any other, forth and back: the fewer axes lie behind it, the faster.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from sepfactor.graph.rewrites.read import is_op, made_by, only_reader
from sepfactor.graph.rewrites.rule import Build, Edit, Rule

_BY_AXIS = 13
"""Before, it was over all axes from the one named."""


def _check(node: ir.Node, opset: int) -> Build | str | None:
    if not is_op(node, "Softmax", "LogSoftmax") or opset < _BY_AXIS or node.inputs[0] is None:
        return None
    turn = made_by(node.inputs[0], "Transpose")
    if turn is None or only_reader(node.inputs[0]) is None:
        return None
    perm = list(turn.attributes.get_ints("perm", ()))
    axis = node.attributes.get_int("axis", -1)
    if not perm or not -len(perm) <= axis < len(perm) or perm[axis] <= axis % len(perm):
        return None

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        soft = edit.emit(node.op_type, [turn.inputs[0]], {"axis": perm[axis]}, like=node)
        return {node.outputs[0]: edit.again(turn, [soft])}

    return build


SOFTMAX_AXIS = Rule("softmax-axis", "a softmax along an axis further inside", _check)
