"""Nodes that multiply each channel by a number and add one: ``y[c] = s[c]·x[c] + t[c]``.

Mul, Add, Sub, Div with a constant, Neg, BatchNormalization as inference has it (Ioffe and Szegedy 2015),
and a depthwise 1×1 Conv are all of this form, which is closed under composition:
``s₂(s₁x + t₁) + t₂ = (s₂s₁)x + (s₂t₁ + t₂)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.read import (
    FLOATS,
    Array,
    channels,
    convolution,
    floats,
    is_op,
    per_channel,
    rank,
    two_inputs,
)


@dataclass(frozen=True, eq=False)
class Affine:
    """``scale·source + shift``, channel by channel.

    Attributes:
        node: that computes it. source: what it reads.
        scale: ``(C,)``. shift: ``(C,)``.
    """

    node: ir.Node
    source: ir.Value
    scale: Array
    shift: Array

    @property
    def is_scale(self) -> bool:
        """Whether it adds nothing."""
        return not self.shift.any()

    def after(self, before: Affine) -> Affine:
        """The two as one: this one reads what ``before`` computes."""
        return Affine(
            self.node, before.source, self.scale * before.scale, self.scale * before.shift + self.shift
        )


def affine(node: ir.Node | None) -> Affine | None:
    """A node as a scale and a shift per channel; None if it is not of this form, or not for sure."""
    if node is None or len(node.outputs) < 1:
        return None
    if is_op(node, "Add", "Sub", "Mul", "Div"):
        found = _arithmetic(node)
    elif is_op(node, "Neg"):
        found = _of(node, node.inputs[0], -1.0, 0.0)
    elif is_op(node, "BatchNormalization"):
        found = _norm(node)
    else:
        found = _depthwise(node)
    if found is None or found.source.dtype not in FLOATS or rank(found.source) not in (3, 4, 5):
        return None
    return found if np.isfinite(found.scale).all() and np.isfinite(found.shift).all() else None


def _of(node: ir.Node, source: ir.Value | None, scale: Array | float, shift: Array | float) -> Affine | None:
    count = channels(source)
    if source is None or count is None:
        return None
    whole = [np.broadcast_to(np.asarray(n, np.float64), (count,)).copy() for n in (scale, shift)]
    return Affine(node, source, *whole)


def _arithmetic(node: ir.Node) -> Affine | None:
    both = two_inputs(node)
    if both is None:
        return None
    first, second = both
    if (number := per_channel(second, first)) is not None and floats(first) is None:
        if node.op_type == "Div":
            return _of(node, first, 1.0 / number, 0.0) if number.all() else None
        signs = {"Add": 1.0, "Sub": -1.0}
        sign = signs.get(node.op_type)
        return _of(node, first, number, 0.0) if sign is None else _of(node, first, 1.0, sign * number)
    if (number := per_channel(first, second)) is not None and node.op_type != "Div":
        if node.op_type == "Mul":
            return _of(node, second, number, 0.0)
        return _of(node, second, 1.0 if node.op_type == "Add" else -1.0, number)
    return None


def _norm(node: ir.Node) -> Affine | None:
    attributes = node.attributes
    if len(node.outputs) > 1 or attributes.get_int("training_mode", 0) != 0:
        return None
    if attributes.get_int("spatial", 1) != 1 or len(node.inputs) != 5:
        return None
    rows = [floats(value) for value in node.inputs[1:]]
    count = channels(node.inputs[0])
    if any(row is None or row.shape != (count,) for row in rows):
        return None
    gamma, beta, mean, variance = (row for row in rows if row is not None)
    if variance.min(initial=0.0) < 0.0:
        return None
    scale = gamma / np.sqrt(variance + attributes.get_float("epsilon", 1e-5))
    return _of(node, node.inputs[0], scale, beta - scale * mean)


def _depthwise(node: ir.Node) -> Affine | None:
    conv = convolution(node)
    if conv is None or not conv.is_depthwise or set(conv.kernel) != {1}:
        return None
    if not conv.has_unit_stride or not conv.is_unpadded:
        return None
    shift = np.zeros(conv.out_channels) if conv.bias is None else conv.bias
    if (conv.weight == 1.0).all() and not shift.any():
        return None  # it is there to carry an activation, see clip.py
    return _of(node, node.inputs[0], conv.weight.reshape(-1), shift)
