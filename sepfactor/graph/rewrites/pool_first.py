"""A rising activation that nothing fuses, after the maximum of a pool and not before it.

    MaxPool(f(x)) = f(MaxPool(x))  for every f that does not fall

PReLU with slopes of zero and more, ELU, SELU, CELU and Softplus do not fall. Behind the pool there are fewer
numbers to work on, a quarter of them for 2×2; and the answer is the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.read import floats, is_op, only_reader
from sepfactor.graph.rewrites.rule import Build, Edit, Rule

_ALPHA = {"Elu": 1.0, "Celu": 1.0, "Selu": 1.67326}
"""Operator → its ``alpha`` by default; it does not fall where that is not below zero."""


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    if not is_op(node, "MaxPool") or len(node.outputs) != 1 or node.inputs[0] is None:
        return None
    activation = node.inputs[0].producer()
    if activation is None or not is_op(activation, "PRelu", "Softplus", *_ALPHA):
        return None
    if only_reader(node.inputs[0]) is None:
        return "something else reads what is activated"
    if not _rises(activation):
        return "the activation falls somewhere"

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        pooled = edit.again(node, [activation.inputs[0]])
        return {node.outputs[0]: edit.again(activation, [pooled, *activation.inputs[1:]])}

    return build


def _rises(node: ir.Node) -> bool:
    if node.op_type == "Softplus":
        return True
    if node.op_type == "PRelu":
        slopes = floats(node.inputs[1])
        # A number per channel, for another would be of a place that is no longer there.
        even = slopes is not None and (
            slopes.size == 1 or (slopes.ndim > 2 and set(slopes.shape[-2:]) == {1})
        )
        return even and slopes is not None and bool(np.all(slopes >= 0.0))
    gamma = node.attributes.get_float("gamma", 1.0)
    return node.attributes.get_float("alpha", _ALPHA[node.op_type]) >= 0.0 and gamma >= 0.0


POOL_FIRST = Rule("pool-first", "a rising activation after the pool", _check)
