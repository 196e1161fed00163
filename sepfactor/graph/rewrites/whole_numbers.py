"""Whole numbers that follow from sizes, also where other sizes are open.

    shape(x)[1] = 96,  96 / 3 = 32        where x is (N, 96, T), whatever N and T are

Exporters write sizes as chains of Shape, Gather and arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.graph.rewrites.inferred import Inferred
from sepfactor.graph.rewrites.read import constant, is_op

Numbers: TypeAlias = NDArray[np.object_]
"""Of ints and bools; of an open size its name, where it has one; None where nothing is known of a number."""

WHOLE = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)

_MOST = 512
"""Numbers of a value: sizes are few, and what is longer is data."""


def whole_numbers(value: ir.Value | None) -> Numbers | None:
    """What a value holds, as far as it follows from sizes; None where nothing is known of it."""
    return _Whole().of(value)


def is_known(number: object) -> bool:
    """Whether one of them is not just a name."""
    return isinstance(number, int | np.integer | np.bool_)


class _Whole(Inferred[Numbers]):
    def declared(self, value: ir.Value) -> Numbers | None:
        if value.const_value is None or value.const_value.size > _MOST or value.dtype not in WHOLE:
            return None
        array = constant(value)
        return None if array is None else array.astype(object)

    def made(self, node: ir.Node) -> Numbers | None:
        rule = _RULES.get(node.op_type) if is_op(node, node.op_type) else None
        if rule is None:
            return None
        try:
            found = rule(self, node)
        except (ValueError, IndexError, TypeError, ZeroDivisionError):
            return None  # what it asks for cannot be, or depends on what is not known
        return found if found is not None and found.size <= _MOST else None

    def all(self, node: ir.Node) -> list[Numbers]:
        """Everything that a node reads; TypeError where anything is not known."""
        found = [self.of(value) for value in node.inputs]
        return [_known(array) for array in found]

    def ints(self, node: ir.Node, place: int, name: str, default: list[int] | None) -> list[int] | None:
        """What is an input or, of old, an attribute: known throughout, or TypeError."""
        if name in node.attributes:
            return [*node.attributes.get_ints(name, ())]
        if len(node.inputs) <= place or node.inputs[place] is None:
            return default
        array = self.of(node.inputs[place])
        return [int(n) if is_known(n) else _not_known() for n in _known(array).reshape(-1)]


def _known(array: Numbers | None) -> Numbers:
    return array if array is not None else _not_known()


def _not_known() -> Any:
    raise TypeError


def _shape(run: _Whole, node: ir.Node) -> Numbers | None:  # noqa: ARG001
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    if shape is None:
        return None
    sizes = [size if isinstance(size, int) else size.value for size in shape]
    end = node.attributes.get_int("end", len(sizes))
    return np.array(sizes, object)[slice(node.attributes.get_int("start", 0), end)]


def _gather(run: _Whole, node: ir.Node) -> Numbers:
    numbers, index = run.all(node)
    return np.asarray(np.take(numbers, index.astype(np.int64), node.attributes.get_int("axis", 0)), object)


def _slice(run: _Whole, node: ir.Node) -> Numbers | None:
    numbers = run.of(node.inputs[0])
    starts, ends = run.ints(node, 1, "starts", None), run.ints(node, 2, "ends", None)
    if numbers is None or starts is None or ends is None:
        return None
    axes = run.ints(node, 3, "axes", [*range(len(starts))])
    steps = run.ints(node, 4, "steps", [1] * len(starts))
    for start, end, axis, step in zip(starts, ends, axes or (), steps or (), strict=True):
        # Backwards, an end below the first is before it, which Python says as None.
        stop = None if step < 0 and end < -numbers.shape[axis] else end
        numbers = numbers[(slice(None),) * (axis % numbers.ndim) + (slice(start, stop, step),)]
    return numbers


def _concat(run: _Whole, node: ir.Node) -> Numbers:
    return np.concatenate(run.all(node), node.attributes.get_int("axis", 0))


def _unsqueeze(run: _Whole, node: ir.Node) -> Numbers | None:
    numbers, axes = run.of(node.inputs[0]), run.ints(node, 1, "axes", None)
    return None if numbers is None or axes is None else np.expand_dims(numbers, tuple(axes))


def _squeeze(run: _Whole, node: ir.Node) -> Numbers | None:
    numbers, axes = run.of(node.inputs[0]), run.ints(node, 1, "axes", None)
    return None if numbers is None else np.squeeze(numbers, None if axes is None else tuple(axes))


def _reshape(run: _Whole, node: ir.Node) -> Numbers | None:
    numbers, sizes = run.of(node.inputs[0]), run.ints(node, 1, "shape", None)
    if numbers is None or sizes is None or 0 in sizes:
        return None
    return numbers.reshape(sizes)


def _transpose(run: _Whole, node: ir.Node) -> Numbers:
    (numbers,) = run.all(node)
    return np.transpose(numbers, node.attributes.get_ints("perm", ()) or None)


def _same(run: _Whole, node: ir.Node) -> Numbers | None:
    value = node.inputs[0]
    found = run.of(value) if value is not None and node.outputs[0].dtype == value.dtype else None
    if found is not None or value is None or not is_op(node, "Cast"):
        return found
    both = {value.dtype, node.outputs[0].dtype}
    return run.of(value) if both == {ir.DataType.INT32, ir.DataType.INT64} else None


def _filled(run: _Whole, node: ir.Node) -> Numbers | None:
    (sizes,) = run.all(node)
    value = node.attributes["value"].as_tensor().numpy() if "value" in node.attributes else np.zeros(1)
    if value.dtype not in (np.int64, np.int32):
        return None
    return np.full(
        [int(n) if is_known(n) else _not_known() for n in sizes], int(value.reshape(-1)[0]), object
    )


def _by(compute: Callable[[Any, Any], Any]) -> Callable[[_Whole, ir.Node], Numbers]:
    def numbers(run: _Whole, node: ir.Node) -> Numbers:
        pairs = np.frompyfunc(lambda a, b: compute(a, b) if is_known(a) and is_known(b) else None, 2, 1)
        return np.asarray(pairs(*run.all(node)), object)

    return numbers


def _divided(a: int, b: int) -> int:
    """Towards zero, as onnxruntime does."""
    return a // b if (a < 0) == (b < 0) else -(-a // b)


_RULES: dict[str, Callable[[_Whole, ir.Node], Numbers | None]] = {
    "Shape": _shape,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "ConstantOfShape": _filled,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Cast": _same,
    "Identity": _same,
    "Add": _by(lambda a, b: a + b),
    "Sub": _by(lambda a, b: a - b),
    "Mul": _by(lambda a, b: a * b),
    "Div": _by(_divided),
    "Equal": _by(lambda a, b: a == b),
    "Less": _by(lambda a, b: a < b),
    "Greater": _by(lambda a, b: a > b),
}
