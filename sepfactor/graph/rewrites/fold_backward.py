"""A scale and a shift behind a convolution go into its weight and bias.

    s·(W∗x + b) + t = (s·W)∗x + (s·b + t)

Borders do not matter, for what is scaled is the answer. A scale alone goes past an activation that is
positively homogeneous, ``f(s·y) = s·f(y)`` for every ``s > 0``: ReLU, LeakyReLU, PReLU.

onnxruntime folds Mul and Add of a constant ``(C, 1, 1)`` itself. It leaves single numbers, what is
behind a ConvTranspose, and what is behind an activation, and every one of them is a pass over the map,
most of them in another layout.
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
)
from sepfactor.graph.rewrites.rule import Build, Edit, Rule


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    found = affine(node)
    if found is None:
        return None
    producer = found.source.producer()
    activation = producer if is_op(producer, *POSITIVELY_HOMOGENEOUS) else None
    below = activation.inputs[0] if activation is not None else found.source
    conv = convolution(below.producer() if below is not None else None, "Conv", "ConvTranspose")
    if conv is None or len(found.scale) != conv.out_channels:
        return None
    if activation is not None and not (found.is_scale and (found.scale > 0).all()):
        return "only a positive scale goes past an activation"
    for value in filter(None, (found.source, below)):
        if only_reader(value) is None:
            return "something else reads what the convolution answers"
    bias = found.scale * (0.0 if conv.bias is None else conv.bias) + found.shift
    if not fits(conv.dtype, conv.scaled(found.scale), bias):
        return "its weights would overflow their type"

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        made = _folded(edit, conv, found, bias)
        if activation is not None:
            made = edit.again(activation, [made, *activation.inputs[1:]])
        return {node.outputs[0]: made}

    return build


def _folded(edit: Edit, conv: Convolution, by: Affine, bias: np.ndarray) -> ir.Value:
    inputs = [conv.node.inputs[0], edit.constant(conv.scaled(by.scale), conv.dtype)]
    if conv.bias is not None or bias.any():
        inputs.append(edit.constant(bias, conv.dtype))
    return edit.again(conv.node, inputs)


FOLD_BACKWARD = Rule("fold-backward", "scale and shift into the convolution before", _check)
