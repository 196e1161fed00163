"""Channels of zeros between two convolutions, so that both run in the blocked layout.

    W∗x = [W 0]∗[x; f(0∗u)]

onnxruntime runs a dense convolution in blocks where what it reads has a multiple of four channels (from
sixteen on); one that reads 18, 42 or 255 copies columns instead, and the layout changes on both sides. One
that reads eight takes them from the plain layout, number by number. A few more channels, made by rows of
zeros and read by columns of zeros, cost less, and blocks are filled up anyway. The way leads back from the
convolution that reads them through activations, pools and depthwise ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.alike import treats_channels_alike
from sepfactor.graph.rewrites.read import (
    SINGLE,
    Array,
    Convolution,
    convolution,
    only_reader,
    rank,
)
from sepfactor.graph.rewrites.rule import Build, Edit, Rule
from sepfactor.layout import BLOCK, blockable

_MULTIPLE = 4

_LEAST = BLOCK // 2
"""Of fewer channels a kernel for plain maps computes none in vain."""


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    reader = convolution(node)
    if reader is None or reader.group != 1 or rank(node.outputs[0]) != 4 or reader.dtype not in SINGLE:
        return None
    count = reader.in_channels
    if count < _LEAST or blockable(count):
        return None
    way = _way(node.inputs[0])
    if isinstance(way, str):
        return way
    more = max(-count % _MULTIPLE, BLOCK - count)

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        value: ir.Value | None = None
        for step in way:
            value = _widened(edit, step, value, more)
        assert value is not None  # a convolution begins it
        inputs = [value, edit.constant(_padded(reader.weight, 1, more), reader.dtype), *node.inputs[2:]]
        return {node.outputs[0]: edit.again(node, inputs)}

    return build


def _way(value: ir.Value | None) -> list[ir.Node] | str:
    """From the convolution that makes the channels to the last node before they are read, or why not."""
    way: list[ir.Node] = []
    while value is not None:
        node = value.producer()
        if node is None:
            break
        if only_reader(value) is None:
            return "something else reads what it reads"
        conv = convolution(node)
        way.insert(0, node)
        if conv is not None and conv.group == 1:
            return way
        if not (treats_channels_alike(node) or (conv is not None and conv.is_depthwise)):
            break
        value = node.inputs[0]
    return "no convolution makes what it reads"


def _widened(edit: Edit, node: ir.Node, value: ir.Value | None, more: int) -> ir.Value:
    """A node of the way with more channels: ``value`` is what it reads, except of the first."""
    conv = convolution(node)
    if conv is None:
        return edit.again(node, [value, *node.inputs[1:]])
    inputs = [
        value if conv.is_depthwise and value is not None else node.inputs[0],
        *_weights(edit, conv, more),
    ]
    attributes = dict(node.attributes)
    if conv.group > 1:
        attributes["group"] = ir.AttrInt64("group", conv.group + more)
    return edit.emit("Conv", inputs, [*attributes.values()], like=node)


def _weights(edit: Edit, conv: Convolution, more: int) -> list[ir.Value]:
    found = [edit.constant(_padded(conv.weight, 0, more), conv.dtype)]
    if conv.bias is not None:
        found.append(edit.constant(_padded(conv.bias, 0, more), conv.dtype))
    return found


def _padded(array: Array, axis: int, more: int) -> Array:
    ends = [(0, more if i == axis else 0) for i in range(array.ndim)]
    return np.pad(array, ends)


ROUND_CHANNELS = Rule("round-channels", "channels of zeros for the blocked layout", _check)
