"""What is computed of rows of a table, computed of the table.

    f(T[i]) = f(T)[i]        T[i] ∘ S[i] = (T ∘ S)[i]

For everything that works number by number. The table is constant, so that onnxruntime computes it once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.alike import treats_numbers_alike
from sepfactor.graph.rewrites.read import FLOATS, constant, floats, is_op, made_by, rank, two_inputs
from sepfactor.graph.rewrites.rule import Build, Edit, Rule

_OF_ONE = ("Neg", "Abs", "Exp", "Log", "Sqrt", "Reciprocal", "Floor", "Ceil")
_OF_TWO = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min")

_MOST = 2**22
"""Numbers of a table: each that is made from it is held in memory."""


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    if treats_numbers_alike(node) or is_op(node, *_OF_ONE):
        values: tuple[ir.Value | None, ...] = (node.inputs[0],)
    elif is_op(node, *_OF_TWO) and (both := two_inputs(node)) is not None:
        values = both
    else:
        return None
    looked = [_lookup(value) for value in values]
    picks = [pick for pick in looked if pick is not None]
    if not picks or len(node.outputs) != 1:
        return None
    first = picks[0]
    if any(pick.inputs[1] is not first.inputs[1] for pick in picks):
        return "rows of two tables are picked by different numbers"
    sources = [
        _Own(pick.inputs[0]) if pick is not None else _per_row(value, first)
        for value, pick in zip(values, looked, strict=True)
    ]
    if any(source is None for source in sources) or len({rank(pick.inputs[0]) for pick in picks}) != 1:
        return None

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        inputs = [source.of(edit) for source in sources if source is not None]
        table = edit.emit(node.op_type, [*inputs, *node.inputs[len(values) :]], [*node.attributes.values()])
        return {node.outputs[0]: edit.again(first, [table, first.inputs[1]])}

    return build


class _Own:
    """A table as it is, or what is the same for every row."""

    def __init__(self, value: ir.Value | None, array: np.ndarray | None = None) -> None:
        self._value, self._array = value, array

    def of(self, edit: Edit) -> ir.Value | None:
        if self._array is None or self._value is None:
            return self._value
        return edit.constant(self._array, self._value.dtype)


def _lookup(value: ir.Value | None) -> ir.Node | None:
    """The Gather that picks rows of a constant table, or of what is computed from one."""
    node = made_by(value, "Gather")
    if node is None or node.attributes.get_int("axis", 0) != 0 or rank(node.inputs[1]) is None:
        return None
    return node if _is_table(node.inputs[0]) else None


def _is_table(value: ir.Value | None) -> bool:
    if value is None or value.dtype not in FLOATS or not rank(value):
        return False
    node = value.producer()
    if node is None:
        array = constant(value)
        return array is not None and array.size <= _MOST
    from_tables = [_is_table(one) or constant(one) is not None for one in node.inputs if one is not None]
    return (is_op(node, *_OF_ONE, *_OF_TWO) or treats_numbers_alike(node)) and all(from_tables)


def _per_row(value: ir.Value | None, pick: ir.Node) -> _Own | None:
    """A constant that is the same for every row."""
    array, axes, within = floats(value), rank(pick.outputs[0]), rank(pick.inputs[0])
    if array is None or axes is None or within is None or array.ndim > axes:
        return None
    over = max(array.ndim - (within - 1), 0)
    if set(array.shape[:over]) - {1}:
        return None
    return _Own(value, array.reshape(array.shape[over:]))


TABLE = Rule("table", "what is computed of rows of a table, once, of the table", _check)
