"""The gate of mish without logarithm and exponential of its own.

    tanh(ln(1 + eˣ)) = u/(2 − u)  with u = p(2 − p), p = σ(x) = 1/(1 + e⁻ˣ)

since ``(1 + eˣ)² = 1/(1 − p)²``, so that ``tanh = (1 − (1 − p)²)/(1 + (1 − p)²)`` (Misra 2019,
arXiv:1908.08681: ``mish(x) = x·tanh(ln(1 + eˣ))``). onnxruntime computes Softplus number by number with two
functions of the C library, which takes longer than the convolutions around it. Its Sigmoid is vectorised, and
exact to the last place of one, which is what the answer is exact to, too, in units of ``x``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.read import SINGLE, is_op, made_by, scalar, with_constant
from sepfactor.graph.rewrites.rule import Build, Edit, Rule


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    whole = is_op(node, "Mish")
    source = node.inputs[0] if whole else _softplus(node.inputs[0]) if is_op(node, "Tanh") else None
    if source is None:
        return None
    if source.dtype not in SINGLE:
        return "onnxruntime has no Sigmoid that is faster of its type"

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        two = edit.constant(np.array(2.0), source.dtype)
        p = edit.emit("Sigmoid", [source])
        u = edit.emit("Mul", [p, edit.emit("Sub", [two, p])])
        gate = edit.emit("Div", [u, edit.emit("Sub", [two, u])], like=None if whole else node)
        made = edit.emit("Mul", [source, gate], like=node) if whole else gate
        return {node.outputs[0]: made}

    return build


def _softplus(value: ir.Value | None) -> ir.Value | None:
    """What a value is the Softplus of, be that written out."""
    if (node := made_by(value, "Softplus")) is not None:
        return node.inputs[0]
    logarithm = made_by(value, "Log")
    total = made_by(logarithm.inputs[0], "Add") if logarithm is not None else None
    both = with_constant(total) if total is not None else None
    if both is None or scalar(both[1]) != 1.0:
        return None
    exponential = made_by(both[0], "Exp")
    return exponential.inputs[0] if exponential is not None else None


MISH = Rule("mish", "the gate of mish by a sigmoid", _check)
