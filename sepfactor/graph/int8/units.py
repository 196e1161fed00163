"""Nodes that have a form in eight-bit integers, each with the activation behind it that goes into it.

onnxruntime turns what stands between DequantizeLinear and QuantizeLinear into integer operators ("QDQ"
format). An activation that only cuts values off, behind a node and before a QuantizeLinear whose range ends
where it cuts, vanishes: the range does its work.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

WEIGHTED = ("Conv", "Gemm")
"""Operators that are a product with constant weights."""

_COMPUTING = ("Add", "AveragePool", "GlobalAveragePool")
"""Operators that have integer forms, and scales of their own on either side."""

_NOT_IN_INTEGERS = ("dilations", "ceil_mode")
"""Attributes of an AveragePool that onnxruntime's integer form does not know, or takes otherwise."""

_PASSING = ("MaxPool", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Dropout")
"""Operators that hand numbers on as they are, so that what they read and write has one scale."""

_JOINING = ("Concat",)
"""The same for several inputs: onnxruntime copies where their scales agree, else it computes."""

INT8_OPSET = 13
"""The first operator set in which scales may be given channel by channel."""


LARGEST_CODE = 255


@dataclass(frozen=True)
class Grid:
    """The numbers that the 256 codes of a value stand for: ``scale · (code − zero_point)``.

    Attributes:
        scale: of one step, as float32.
        zero_point: the code of zero, 0 to 255.
    """

    scale: float
    zero_point: int = 0


@dataclass(frozen=True, eq=False)
class Unit:
    """A node, and the activation behind it that goes into it.

    Attributes:
        node: that does the work.
        ends: the node whose output leaves the unit: ``node``, or the activation.
        inputs: activations it reads, in the order of its inputs.
        passes_on: whether what it reads and what it writes must have one scale.
        is_cut_off: whether what it writes is never below zero, because the activation sees to that.
    """

    node: ir.Node
    ends: ir.Node
    inputs: tuple[ir.Value, ...]
    passes_on: bool = False
    is_cut_off: bool = False

    @property
    def output(self) -> ir.Value:
        """What leaves it."""
        return self.ends.outputs[0]

    @property
    def name(self) -> str:
        """Of what leaves it, by which the unit is known."""
        return str(self.output.name)

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the activations it reads."""
        return tuple(str(value.name) for value in self.inputs)

    @property
    def is_weighted(self) -> bool:
        """Whether it is a product with constant weights."""
        return self.node.op_type in WEIGHTED

    @property
    def top(self) -> float:
        """What it writes is never above this, because a Clip sees to that; infinite where none does."""
        return _ends_of_clip(self.ends)[1] if self.is_cut_off and self.ends.op_type == "Clip" else np.inf

    @property
    def weight(self) -> np.ndarray:
        """Its constant weight, as it lies in the graph."""
        value = self.node.inputs[1]
        assert value is not None
        assert value.const_value is not None
        return np.asarray(value.const_value.numpy())

    @property
    def weight_axis(self) -> int:
        """The axis of the weight along which its outputs lie."""
        return int(self.node.op_type == "Gemm" and not self.node.attributes.get_int("transB", 0))


def int8_units(model: ir.Model) -> dict[str, Unit]:
    """Units of the main graph that have a form in eight-bit integers, by name, in the order of the graph.

    Args:
        model: with shapes inferred; in float32.
    """
    if model.opset_imports.get("", 1) < INT8_OPSET:
        return {}
    units = (_unit(node) for node in model.graph)
    return {unit.name: unit for unit in units if unit is not None}


def _unit(node: ir.Node) -> Unit | None:
    if node.domain not in ("", "ai.onnx") or not node.outputs or not _is_float(node.outputs[0]):
        return None
    inputs = _activations(node)
    if inputs is None or not all(_is_float(value) for value in inputs):
        return None
    ends = _cut_off_by(node) if node.op_type in (*WEIGHTED, "Add") else None
    passes = node.op_type in (*_PASSING, *_JOINING)
    return Unit(node, ends or node, inputs, passes, ends is not None)


def _activations(node: ir.Node) -> tuple[ir.Value, ...] | None:
    """What a node reads beside constants; None where it has no form in integers."""
    read = [value for value in node.inputs if value is not None]
    if node.op_type in WEIGHTED:
        fits = _is_plain_conv(node) if node.op_type == "Conv" else _is_plain_gemm(node)
        return (read[0],) if fits and all(_is_constant(value) for value in read[1:]) else None
    if node.op_type == "Add":
        same = len({None if value.shape is None else len(value.shape) for value in read}) == 1
        return tuple(read) if same and not any(_is_constant(value) for value in read) else None
    if node.op_type in _JOINING:
        return None if any(_is_constant(value) for value in read) else tuple(read)
    if len(node.outputs) > 1:  # where a MaxPool looked, what a Dropout kept
        return None
    if node.op_type == "AveragePool" and any(name in node.attributes for name in _NOT_IN_INTEGERS):
        return None
    if node.op_type in (*_COMPUTING, *_PASSING):
        return None if _is_constant(read[0]) else (read[0],)
    return None


def _is_plain_conv(node: ir.Node) -> bool:
    weight = node.inputs[1]
    rank = None if weight is None or weight.shape is None else len(weight.shape)
    return rank == 4 and node.attributes.get_string("auto_pad", "NOTSET") == "NOTSET"


def _is_plain_gemm(node: ir.Node) -> bool:
    given = node.attributes
    ones = all(given.get_float(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    return ones and not given.get_int("transA", 0) and _adds_to_each_output(node)


def _adds_to_each_output(node: ir.Node) -> bool:
    """Whether a Gemm adds a number to each output, or one to all, or none; rows to rows have no such form."""
    weight, bias = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    if weight is None or weight.const_value is None:
        return False
    if bias is None or bias.const_value is None or bias.const_value.size == 1:
        return True
    outputs = weight.const_value.shape[0 if node.attributes.get_int("transB", 0) else 1]
    return bool(bias.const_value.size == outputs == bias.const_value.shape[-1])


def _cut_off_by(node: ir.Node) -> ir.Node | None:
    """The Relu that alone reads what ``node`` writes, or a Clip at zero; None where there is none."""
    uses = list(node.outputs[0].uses())
    if len(uses) != 1 or node.outputs[0].is_graph_output():
        return None
    behind = uses[0].node
    if behind.domain not in ("", "ai.onnx") or behind.graph is not node.graph:
        return None
    if behind.op_type == "Clip":
        low, high = _ends_of_clip(behind)
        return behind if low == 0 and not np.isnan(high) else None
    return behind if behind.op_type == "Relu" else None


def _ends_of_clip(node: ir.Node) -> tuple[float, float]:
    """Where a Clip cuts off; not a number where that is not constant."""
    ends = [-np.inf, np.inf]
    for number, value in enumerate(node.inputs[1:3]):
        if value is not None:
            constant = value.const_value if _is_constant(value) else None
            ends[number] = np.nan if constant is None else float(constant.numpy().item())
    return ends[0], ends[1]


def _is_constant(value: ir.Value) -> bool:
    return value.is_initializer() and not value.is_graph_input()


def _is_float(value: ir.Value) -> bool:
    """A float map or row; single numbers and lists of them are often sizes, which must stay what they are."""
    return value.dtype in (ir.DataType.FLOAT, None) and value.shape is not None and len(value.shape) > 1


def groups_of_one_grid(units: Sequence[Unit]) -> list[list[str]]:
    """Names of all activations that units read and write, those together that are to share a grid.

    What a unit hands on as it is keeps its grid. Where a join brings together what is cut off at zero with
    what is not, each keeps a grid of its own: what is cut off needs codes that begin at zero.
    """
    cut_off = set[str]()
    for unit in units:  # in the order of the graph
        if unit.is_cut_off or (unit.passes_on and cut_off.issuperset(unit.reads)):
            cut_off.add(unit.name)
    names = dict.fromkeys(name for unit in units for name in (*unit.reads, unit.name))
    group_of = {name: [name] for name in names}
    for unit in units:
        if unit.passes_on and (len(unit.reads) == 1 or _agree(unit.reads, cut_off)):
            groups = {id(group): group for name in (*unit.reads, unit.name) for group in [group_of[name]]}
            whole = [name for group in groups.values() for name in group]
            group_of |= dict.fromkeys(whole, whole)
    return [*{id(group): group for group in group_of.values()}.values()]


def _agree(names: Sequence[str], cut_off: Collection[str]) -> bool:
    return len({name in cut_off for name in names}) == 1
