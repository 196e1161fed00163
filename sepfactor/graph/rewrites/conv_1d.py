"""Convolutions of rows, as convolutions of maps of height one.

    squeeze(W[:, :, 1, :] ∗ unsqueeze(x)) = W∗x        f(squeeze(x)) = squeeze(f(x))

onnxruntime has the blocked layout for maps alone, and computes convolutions of rows (audio, time series) by
copying columns. What is between two of them, activations, pools, sums and products, is done of maps as well,
so that the axis is put in and taken out at the ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.alike import POOLS, treats_numbers_alike
from sepfactor.graph.rewrites.read import (
    SINGLE,
    Convolution,
    convolution,
    is_op,
    made_by,
    rank,
    readers,
    two_inputs,
)
from sepfactor.graph.rewrites.rule import RULE, Build, Edit, Rule
from sepfactor.layout import BLOCK, blockable

_NAME = "conv-1d"
_HEIGHT = 2
"""The axis that is put in."""

_AXES_ARE_INPUT = 13
_OF_TWO = ("Add", "Mul", "Sub")
_GLOBAL = ("GlobalAveragePool", "GlobalMaxPool")


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    if rank(node.outputs[0]) != 3 or len(node.outputs) != 1:
        return None
    conv = convolution(node)
    if conv is not None:
        return _of_convolution(node, conv)
    sources = _maps(node)
    return None if sources is None else lambda edit: _again(edit, node, sources, node.inputs[len(sources) :])


def _of_convolution(node: ir.Node, conv: Convolution) -> Build | str | None:
    if conv.dtype not in SINGLE or len(conv.kernel) != 1 or node.inputs[0] is None:
        return None
    if not _runs_in_blocks(node, conv):
        return "its channels do not fit the blocked layout"

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        assert node.inputs[0] is not None
        source = _map(node.inputs[0]) or _with_axis(edit, "Unsqueeze", node.inputs[0])
        weight = edit.constant(np.expand_dims(conv.weight, _HEIGHT), conv.dtype)
        return _again(edit, node, [source], [weight, *node.inputs[2:]])

    return build


def _runs_in_blocks(node: ir.Node, conv: Convolution) -> bool:
    if conv.is_depthwise or conv.group == 1:
        if blockable(conv.in_channels):
            return True
        behind = readers(node.outputs[0]) or ()
        return (
            conv.group == 1 and conv.in_channels < BLOCK <= conv.out_channels and any(map(_goes_on, behind))
        )
    return False


def _goes_on(node: ir.Node) -> bool:
    return treats_numbers_alike(node) or is_op(node, "Conv", *POOLS, *_OF_TWO)


def _maps(node: ir.Node) -> list[ir.Value] | None:
    """The maps of what a node reads, where it can do of them what it does of rows."""
    if is_op(node, *_OF_TWO, "Concat"):
        given = node.inputs if is_op(node, "Concat") else two_inputs(node)
        if given is None or (is_op(node, "Concat") and node.attributes.get_int("axis", 0) != 1):
            return None
    elif treats_numbers_alike(node) or is_op(node, *POOLS, *_GLOBAL):
        given = node.inputs[:1]
    else:
        return None
    found = [_map(value) for value in given]
    maps = [value for value in found if value is not None]
    return maps if len(maps) == len(found) else None


def _map(value: ir.Value | None) -> ir.Value | None:
    """The map that a row was taken out of by this rule."""
    node = made_by(value, "Squeeze")
    return node.inputs[0] if node is not None and node.metadata_props.get(RULE) == _NAME else None


def _again(
    edit: Edit,
    node: ir.Node,
    maps: list[ir.Value],
    others: Sequence[ir.Value | None],
) -> Mapping[ir.Value, ir.Value]:
    attributes = [_of_maps(attribute) for attribute in node.attributes.values()]
    answer = edit.emit(node.op_type, [*maps, *others], attributes, like=node)
    return {node.outputs[0]: _with_axis(edit, "Squeeze", answer)}


def _of_maps(attribute: ir.Attr) -> ir.Attr:
    """What says something of an axis, with one more before it."""
    if attribute.name in ("kernel_shape", "strides", "dilations"):
        return ir.AttrInt64s(attribute.name, [1, *attribute.as_ints()])
    if attribute.name == "pads":
        begin, end = attribute.as_ints()
        return ir.AttrInt64s("pads", [0, begin, 0, end])
    return attribute


def _with_axis(edit: Edit, op_type: str, value: ir.Value) -> ir.Value:
    if edit.opset >= _AXES_ARE_INPUT:
        return edit.emit(op_type, [value, edit.sizes(_HEIGHT)])
    return edit.emit(op_type, [value], {"axes": [_HEIGHT]})


CONV_1D = Rule(_NAME, "convolutions of rows as of maps of height one", _check)
