"""A convolution along the height of a map of width one, laid down along the width.

    y[m, h, 0] = Σ W[m, c, u, 0] · x[c, h·s + u, 0] = (Wᵀ ∗ xᵀ)ᵀ

onnxruntime computes several pixels of a row at once, and where a row is a single pixel, one. What is stored
is the same, so that Reshape does it on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.read import SINGLE, convolution
from sepfactor.graph.rewrites.rule import Build, Edit, Rule
from sepfactor.graph.rewrites.sizes import size_of
from sepfactor.graph.rewrites.spread import again, behind

_SWAPPED = ("kernel_shape", "strides", "dilations")


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    found = behind(node, "Conv")
    conv = None if found is None else convolution(found[0])
    if found is None or conv is None or conv.dtype not in SINGLE:
        return None
    if len(conv.kernel) != 2 or conv.kernel[1] != 1 or conv.kernel[0] == 1:
        return None
    before, after = size_of(found[0].inputs[0]), size_of(found[0].outputs[0])
    if before is None or after is None or before[1] != 1 or after[1] != 1 or after[0] == 1:
        return None
    attributes = dict(found[0].attributes)
    if found[0].attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return "its pads are not given"
    for name in _SWAPPED:
        if name in attributes:
            attributes[name] = ir.AttrInt64s(name, [*attributes[name].as_ints()][::-1])
    if "pads" in attributes:
        top, left, bottom, right = attributes["pads"].as_ints()
        attributes["pads"] = ir.AttrInt64s("pads", [left, top, right, bottom])

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        weight = edit.constant(np.swapaxes(conv.weight, 2, 3), conv.dtype)
        lying = edit.emit("Reshape", [found[0].inputs[0], edit.sizes(0, conv.in_channels, 1, before[0])])
        inputs = [lying, weight, *found[0].inputs[2:]]
        value = edit.emit("Conv", inputs, [*attributes.values()], like=found[0])
        value = again(edit, value, found[1])
        return {node.outputs[0]: edit.emit("Reshape", [value, edit.sizes(0, conv.out_channels, after[0], 1)])}

    return build


LAY_DOWN = Rule("lay-down", "a convolution along the height of a map of width one along the width", _check)
