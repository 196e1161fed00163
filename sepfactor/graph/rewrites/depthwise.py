"""A scale and a shift of each channel, in the middle of blocked maps, as a depthwise 1×1 convolution.

    y[c] = s[c]·x[c] + t[c]

Where neither neighbour can take it in (a shift before a padded convolution, say), onnxruntime computes Mul
and Add of a constant in another layout, with a reorder before and after. A depthwise 1×1 Conv computes the
same in the blocked layout, in one pass however many they were, and what follows fuses into it.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from sepfactor.graph.rewrites.affine import Affine, affine
from sepfactor.graph.rewrites.blocked import is_blocked
from sepfactor.graph.rewrites.read import SINGLE, fits, is_op, only_reader, rank
from sepfactor.graph.rewrites.rule import Build, Edit, Rule

_WRITTEN_OUT = ("Add", "Sub", "Mul", "Div", "Neg")


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    found = affine(node) if is_op(node, *_WRITTEN_OUT) else None
    if found is None or rank(found.source) != 4 or found.source.dtype not in SINGLE:
        return None
    if _goes_on(node):
        return None  # the last of a row takes the others in
    whole = _row(found)
    if not is_blocked(whole.source):
        return "what it scales is not in the blocked layout"
    dtype = whole.source.dtype
    assert dtype is not None
    if not fits(dtype, whole.scale, whole.shift):
        return "its weights would overflow their type"

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        return {node.outputs[0]: depthwise(edit, whole, dtype, like=node)}

    return build


def depthwise(edit: Edit, by: Affine, dtype: ir.DataType, *, like: ir.Node | None = None) -> ir.Value:
    """A scale and a shift as a depthwise 1×1 Conv."""
    count = len(by.scale)
    inputs = [by.source, edit.constant(by.scale.reshape(count, 1, 1, 1), dtype)]
    if not by.is_scale:
        inputs.append(edit.constant(by.shift, dtype))
    return edit.emit("Conv", inputs, {"kernel_shape": (1, 1), "group": count}, like=like)


def _goes_on(node: ir.Node) -> bool:
    behind = only_reader(node.outputs[0])
    return is_op(behind, *_WRITTEN_OUT) and affine(behind) is not None


def _row(last: Affine) -> Affine:
    """All scales and shifts in a row that ends here, as one."""
    whole = last
    while only_reader(whole.source) is not None and (before := affine(whole.source.producer())) is not None:
        whole = whole.after(before)
    return whole


DEPTHWISE = Rule("depthwise", "scale and shift as a depthwise convolution in the blocked layout", _check)
