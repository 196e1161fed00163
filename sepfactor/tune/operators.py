"""ONNX operators in torch, as far as gradients are wanted of them.

A function per operator takes the node and its inputs, and answers with what the node writes. It may read the
node's ``opset``, for operators that changed their form; what it cannot do, it refuses by :class:`Unknown`.
Products, maps and pools are in :mod:`sepfactor.tune.maps`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

Tensor = Any
"""A ``torch.Tensor``; lint goes without torch."""

Operator = Callable[..., Any]


class Unknown(Exception):
    """An operator, or a form of it, that is not here; the message names it."""


@dataclass(frozen=True, eq=False)
class Node:
    """A node as operators see it.

    Attributes:
        op: its operator.
        opset: of the network.
        inputs: names it reads, empty where an optional one is left out.
        outputs: names it writes.
        attributes: plain values by name.
    """

    op: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or what holds where it is not given."""
        return self.attributes.get(name, default)

    def only(self, name: str, *allowed: Any) -> Any:
        """An attribute that must be one of these, the first where it is not given.

        Raises:
            Unknown: it is another.
        """
        value = self.get(name, allowed[0])
        if value not in allowed:
            raise Unknown(f"{self.op} with {name} {value!r}")
        return value


def ints(value: Any) -> list[int]:
    """Plain numbers of an attribute or of a value."""
    return [int(one) for one in (value.reshape(-1).tolist() if hasattr(value, "tolist") else value)]


def given(node: Node, name: str, value: Tensor | None) -> list[int] | None:
    """Numbers that are an attribute in old operator sets and an input in new ones."""
    if value is not None:
        return ints(value)
    found = node.get(name)
    return None if found is None else ints(found)


