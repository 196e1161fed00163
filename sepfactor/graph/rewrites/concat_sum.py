"""A convolution behind a Concat, as a sum of convolutions of its parts.

    W∗[x₁; …; xₙ] = W₁∗x₁ + … + Wₙ∗xₙ        [f(x₁); f(x₂)] = f([x₁; x₂]) for what works channel by channel

Concat reads and writes every number once, to no other end than that they lie side by side (the fire modules
of SqueezeNet, the necks of detectors). onnxruntime adds up a convolution over groups of channels anyway, and
fuses the sum of two into the second. What is added is what the convolution answers, so it is done where that
is clearly less than what is put together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.alike import POOLS, treats_channels_alike
from sepfactor.graph.rewrites.read import (
    SINGLE,
    channels,
    convolution,
    is_op,
    rank,
    readers,
)
from sepfactor.graph.rewrites.rule import Build, Edit, Rule
from sepfactor.layout import blockable

_WORTH = 0.7
"""Numbers that are added, as a share of those put together; of more, little or nothing is gained."""


@dataclass(frozen=True, eq=False)
class _Joined:
    """What a convolution reads: a Concat, and what works channel by channel behind it, in order."""

    concat: ir.Node
    way: tuple[ir.Node, ...]

    @property
    def parts(self) -> list[ir.Value]:
        return [value for value in self.concat.inputs if value is not None]


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    conv = convolution(node)
    joined = _joined(node.inputs[0]) if conv is not None and conv.group == 1 else None
    if conv is None or joined is None or conv.dtype not in SINGLE or rank(node.outputs[0]) != 4:
        return None
    sizes = [channels(part) for part in joined.parts]
    counts = [count for count in sizes if count is not None and blockable(count)]
    if len(counts) < len(sizes) or sum(counts) != conv.in_channels:
        return "a part has too few or an odd number of channels for the blocked layout"
    added = _added(joined.concat.outputs[0])
    if added is None:
        return "something other than a convolution reads the parts together"
    if added * (len(counts) - 1) > _WORTH * sum(counts):
        return "what would be added is more than what is put together"

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        ends = np.cumsum(counts)
        total: ir.Value | None = None
        for part, count, end in zip(joined.parts, counts, ends, strict=True):
            value = part
            for step in joined.way:
                value = edit.emit(step.op_type, [value, *step.inputs[1:]], [*step.attributes.values()])
            weight = edit.constant(conv.weight[:, end - count : end], conv.dtype)
            bias = node.inputs[2:] if total is None else ()
            answer = edit.emit("Conv", [value, weight, *bias], [*node.attributes.values()])
            total = answer if total is None else edit.emit("Add", [total, answer])
        assert total is not None  # a Concat has something to put together
        return {node.outputs[0]: total}

    return build


def _joined(value: ir.Value | None) -> _Joined | None:
    """The Concat of channels behind which a value stands, if one does."""
    way: list[ir.Node] = []
    node = value.producer() if value is not None else None
    while node is not None and treats_channels_alike(node):
        way.insert(0, node)
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    if node is None or not is_op(node, "Concat") or len(node.inputs) < 2:
        return None
    if node.attributes.get_int("axis", 0) not in (1, -3) or rank(node.outputs[0]) != 4:
        return None
    return _Joined(node, tuple(way))


def _added(value: ir.Value) -> float | None:
    """Channels that convolutions make of a value, per pixel of it; None where anything else reads it."""
    nodes, total = readers(value), 0.0
    for node in nodes or ():
        conv = convolution(node)
        if conv is not None and conv.group == 1 and node.inputs[0] is value:
            total += conv.out_channels / _stride(node)
        elif treats_channels_alike(node) and (more := _added(node.outputs[0])) is not None:
            total += more / (_stride(node) if is_op(node, *POOLS) else 1)
        else:
            return None
    return total if nodes else None


def _stride(node: ir.Node) -> int:
    return int(np.prod(node.attributes.get_ints("strides", (1, 1))))


CONCAT_SUM = Rule("concat-sum", "a convolution of maps put together as a sum of convolutions", _check)
