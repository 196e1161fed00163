"""Reading graphs: constants per channel, who reads what, convolutions as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)
"""Types whose numbers may be computed with."""

SINGLE = (ir.DataType.FLOAT, ir.DataType.FLOAT16)
"""Types for which onnxruntime has every activation, for half precision by way of float32."""

POSITIVELY_HOMOGENEOUS = ("Relu", "LeakyRelu", "PRelu")
"""Activations with ``f(s·y) = s·f(y)`` for every ``s > 0``."""


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """Whether a node is one of these standard operators."""
    return node is not None and node.op_type in op_types and node.domain in ("", "ai.onnx")


def made_by(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that computes a value, if it is one of these operators."""
    node = value.producer() if value is not None else None
    return node if is_op(node, *op_types) else None


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """The numbers of an initialiser that no caller can replace, if it is one."""
    if value is None or value.const_value is None or value.is_graph_input() or not value.is_initializer():
        return None
    return value.const_value.numpy()


def floats(value: ir.Value | None) -> Array | None:
    """The same, of one of the types that may be computed with, if all are finite."""
    if value is None or value.const_value is None or value.const_value.dtype not in FLOATS:
        return None
    array = constant(value)
    if array is None or not np.isfinite(array).all():
        return None
    return np.asarray(array, np.float64)


def scalar(value: ir.Value | None) -> float | None:
    """A constant that is a single number, of whatever rank."""
    array = floats(value)
    return None if array is None or array.size != 1 else float(array.reshape(-1)[0])


def rank(value: ir.Value | None) -> int | None:
    """How many axes a value has, if known."""
    return None if value is None or value.shape is None else len(value.shape)


def channels(value: ir.Value | None) -> int | None:
    """Of ``(N, C, …)``, if known."""
    if value is None or value.shape is None or len(value.shape) < 2:
        return None
    size = value.shape[1]
    return size if isinstance(size, int) else None


def per_channel(value: ir.Value | None, of: ir.Value | None) -> Array | None:
    """A constant that broadcasts against ``of`` with a number per channel, as ``(C,)``; else None."""
    array, axes, count = floats(value), rank(of), channels(of)
    if array is None or axes is None or count is None or array.ndim > axes:
        return None
    whole = array.reshape((1,) * (axes - array.ndim) + array.shape)
    if whole.size not in (1, count) or whole.shape[1] != whole.size:
        return None
    return np.broadcast_to(whole.reshape(-1), (count,)).copy()


def two_inputs(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """Both inputs of an elementwise node that broadcasts as numpy does; None for one of another sort."""
    first, second = node.inputs if len(node.inputs) == 2 else (None, None)
    if first is None or second is None or "axis" in node.attributes or "broadcast" in node.attributes:
        return None
    return first, second


def with_constant(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """What a commutative elementwise node reads, and the constant it reads besides."""
    both = two_inputs(node)
    if both is None:
        return None
    if floats(both[1]) is not None:
        return both
    return (both[1], both[0]) if floats(both[0]) is not None else None


def only_reader(value: ir.Value) -> ir.Node | None:
    """The one node that reads a value, once, and in the same graph; None if anything else looks at it."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    made = value.producer()
    reader = uses[0].node
    return reader if made is None or reader.graph is made.graph else None


def readers(value: ir.Value) -> list[ir.Node] | None:
    """Every node that reads a value; None if it is an output, or is read in a body."""
    uses, made = list(value.uses()), value.producer()
    if value.is_graph_output() or made is None or any(use.node.graph is not made.graph for use in uses):
        return None
    return list(dict.fromkeys(use.node for use in uses))


@dataclass(frozen=True, eq=False)
class Convolution:
    """A Conv or ConvTranspose of constant weights.

    Attributes:
        node: it.
        weight: as the node has it, ``(out, in/group, *kernel)``, transposed ``(in, out/group, *kernel)``.
        bias: ``(out,)``; None without.
        group: how many. transposed: whether it is a ConvTranspose. dtype: of the weight.
    """

    node: ir.Node
    weight: Array
    bias: Array | None
    group: int
    transposed: bool
    dtype: ir.DataType

    @property
    def out_channels(self) -> int:
        """Channels it answers."""
        return int(self.weight.shape[1] * self.group if self.transposed else self.weight.shape[0])

    @property
    def in_channels(self) -> int:
        """Channels it reads."""
        return int(self.weight.shape[0] if self.transposed else self.weight.shape[1] * self.group)

    @property
    def kernel(self) -> tuple[int, ...]:
        """Taps along each axis."""
        return self.weight.shape[2:]

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel is answered from itself alone."""
        return not self.transposed and self.weight.shape[1] == 1 and self.group == self.weight.shape[0]

    @property
    def has_unit_stride(self) -> bool:
        """Whether it answers at every pixel."""
        return set(self.node.attributes.get_ints("strides", (1,))) == {1}

    @property
    def is_unpadded(self) -> bool:
        """Whether it sees nothing but what it reads."""
        auto = self.node.attributes.get_string("auto_pad", "NOTSET")
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            return set(self.kernel) == {1}
        return auto == "VALID" or not any(self.node.attributes.get_ints("pads", ()))

    def scaled(self, scale: Array) -> Array:
        """Its weight with every channel it answers times a number, ``(out,)``."""
        if not self.transposed:
            return self.weight * scale.reshape(-1, *(1,) * (self.weight.ndim - 1))
        blocks = self.weight.reshape(self.group, -1, *self.weight.shape[1:])
        by = scale.reshape(self.group, 1, -1, *(1,) * len(self.kernel))
        return (blocks * by).reshape(self.weight.shape)

    def scaled_input(self, scale: Array) -> Array:
        """Its weight with every channel it reads times a number, ``(in,)``."""
        if self.transposed:
            return self.weight * scale.reshape(-1, *(1,) * (self.weight.ndim - 1))
        blocks = self.weight.reshape(self.group, -1, *self.weight.shape[1:])
        by = scale.reshape(self.group, 1, -1, *(1,) * len(self.kernel))
        return (blocks * by).reshape(self.weight.shape)

    def of_constant(self, shift: Array) -> Array:
        """What it answers, without its bias, to channels of one number each, ``(in,)``; not transposed."""
        answer: Array = self.scaled_input(shift).sum(axis=tuple(range(1, self.weight.ndim)))
        return answer


def convolution(node: ir.Node | None, *op_types: str) -> Convolution | None:
    """A Conv (or one of ``op_types``) as numbers; None if it is none, or its weights are not constant."""
    if node is None or not is_op(node, *(op_types or ("Conv",))) or len(node.inputs) < 2:
        return None
    weight = floats(node.inputs[1])
    given = node.inputs[2] if len(node.inputs) > 2 else None
    bias = floats(given)
    if weight is None or weight.ndim < 3 or not weight.size or (given is not None and bias is None):
        return None
    held = node.inputs[1]
    assert held is not None
    assert held.const_value is not None
    group = int(node.attributes.get_int("group", 1))
    transposed = node.op_type == "ConvTranspose"
    return Convolution(node, weight, bias, group, transposed, held.const_value.dtype)


def fits(dtype: ir.DataType, *arrays: Array) -> bool:
    """Whether numbers stay finite in a type."""
    most = float(np.finfo(dtype.numpy()).max)
    return all(np.abs(array).max(initial=0.0) <= most for array in arrays)
