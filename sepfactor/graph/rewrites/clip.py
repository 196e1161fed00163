"""A bound in the middle of blocked maps, as a Clip that a convolution takes in.

    Max(x, c) = Clip(x, c, ∞)        Min(x, c) = Clip(x, −∞, c)

onnxruntime fuses Clip into the convolution before; by itself it leaves the blocked layout, as Max and Min
do. So where something else was fused into that convolution already, a depthwise 1×1 Conv of ones comes
between, which changes nothing but carries the Clip: one pass in place of three. LeakyRelu by itself is
carried likewise.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.affine import Affine
from sepfactor.graph.rewrites.blocked import is_blocked
from sepfactor.graph.rewrites.depthwise import depthwise
from sepfactor.graph.rewrites.hard_sigmoid import bounded, bounds
from sepfactor.graph.rewrites.read import SINGLE, channels, is_op, made_by, only_reader, rank
from sepfactor.graph.rewrites.rule import Build, Edit, Rule

_FUSED_ALONE = ("Conv", "Add")
"""What a convolution is that nothing was fused into yet, or a sum that it takes in."""


def _check_bound(node: ir.Node, opset: int) -> Build | str | None:
    found = _bounds(node)
    if found is None:
        return None
    source, low, high = found
    behind = only_reader(node.outputs[0])
    if behind is not None and (both := _bounds(behind)) is not None and both[0] is source:
        return None  # the last of the two takes both
    if source.dtype not in SINGLE or rank(node.outputs[0]) != rank(source):
        return None
    carried = _needs_carrier(source)
    if is_op(node, "Clip") and not carried:
        return None  # it is as good as it can be
    if not is_blocked(source):
        return "what it bounds is not in the blocked layout"

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        read = _carrier(edit, node, source) if carried else source
        if opset < 11:
            most = float(np.finfo(np.float32).max)
            attributes = {"min": max(low, -most), "max": min(high, most)}
            return {node.outputs[0]: edit.emit("Clip", [read], attributes, like=node)}
        ends = [
            edit.constant(np.array(end), source.dtype) if np.isfinite(end) else None for end in (low, high)
        ]
        return {node.outputs[0]: edit.emit("Clip", [read, *ends], like=node)}

    return build


def _bounds(node: ir.Node) -> tuple[ir.Value, float, float] | None:
    """``(x, low, high)`` of a node that bounds ``x`` on one side or on both."""
    if not is_op(node, "Clip", "Max", "Min"):
        return None
    if (both := bounds(node.outputs[0])) is not None:
        return both
    one = bounded(node)
    if one is None:
        return None
    return (one[0], one[2], np.inf) if one[1] == "Max" else (one[0], -np.inf, one[2])


def _check_leaky(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    source = node.inputs[0] if is_op(node, "LeakyRelu") else None
    if source is None or source.dtype not in SINGLE or not _needs_carrier(source) or not is_blocked(source):
        return None

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        return {node.outputs[0]: edit.again(node, [_carrier(edit, node, source)])}

    return build


def _needs_carrier(source: ir.Value) -> bool:
    return made_by(source, *_FUSED_ALONE) is None or only_reader(source) is None


def _carrier(edit: Edit, node: ir.Node, source: ir.Value) -> ir.Value:
    """The same values, as what a convolution answers."""
    count = channels(source)
    assert count is not None  # a convolution before it has some
    same = Affine(node, source, np.ones(count), np.zeros(count))
    assert source.dtype is not None
    return depthwise(edit, same, source.dtype)


CLIP = Rule("clip", "a bound as a Clip in the blocked layout", _check_bound)

CARRY_LEAKY_RELU = Rule("carry-leaky-relu", "a LeakyRelu by itself in the blocked layout", _check_leaky)