def _of_one(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda node, x: function(x)


def _of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    def operator(node: Node, *values: Tensor) -> Tensor:
        if node.get("broadcast"):
            raise Unknown(f"{node.op} with broadcast")
        result = values[0]
        for value in values[1:]:
            result = function(result, value)
        return result

    return operator


def _clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    low, high = (node.get(name) if v is None else v for name, v in (("min", low), ("max", high)))
    x = x if low is None else torch.maximum(x, torch.as_tensor(low, dtype=x.dtype))
    return x if high is None else torch.minimum(x, torch.as_tensor(high, dtype=x.dtype))


def _div(x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _shape(node: Node, x: Tensor) -> Tensor:
    return torch.tensor(x.shape[node.get("start", 0) : node.get("end")], dtype=torch.int64)


def _constant_of_shape(node: Node, shape: Tensor) -> Tensor:
    fill = node.get("value")
    fill = torch.zeros(1) if fill is None else torch.from_numpy(fill.numpy().copy())
    return fill.reshape(-1)[0].expand(ints(shape)).clone()


def _prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


def _hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    return (node.get("alpha", 0.2) * x + node.get("beta", 0.5)).clamp(0, 1)


def _gelu(node: Node, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=node.get("approximate", "none"))


def _softmax(function: Callable[..., Tensor]) -> Operator:
    def operator(node: Node, x: Tensor) -> Tensor:
        if node.opset >= 13:
            return function(x, dim=node.get("axis", -1))
        axis = node.get("axis", 1) % max(x.ndim, 1)  # all axes from this one on are one
        return function(x.flatten(axis), dim=-1).reshape(x.shape)

    return operator


def _reduce(function: Callable[..., Tensor]) -> Operator:
    def operator(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = given(node, "axes", axes)
        if not chosen:
            if node.get("noop_with_empty_axes", 0):
                return x
            chosen = list(range(x.ndim))
        return function(x, dim=chosen, keepdim=bool(node.get("keepdims", 1)))

    return operator


def _l2(x: Tensor, dim: list[int], keepdim: bool) -> Tensor:
    return torch.sqrt(torch.sum(x * x, dim=dim, keepdim=keepdim))


def _cast(node: Node, x: Tensor) -> Tensor:
    kinds = {1: torch.float32, 10: torch.float32, 11: torch.float64, 6: torch.int32, 7: torch.int64}
    kind = {**kinds, 9: torch.bool}.get(node.get("to"))
    if kind is None:
        raise Unknown(f"Cast to type {node.get('to')}")
    return x.to(kind)


def _concat(node: Node, *values: Tensor) -> Tensor:
    return torch.cat(values, dim=node.get("axis", 1))


def _split(node: Node, x: Tensor, sizes: Tensor | None = None) -> Any:
    axis = node.get("axis", 0)
    chosen = given(node, "split", sizes)
    if chosen is None:
        return torch.split(x, -(-x.shape[axis] // len(node.outputs)), dim=axis)
    return torch.split(x, chosen, dim=axis)


def _slice(node: Node, x: Tensor, *rest: Tensor) -> Tensor:
    names = ("starts", "ends", "axes", "steps")
    values = [*rest, *[None] * (4 - len(rest))]
    starts, ends, axes, steps = (given(node, name, v) for name, v in zip(names, values, strict=True))
    assert starts is not None
    assert ends is not None
    axes = axes or list(range(len(starts)))
    for start, end, axis, step in zip(starts, ends, axes, steps or [1] * len(starts), strict=True):
        chosen = range(x.shape[axis])[start:end:step]
        if step > 0:
            x = x.narrow(axis, chosen.start, len(range(chosen.start, chosen.stop)))
            x = x if step == 1 else x[(slice(None),) * (axis % x.ndim) + (slice(None, None, step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64))
    return x


def _reshape(node: Node, x: Tensor, shape: Tensor | None = None) -> Tensor:
    sizes = given(node, "shape", shape)
    assert sizes is not None
    if not node.get("allowzero", 0):
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(tuple(sizes))


def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(node.get("perm", tuple(reversed(range(x.ndim)))))


def _squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = given(node, "axes", axes)
    return x.squeeze() if chosen is None else x.squeeze(tuple(chosen))


def _unsqueeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = given(node, "axes", axes) or []
    rank = x.ndim + len(chosen)
    for axis in sorted(axis % rank for axis in chosen):
        x = x.unsqueeze(axis)
    return x


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(int(torch.Size(x.shape[:axis]).numel()), -1)


def _expand(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(tuple(x.shape), tuple(ints(shape))))


def _tile(node: Node, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(ints(repeats))


def _pad(node: Node, x: Tensor, *rest: Tensor | None) -> Tensor:
    more: list[Tensor | None] = [*rest, None, None, None]
    pads, value, axes = more[:3]
    sizes = given(node, "pads", pads)
    assert sizes is not None
    on = range(x.ndim) if axes is None else [axis % x.ndim for axis in ints(axes)]
    half = len(sizes) // 2
    by_axis = {axis: (sizes[i], sizes[half + i]) for i, axis in enumerate(on)}
    flat = [size for axis in reversed(range(x.ndim)) for size in by_axis.get(axis, (0, 0))]
    mode = node.only("mode", "constant", "reflect", "edge")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode == "constant":
        fill = node.get("value", 0.0) if value is None else value.item()
        return F.pad(x, flat, value=fill)
    while len(flat) > 2 and flat[-2:] == [0, 0]:
        flat = flat[:-2]
    if len(flat) // 2 > x.ndim - 1 or len(flat) > 6:
        raise Unknown(f"{node.op} of leading axes, mode {mode}")
    outer = x.ndim - len(flat) // 2  # torch takes one or two axes in front
    lead = x.reshape(1, -1, *x.shape[outer:])
    padded = F.pad(lead, flat, mode={"reflect": "reflect", "edge": "replicate"}[mode])
    return padded.reshape(*x.shape[:outer], *padded.shape[2:])


def _gather(node: Node, x: Tensor, index: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.ndim
    found = x.index_select(axis, index.reshape(-1).long() % x.shape[axis])
    return found.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


OPERATORS: Mapping[str, Operator] = {
    "Abs": _of_one(torch.abs),
    "Ceil": _of_one(torch.ceil),
    "Cos": _of_one(torch.cos),
    "Dropout": lambda node, x, *rest: x,
    "Erf": _of_one(torch.erf),
    "Exp": _of_one(torch.exp),
    "Floor": _of_one(torch.floor),
    "Identity": _of_one(lambda x: x),
    "Log": _of_one(torch.log),
    "Mish": _of_one(F.mish),
    "Neg": _of_one(torch.neg),
    "Reciprocal": _of_one(torch.reciprocal),
    "Relu": _of_one(torch.relu),
    "Sigmoid": _of_one(torch.sigmoid),
    "Sin": _of_one(torch.sin),
    "Softplus": _of_one(F.softplus),
    "Softsign": _of_one(F.softsign),
    "Sqrt": _of_one(torch.sqrt),
    "Tanh": _of_one(torch.tanh),
    "Elu": lambda node, x: F.elu(x, node.get("alpha", 1.0)),
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _of_one(F.hardswish),
    "LeakyRelu": lambda node, x: F.leaky_relu(x, node.get("alpha", 0.01)),
    "PRelu": _prelu,
    "Clip": _clip,
    "Add": _of_two(torch.add),
    "Div": _of_two(_div),
    "Max": _of_two(torch.maximum),
    "Min": _of_two(torch.minimum),
    "Mul": _of_two(torch.mul),
    "Pow": _of_two(torch.pow),
    "Sub": _of_two(torch.sub),
    "Sum": _of_two(torch.add),
    "And": _of_two(torch.logical_and),
    "Equal": _of_two(torch.eq),
    "Greater": _of_two(torch.gt),
    "Less": _of_two(torch.lt),
    "Not": _of_one(torch.logical_not),
    "Or": _of_two(torch.logical_or),
    "ConstantOfShape": _constant_of_shape,
    "Shape": _shape,
    "Where": lambda node, test, x, y: torch.where(test, x, y),
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "ReduceL2": _reduce(_l2),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Cast": _cast,
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""Operator → what computes it."""
