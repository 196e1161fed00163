"""GELU by its tanh, written out, as fewer passes over the map.

    ½·x·(1 + tanh(c·(x + k·x³))) = x·σ(x·(2c + 2ck·x²))        since ½·(1 + tanh z) = σ(2z)

(Hendrycks and Gimpel 2016, arXiv:1606.08415; there c = √(2/π) and k = 0.044715, here they may be any.)
Products are recognised in any order, the cube as Pow too: jax, TensorFlow and torch spell it differently.
From opset 20 on, the operator Gelu computes it in one pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.read import SINGLE, is_op, made_by, scalar, two_inputs, with_constant
from sepfactor.graph.rewrites.rule import Build, Edit, Rule

_CLOSE = 1e-4
_GELU_SINCE = 20
_MOST_FACTORS = 12


@dataclass(frozen=True, eq=False)
class _Product:
    """A number times values."""

    number: float
    values: tuple[ir.Value, ...]

    def times(self, other: _Product) -> _Product:
        return _Product(self.number * other.number, self.values + other.values)


def _check(node: ir.Node, opset: int) -> Build | str | None:
    if not is_op(node, "Mul", "Div") or two_inputs(node) is None:
        return None
    found = _gelu(node.outputs[0])
    if found is None or found[0].dtype not in SINGLE:
        return None
    source, outer, cube = found

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        usual = abs(outer - math.sqrt(2 / math.pi)) < _CLOSE and abs(cube - 0.044715) < _CLOSE
        if opset >= _GELU_SINCE and usual:
            return {node.outputs[0]: _operator(edit, source, node)}

        def number(value: float) -> ir.Value:
            return edit.constant(np.array(value), source.dtype)

        square = edit.emit("Mul", [source, source])
        scaled = edit.emit("Mul", [square, number(2 * outer * cube)])
        bent = edit.emit("Mul", [source, edit.emit("Add", [scaled, number(2 * outer)])])
        return {node.outputs[0]: edit.emit("Mul", [source, edit.emit("Sigmoid", [bent])], like=node)}

    return build


def _operator(edit: Edit, source: ir.Value, node: ir.Node) -> ir.Value:
    return edit.emit("Gelu", [source], [ir.AttrString("approximate", "tanh")], like=node)


def _gelu(value: ir.Value) -> tuple[ir.Value, float, float] | None:
    """``x``, ``c`` and ``k``, if a value is what stands on top."""
    whole = _product(value, None)
    for factor in whole.values:
        inside = _one_more_than_tanh(factor)
        if inside is None:
            continue
        outer = _product(inside, None)
        bent = made_by(outer.values[0], "Add") if len(outer.values) == 1 else None
        both = two_inputs(bent) if bent is not None else None
        for source, other in (both, both[::-1]) if both is not None else ():
            cube, own = _product(other, source), _product(value, source)
            if not _are(cube.values, [source] * 3) or not _are(own.values, [source, factor]):
                continue
            if abs(own.number - 0.5) < _CLOSE / 100:
                return source, outer.number, cube.number
    return None


def _are(found: tuple[ir.Value, ...], wanted: list[ir.Value]) -> bool:
    return sorted(map(id, found)) == sorted(map(id, wanted))


def _one_more_than_tanh(value: ir.Value) -> ir.Value | None:
    """``z``, where a value is ``1 + tanh z``."""
    node = made_by(value, "Add")
    found = with_constant(node) if node is not None else None
    tanh = made_by(found[0], "Tanh") if found is not None and scalar(found[1]) == 1.0 else None
    return tanh.inputs[0] if tanh is not None else None


def _product(value: ir.Value, source: ir.Value | None, depth: int = 5) -> _Product:
    """A value as a product, as far as it is written as one; ``source`` is not taken apart."""
    node = made_by(value, "Mul", "Div", "Pow")
    both = two_inputs(node) if node is not None and value is not source and depth else None
    if node is None or both is None:
        return _Product(1.0, (value,))
    if node.op_type == "Pow":
        power = scalar(both[1])
        if power not in (2.0, 3.0):
            return _Product(1.0, (value,))
        base = _product(both[0], source, depth - 1)
        return base.times(base) if power == 2.0 else base.times(base).times(base)
    first, second = scalar(both[0]), scalar(both[1])
    if node.op_type == "Div":
        if not second:
            return _Product(1.0, (value,))
        return _product(both[0], source, depth - 1).times(_Product(1.0 / second, ()))
    sides = [
        _product(side, source, depth - 1) if own is None else _Product(own, ())
        for side, own in zip(both, (first, second), strict=True)
    ]
    found = sides[0].times(sides[1])
    return found if len(found.values) <= _MOST_FACTORS else _Product(1.0, (value,))


GELU_TANH = Rule("gelu-tanh", "GELU by its tanh in fewer passes", _check)
