"""Two convolutions with nothing between them, one of them 1×1, as one.

    V∗(W∗x + b) + c = (V·W)∗x + (V·b + c)

Over channels this is a product of matrices: ``(VW)[o, i] = Σₘ V[o, m]·W[m, i]`` for every tap of the one
that has them. A 1×1 behind may follow any convolution. A 1×1 before may come before one that is not padded,
or, where it adds no bias, before any; its strides must be one. It is done where the one costs fewer
multiplications than the two, so that a bottleneck stays one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.read import Array, Convolution, convolution, fits, only_reader
from sepfactor.graph.rewrites.rule import Build, Edit, Rule


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    second = convolution(node)
    first = convolution(node.inputs[0].producer()) if second is not None and node.inputs[0] else None
    if first is None or second is None or first.group != 1 or second.group != 1:
        return None
    if first.dtype != second.dtype or first.out_channels != second.in_channels:
        return None
    reason = _refusal(first, second)
    if reason is not None:
        return reason
    weight, bias = _joined(first, second)
    if not fits(first.dtype, weight, bias):
        return "its weights would overflow their type"
    taps = first if _is_plain(second) else second

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        inputs = [first.node.inputs[0], edit.constant(weight, first.dtype)]
        if bias.any() or first.bias is not None or second.bias is not None:
            inputs.append(edit.constant(bias, first.dtype))
        attributes = [*taps.node.attributes.values()]
        return {node.outputs[0]: edit.emit("Conv", inputs, attributes, like=node)}

    return build


def _is_plain(conv: Convolution) -> bool:
    """Whether it is 1×1, at every pixel, over what it reads alone."""
    return set(conv.kernel) == {1} and conv.has_unit_stride and conv.is_unpadded


def _refusal(first: Convolution, second: Convolution) -> str | None:
    if not _is_plain(second):
        if not _is_plain(first):
            return "neither is 1×1"
        if first.bias is not None and first.bias.any() and not second.is_unpadded:
            return "the bias of a 1×1 before a padded convolution is not the same at its border"
    if only_reader(first.node.outputs[0]) is None:
        return "something else reads what is between them"
    # Both are counted at the pixels of the answer: where the strides of the second leave fewer, the first
    # works on more, and joining them gains more than is counted here.
    if first.out_channels * (first.weight[0].size + second.weight[:, 0].size) <= _joined_size(first, second):
        return "one would cost more than the two"
    return None


def _joined_size(first: Convolution, second: Convolution) -> int:
    taps = int(np.prod(first.kernel)) * int(np.prod(second.kernel))
    return first.in_channels * second.out_channels * taps


def _joined(first: Convolution, second: Convolution) -> tuple[Array, Array]:
    """Weight ``(out, in, *kernel)`` and bias ``(out,)`` of the one; one of the two kernels is all ones."""
    before, behind = first.weight, second.weight
    if _is_plain(second):
        weight = np.tensordot(behind.reshape(behind.shape[:2]), before, (1, 0))
    else:
        weight = np.moveaxis(np.tensordot(behind, before.reshape(before.shape[:2]), (1, 0)), -1, 1)
    bias = np.zeros(len(behind)) if second.bias is None else second.bias.copy()
    if first.bias is not None:
        bias += second.of_constant(first.bias)
    return weight, bias


CONV_CONV = Rule("conv-conv", "two convolutions in a row as one", _check)
