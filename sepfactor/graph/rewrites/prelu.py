"""PReLU with a slope per channel, in the blocked layout.

    PRelu(y)[c] = y[c] + (1 − a[c])·max(0, −y[c])
                = y[c] + max(0, (a[c] − 1)·y[c])        where no a[c] is above 1

(He et al. 2015, arXiv:1502.01852.) Both hold for ``y ≥ 0``, where the maximum is zero, and for ``y < 0``:
``y − (1 − a)·y = a·y``. Scales of a channel are depthwise 1×1 convolutions, into which ReLU and the sum fuse;
onnxruntime computes PRelu itself outside of the blocked layout, with a reorder before and after.

Rounding is that of ``y``, also where ``a·y`` is smaller; and of an infinite ``y`` it makes NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.affine import Affine
from sepfactor.graph.rewrites.blocked import is_blocked
from sepfactor.graph.rewrites.depthwise import depthwise
from sepfactor.graph.rewrites.read import SINGLE, floats, is_op, per_channel, rank
from sepfactor.graph.rewrites.rule import Build, Edit, Rule


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    if not is_op(node, "PRelu") or len(node.inputs) != 2 or node.inputs[0] is None:
        return None
    source = node.inputs[0]
    slopes = per_channel(node.inputs[1], source)
    if floats(node.inputs[1]) is None:
        return "its slopes are not constant"
    if slopes is None or rank(source) != 4:
        return "its slopes are not one per channel of a map"
    if source.dtype not in SINGLE:
        return "onnxruntime has no blocked convolution of its type"
    if not is_blocked(source):
        return "what it reads is not in the blocked layout"
    dtype = source.dtype
    none = np.zeros_like(slopes)
    below = Affine(node, source, slopes - 1.0, none)

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        if (slopes <= 1.0).all():
            bent = edit.emit("Relu", [depthwise(edit, below, dtype)])
        else:
            turned = edit.emit("Relu", [depthwise(edit, replace(below, scale=none - 1.0), dtype)])
            bent = depthwise(edit, Affine(node, turned, 1.0 - slopes, none), dtype)
        return {node.outputs[0]: edit.emit("Add", [bent, source], like=node)}

    return build


PRELU = Rule("prelu", "PReLU in the blocked layout", _check)
