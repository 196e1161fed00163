"""Hard sigmoids written out, as HardSigmoid.

    c·Clip(x + b, 0, h) = max(0, min(1, αx + β))  with α = 1/h, β = b/h, where c·h = 1

The factor ``c`` may come before or after a product: ``c·(p·Clip(…)) = p·HardSigmoid(x)``. Clip is spelled as
Clip, as Min of Max or Max of Min, and ``c`` as Mul or Div. HardSigmoid is computed in onnxruntime's blocked
layout, and fuses into the convolution before, where the sum, the Clip and the division leave that layout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from sepfactor.graph.rewrites.read import (
    SINGLE,
    is_op,
    made_by,
    scalar,
    two_inputs,
    with_constant,
)
from sepfactor.graph.rewrites.rule import Build, Edit, Rule

_CLOSE = 1e-5


@dataclass(frozen=True, eq=False)
class Spelled:
    """``factor·HardSigmoid(source; alpha, beta)``; ``factor`` is None for the hard sigmoid alone."""

    source: ir.Value
    alpha: float
    beta: float
    factor: ir.Value | None = None


@dataclass(frozen=True, eq=False)
class _Clipped:
    """``Clip(source + shift, 0, high)``."""

    source: ir.Value
    shift: float
    high: float


def product(node: ir.Node) -> Spelled | None:
    """A value times a hard sigmoid, as the last node of how it is spelled computes it."""
    divided = _scaled(node)
    if divided is not None:  # c·(p·Clip), the product within
        whole, by = divided
        inner = made_by(whole, "Mul")
        if inner is not None and (both := two_inputs(inner)) is not None:
            return _product(both, by)
        return None
    both = two_inputs(node) if is_op(node, "Mul") else None
    if both is None:
        return None
    for gate, factor in (both, both[::-1]):
        found = _alone(gate)
        if found is not None and found.source.dtype == factor.dtype:
            return Spelled(found.source, found.alpha, found.beta, factor)
        scaled = _scaled(factor.producer())  # (c·p)·Clip
        if scaled is not None and (found := _product((scaled[0], gate), scaled[1])) is not None:
            return found
    return None


def _alone(value: ir.Value) -> Spelled | None:
    """A hard sigmoid, written out or not."""
    node = value.producer()
    if node is not None and is_op(node, "HardSigmoid") and node.inputs[0] is not None:
        alpha = node.attributes.get_float("alpha", 0.2)
        return Spelled(node.inputs[0], alpha, node.attributes.get_float("beta", 0.5))
    return _spelled(node)


def _spelled(node: ir.Node | None) -> Spelled | None:
    """A hard sigmoid that is written out."""
    scaled = _scaled(node)
    if scaled is not None:
        return _unit(_clipped(scaled[0]), scaled[1])
    found = _clipped(node.outputs[0]) if node is not None and node.outputs else None
    return _unit(found, 1.0) if found is not None and found.shift else None  # a Clip alone is as good


def _product(both: tuple[ir.Value, ir.Value], by: float) -> Spelled | None:
    for gate, factor in (both, both[::-1]):
        found = _unit(_clipped(gate), by)
        if found is not None:
            return Spelled(found.source, found.alpha, found.beta, factor)
    return None


def _unit(found: _Clipped | None, by: float) -> Spelled | None:
    """``by·Clip(…)`` where it ends at one."""
    if found is None or abs(found.high * by - 1.0) > _CLOSE:
        return None
    return Spelled(found.source, by, found.shift * by)


def _scaled(node: ir.Node | None) -> tuple[ir.Value, float] | None:
    """What is times, or divided by, a single number, and times which."""
    if node is None or not is_op(node, "Mul", "Div") or (both := two_inputs(node)) is None:
        return None
    if node.op_type == "Div":
        by = scalar(both[1])
        return None if by is None or not by else (both[0], 1.0 / by)
    found = with_constant(node)
    by = scalar(found[1]) if found is not None else None
    return None if found is None or by is None else (found[0], by)


def _clipped(value: ir.Value) -> _Clipped | None:
    found = bounds(value)
    if found is None or found[1] != 0.0 or not found[2] > 0.0:
        return None
    source, _, high = found
    inner = made_by(source, "Add")
    both = with_constant(inner) if inner is not None else None
    shift = scalar(both[1]) if both is not None else None
    if both is not None and shift is not None:
        return _Clipped(both[0], shift, high)
    return _Clipped(source, 0.0, high)


def bounds(value: ir.Value) -> tuple[ir.Value, float, float] | None:
    """``(x, low, high)`` of a value that is ``x`` clipped; infinite where a Clip has no bound."""
    node = value.producer()
    if node is None or not node.inputs or node.inputs[0] is None:
        return None
    if is_op(node, "Clip"):
        low = node.attributes.get_float("min", -math.inf)
        high = node.attributes.get_float("max", math.inf)
        given = [*node.inputs[1:], None, None]
        ends = [
            end if bound is None else scalar(bound) for end, bound in zip((low, high), given[:2], strict=True)
        ]
        return None if ends[0] is None or ends[1] is None else (node.inputs[0], ends[0], ends[1])
    outer = bounded(node)
    inner = bounded(outer[0].producer()) if outer is not None else None
    if outer is None or inner is None or {outer[1], inner[1]} != {"Min", "Max"}:
        return None
    high, low = (outer[2], inner[2]) if outer[1] == "Min" else (inner[2], outer[2])
    return (inner[0], low, high) if low <= high else None


def bounded(node: ir.Node | None) -> tuple[ir.Value, str, float] | None:
    """``Min(x, c)``, ``Max(x, c)`` or ``Relu(x)``."""
    if node is None or not node.inputs or node.inputs[0] is None:
        return None
    if is_op(node, "Relu"):
        return node.inputs[0], "Max", 0.0
    if not is_op(node, "Min", "Max") or (both := with_constant(node)) is None:
        return None
    by = scalar(both[1])
    return None if by is None else (both[0], node.op_type, by)


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    found = product(node)
    if found is not None and made_by(_gate(node, found), "HardSigmoid") is not None:
        return None  # nothing is written out
    found = found or _spelled(node)
    if found is None:
        return None
    if found.source.dtype not in SINGLE:
        return "onnxruntime has no HardSigmoid of its type"

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        attributes = {"alpha": found.alpha, "beta": found.beta}
        if found.factor is None:
            return {node.outputs[0]: edit.emit("HardSigmoid", [found.source], attributes, like=node)}
        gate = edit.emit("HardSigmoid", [found.source], attributes)
        return {node.outputs[0]: edit.emit("Mul", [found.factor, gate], like=node)}

    return build


def _gate(node: ir.Node, found: Spelled) -> ir.Value | None:
    """The other factor of a product."""
    return next((value for value in node.inputs if value is not found.factor), found.factor)


HARD_SIGMOID = Rule("hard-sigmoid", "hard sigmoids as one operator", _check)
