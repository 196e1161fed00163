"""Leaky ReLU in other spellings, as LeakyRelu, which onnxruntime fuses into the convolution before.

    Max(x, a·x) = LeakyRelu(x; a)  for 0 ≤ a ≤ 1        Min(x, a·x) = LeakyRelu(x; a)  for a ≥ 1
    PRelu(x, a) = LeakyRelu(x; a)  where all slopes are the same number

(Maas, Hannun and Ng 2013; He et al. 2015, arXiv:1502.01852.) Max and PRelu leave the blocked layout.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.read import (
    SINGLE,
    floats,
    is_op,
    made_by,
    rank,
    scalar,
    two_inputs,
    with_constant,
)
from sepfactor.graph.rewrites.rule import Build, Edit, Rule


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    found = _of_two(node) if is_op(node, "Max", "Min") else _with_slopes(node)
    if found is None:
        return None
    source, slope = found
    if source.dtype not in SINGLE:
        return "onnxruntime has no LeakyRelu of its type"

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        return {node.outputs[0]: edit.emit("LeakyRelu", [source], {"alpha": slope}, like=node)}

    return build


def _of_two(node: ir.Node) -> tuple[ir.Value, float] | None:
    """``Max(x, a·x)`` or ``Min(x, a·x)``."""
    both = two_inputs(node)
    for x, other in () if both is None else (both, both[::-1]):
        product = made_by(other, "Mul")
        factors = with_constant(product) if product is not None else None
        slope = scalar(factors[1]) if factors is not None else None
        if factors is None or slope is None or factors[0] is not x or rank(other) != rank(x):
            continue
        if (0.0 <= slope <= 1.0) if node.op_type == "Max" else slope >= 1.0:
            return x, slope
    return None


def _with_slopes(node: ir.Node) -> tuple[ir.Value, float] | None:
    """A PRelu whose slopes are all the same, and broadcast to what it reads."""
    if not is_op(node, "PRelu") or len(node.inputs) != 2:
        return None
    slopes, axes = floats(node.inputs[1]), rank(node.inputs[0])
    if slopes is None or axes is None or slopes.ndim > axes or not slopes.size:
        return None
    source = node.inputs[0]
    assert source is not None
    return (source, float(slopes.flat[0])) if np.ptp(slopes) == 0 else None


LEAKY_RELU = Rule("leaky-relu", "leaky ReLU as one operator", _check)
