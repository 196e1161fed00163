"""Rows of a matrix picked out by a product with rows that hold a single one, as Gather.

    Σₖ [i = k]·W[k, m] = W[i, m],  zero where i is none of 0 … K−1

So jax and TensorFlow write an embedding: the index is compared with 0 … K−1, and the outcome multiplied. A
row of zeros behind the matrix is what an index outside it picks.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.read import FLOATS, constant, floats, is_op, made_by, rank
from sepfactor.graph.rewrites.rule import Build, Edit, Rule

_INDEX = (ir.DataType.INT32, ir.DataType.INT64)


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    table = floats(node.inputs[1]) if is_op(node, "MatMul") else None
    if table is None or table.ndim != 2 or (index := _index(node.inputs[0], len(table))) is None:
        return None
    dtype, axes = node.outputs[0].dtype, rank(index)
    if dtype not in FLOATS or axes is None or index.dtype not in _INDEX:
        return "its type, or how many axes it has, is not known"

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        rows = edit.constant(np.pad(table, ((0, 1), (0, 0))), dtype)
        bounds = [edit.constant(np.array(bound), index.dtype) for bound in (-1, len(table))]
        within = edit.emit("Clip", [index, *bounds])
        flat = edit.emit("Reshape", [within, edit.sizes(*(0,) * (axes - 1))])
        return {node.outputs[0]: edit.emit("Gather", [rows, flat], {"axis": 0}, like=node)}

    return build


def _index(value: ir.Value | None, count: int) -> ir.Value | None:
    """What ``value``, ``(…, count)``, has its ones at: whole numbers ``(…, 1)``."""
    cast = made_by(value, "Cast")
    equal = made_by(cast.inputs[0], "Equal") if cast is not None else None
    if equal is None:
        return None
    for index, numbers in (equal.inputs, equal.inputs[::-1]):
        axes, row = rank(index), constant(numbers)
        if index is None or index.shape is None or not axes or row is None or row.ndim > axes:
            continue
        if row.shape == (*(1,) * (row.ndim - 1), count) and np.array_equal(row.reshape(-1), np.arange(count)):
            return index if index.shape[-1] == 1 and axes > 1 else None
    return None


ONE_HOT = Rule("one-hot", "a product with rows of a single one by picking rows", _check, opset=12)
