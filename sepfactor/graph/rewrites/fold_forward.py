"""A scale and a shift before a convolution go into its weight and bias.

    W∗(s·x + t) + b = (W·s)∗x + (b + Σ W·t)

A shift would have to reach the border: zeros around ``s·x + t`` are not what is around ``x``. So a shift
goes into a convolution that is not padded, and a scale into any. A positive scale alone goes past an
activation that is positively homogeneous. It is done where all that read the value are such convolutions,
for only then a pass over the map is saved.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.affine import Affine, affine
from sepfactor.graph.rewrites.read import (
    POSITIVELY_HOMOGENEOUS,
    Convolution,
    convolution,
    fits,
    is_op,
    only_reader,
    readers,
)
from sepfactor.graph.rewrites.rule import Build, Edit, Rule

_KINDS = ("Conv", "ConvTranspose")


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    conv = convolution(node, *_KINDS)
    read = node.inputs[0] if conv is not None else None
    if conv is None or read is None:
        return None
    producer = read.producer()
    activation = producer if is_op(producer, *POSITIVELY_HOMOGENEOUS) else None
    found = affine(activation.inputs[0].producer() if activation and activation.inputs[0] else producer)
    if found is None or len(found.scale) != conv.in_channels:
        return None
    if activation is not None and not (found.is_scale and (found.scale > 0).all()):
        return "only a positive scale goes past an activation"
    if activation is not None and only_reader(found.node.outputs[0]) is None:
        return "something else reads what is scaled"
    others = readers(read)
    if others is None:
        return "what is scaled is an output too, or read in a body"
    for other in others:
        if (reason := _refusal(convolution(other, *_KINDS), other, read, found)) is not None:
            return reason

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        source = found.source
        if activation is not None:
            source = edit.again(activation, [source, *activation.inputs[1:]])
        inputs = [source, edit.constant(conv.scaled_input(found.scale), conv.dtype)]
        bias = _bias(conv, found)
        if bias is not None:
            inputs.append(edit.constant(bias, conv.dtype))
        return {node.outputs[0]: edit.again(node, inputs)}

    return build


def _refusal(conv: Convolution | None, node: ir.Node, read: ir.Value, found: Affine) -> str | None:
    if conv is None or [*node.inputs].count(read) != 1 or node.inputs[0] is not read:
        return "not only convolutions read it"
    if not found.is_scale and conv.transposed:
        return "a shift before a ConvTranspose is not the same everywhere behind it"
    if not found.is_scale and not conv.is_unpadded:
        return "a shift before a padded convolution is not the same at its border"
    bias = _bias(conv, found)
    if not fits(conv.dtype, conv.scaled_input(found.scale), *(() if bias is None else (bias,))):
        return "its weights would overflow their type"
    return None


def _bias(conv: Convolution, found: Affine) -> np.ndarray | None:
    if found.is_scale:
        return conv.bias
    return conv.of_constant(found.shift) + (0.0 if conv.bias is None else conv.bias)


FOLD_FORWARD = Rule("fold-forward", "scale and shift into the convolution behind", _check)
