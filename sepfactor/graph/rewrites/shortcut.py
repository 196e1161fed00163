"""Shortcuts without weights, in the blocked layout.

A shortcut of option A (He et al. 2016, arXiv:1512.03385) takes every second pixel and appends channels of
zeros: Slice and Pad, both outside of the blocked layout. There

    Pad(x)[o] = Σᵢ P[o, i]·x[i]      with P of ones and zeros: a 1×1 Conv, into which the sum behind fuses
    Slice(x)[i, j] = x[s·i, s·j]     a MaxPool over 1×1 pixels with strides ``s``

Zeros around the map are the padding of that Conv. An infinite ``x`` makes NaN where it is times zero.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.blocked import is_blocked
from sepfactor.graph.rewrites.read import SINGLE, channels, constant, is_op, rank, scalar
from sepfactor.graph.rewrites.rule import Build, Edit, Rule

_FAR = 2**31 - 1
"""An end of a Slice from which on exporters mean: all of it."""


def _check_pad(node: ir.Node, opset: int) -> Build | str | None:
    source = node.inputs[0] if is_op(node, "Pad") and node.inputs else None
    count = channels(source)
    pads = _pads(node, opset) if source is not None and rank(source) == 4 else None
    if source is None or count is None or pads is None or not (pads[1] or pads[5]):
        return None
    if min(pads) < 0 or pads[0] or pads[4]:
        return "it crops, or adds to the batch"
    if source.dtype not in SINGLE:
        return "onnxruntime has no blocked convolution of its type"
    if not is_blocked(source):
        return "what it pads is not in the blocked layout"
    weight = np.zeros((pads[1] + count + pads[5], count, 1, 1))
    weight[pads[1] : pads[1] + count, :, 0, 0] = np.eye(count)

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        attributes = {"kernel_shape": (1, 1), "pads": (*pads[2:4], *pads[6:])}
        inputs = [source, edit.constant(weight, source.dtype)]
        return {node.outputs[0]: edit.emit("Conv", inputs, attributes, like=node)}

    return build


def _pads(node: ir.Node, opset: int) -> tuple[int, ...] | None:
    """``(begins, ends)`` of the axes of a map around which a Pad puts zeros."""
    if node.attributes.get_string("mode", "constant") != "constant":
        return None
    if opset < 11:
        if node.attributes.get_float("value", 0.0):
            return None
        return tuple(int(p) for p in node.attributes.get_ints("pads", ())) or None
    given = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if given is None or given.size != 8 or any(axes is not None for axes in node.inputs[3:]):
        return None
    if value is not None and scalar(value) != 0.0:
        return None
    return tuple(int(p) for p in given)


def _check_slice(node: ir.Node, opset: int) -> Build | str | None:
    if not is_op(node, "Slice") or opset < 10 or len(node.inputs) != 5 or rank(node.inputs[0]) != 4:
        return None
    source = node.inputs[0]
    rows = [constant(value) for value in node.inputs[1:]]
    if source is None or any(row is None for row in rows):
        return None
    starts, ends, axes, steps = ([int(n) for n in row] for row in rows if row is not None)
    strides = {axis % 4: step for axis, step in zip(axes, steps, strict=True)}
    if any(starts) or min(ends) < _FAR or not set(strides) <= {2, 3} or min(steps) < 1 or max(steps) < 2:
        return None
    if source.dtype not in SINGLE or not is_blocked(source):
        return "what it takes pixels of is not in the blocked layout"

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        attributes = {"kernel_shape": (1, 1), "strides": (strides.get(2, 1), strides.get(3, 1))}
        return {node.outputs[0]: edit.emit("MaxPool", [source], attributes, like=node)}

    return build


PAD_CHANNELS = Rule("pad-channels", "channels of zeros by a 1×1 convolution", _check_pad)

SUBSAMPLE = Rule("subsample", "every second pixel by a pool over one", _check_slice)
