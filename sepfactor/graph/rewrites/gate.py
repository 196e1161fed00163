"""A value plus the same value times a gate, as one product.

    x + x·g = x·(1 + g)

The gate of a squeeze-and-excitation block (Hu et al. 2018, arXiv:1709.01507) is a number per channel, so that
the sum over the whole map becomes one over a number per channel.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.read import FLOATS, floats, is_op, made_by, only_reader, rank, two_inputs
from sepfactor.graph.rewrites.rule import Build, Edit, Rule


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    both = two_inputs(node) if is_op(node, "Add") else None
    for x, other in () if both is None else (both, both[::-1]):
        product = made_by(other, "Mul")
        factors = two_inputs(product) if product is not None else None
        if product is None or factors is None or x not in factors or x.dtype not in FLOATS:
            continue
        gate = factors[1] if factors[0] is x else factors[0]
        if not _is_small(gate) or _is_small(x) or floats(x) is not None or rank(gate) != rank(x):
            continue
        if only_reader(other) is None:
            return "something else reads the product"

        def build(edit: Edit, x: ir.Value = x, gate: ir.Value = gate) -> Mapping[ir.Value, ir.Value]:
            one = edit.constant(np.array(1.0), x.dtype)
            more = edit.emit("Add", [gate, one])
            return {node.outputs[0]: edit.emit("Mul", [x, more], like=node)}

        return build
    return None


def _is_small(value: ir.Value) -> bool:
    """Whether it has one number per channel."""
    return (
        value.shape is not None and len(value.shape) > 2 and all(size == 1 for size in list(value.shape)[2:])
    )


GATE = Rule("gate", "a value plus itself times a gate as one product", _check)
