"""Which values onnxruntime keeps in its blocked layout, as far as a rule has to guess before it is measured.

onnxruntime's ``nchwc_transformer.cc`` starts at convolutions over four axes and goes on through what works on
blocks: sums and products of two, pools, the activations below, Resize, Concat of whole blocks.
"""

from __future__ import annotations

import onnx_ir as ir

from sepfactor.graph.rewrites.affine import affine
from sepfactor.graph.rewrites.read import convolution, is_op, rank
from sepfactor.layout import BLOCK, blockable

ACTIVATIONS = ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "HardSigmoid", "HardSwish", "Gelu")
"""Activations that are computed in the blocked layout, most of them fused into the convolution before."""

_THROUGH = (
    *ACTIVATIONS,
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "BatchNormalization",
    "Dropout",
    "Identity",
)

_DEEP = 100
"""So many nodes are followed; a convolution is rarely as far."""


def is_blocked(value: ir.Value | None) -> bool:
    """Whether a value of four axes is likely to be in the blocked layout."""
    return _follow(value, {}, _DEEP)


def _follow(value: ir.Value | None, known: dict[ir.Value, bool], depth: int) -> bool:
    node = value.producer() if value is not None else None
    if value is None or node is None or not depth or rank(value) != 4:
        return False
    if value not in known:
        known[value] = False
        if is_op(node, "Conv"):
            known[value] = _is_blocked_conv(node)
        elif is_op(node, *_THROUGH):
            known[value] = _follow(node.inputs[0], known, depth - 1)
        elif is_op(node, "Add", "Mul") and affine(node) is None:
            known[value] = all(_follow(source, known, depth - 1) for source in node.inputs)
    return known[value]


def _is_blocked_conv(node: ir.Node) -> bool:
    conv = convolution(node)
    if conv is None:
        return False
    if conv.group == 1:
        return conv.in_channels < BLOCK or blockable(conv.in_channels)
    return conv.is_depthwise or (
        (conv.in_channels // conv.group) % BLOCK == 0 and (conv.out_channels // conv.group) % BLOCK == 0
    )
