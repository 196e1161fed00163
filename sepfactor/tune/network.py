"""A network of ONNX nodes that torch computes, with weights that may be tuned."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from sepfactor.tune.maps import MAPS
from sepfactor.tune.operators import OPERATORS, Node, Tensor, Unknown

_KNOWN = {**OPERATORS, **MAPS}

_WEIGHTS: Mapping[str, tuple[int, ...]] = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (1, 2),
    "MatMul": (0, 1),
    "PRelu": (1,),
    "BatchNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
}
"""Operator → which of its inputs are weights, where they are constants."""


class TorchNetwork:
    """The nodes of a graph, in its order.

    Numbers of half precision are computed in float32.

    Args:
        model: without functions and bodies.
        frozen: names of constants that stay as they are.

    Attributes:
        constants: by name, weights included.
        weights: those of ``constants`` that may be tuned, by name.

    Raises:
        Unknown: an operator of it is not among those that torch computes here.
    """

    def __init__(self, model: ir.Model, frozen: Collection[str] = ()) -> None:
        self._opset = model.opset_imports.get("", 1)
        self.constants: dict[str, Tensor] = {
            str(name): _tensor(value.const_value.numpy())
            for name, value in model.graph.initializers.items()
            if value.const_value is not None
        }
        self._nodes = [node for n in model.graph if (node := self._node(n)) is not None]
        self._outputs = [str(value.name) for value in model.graph.outputs]
        last = {name: i for i, node in enumerate(self._nodes) for name in (*node.inputs, *node.outputs)}
        self._free: list[list[str]] = [[] for _ in self._nodes]
        for name, i in last.items():
            self._free[i].append(name)
        names = dict.fromkeys(self._weight_names())
        self.weights = {name: self.constants[name].requires_grad_() for name in names if name not in frozen}

    def _node(self, node: ir.Node) -> Node | None:
        attributes = {name: _plain(attribute) for name, attribute in node.attributes.items()}
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            value = attributes.get("value")
            if value is None:
                raise Unknown("Constant that is no tensor")
            self.constants[str(node.outputs[0].name)] = _tensor(value.numpy())
            return None
        if node.domain not in ("", "ai.onnx") or node.op_type not in _KNOWN:
            raise Unknown(f"{node.domain}::{node.op_type}" if node.domain else node.op_type)
        inputs = tuple("" if value is None else str(value.name) for value in node.inputs)
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        return Node(
            node.op_type, self._opset, inputs, tuple(str(v.name) for v in node.outputs if v.name), attributes
        )

    def _weight_names(self) -> Iterable[str]:
        for node in self._nodes:
            for place in _WEIGHTS.get(node.op, ()):
                name = node.inputs[place] if place < len(node.inputs) else ""
                if name in self.constants and self.constants[name].dtype == torch.float32:
                    yield name

    def __call__(self, feed: Mapping[str, Tensor], wanted: Sequence[str] | None = None) -> list[Tensor]:
        """Values of these names, or the outputs.

        Args:
            feed: inputs by name.
            wanted: names of values, of inputs too.

        Raises:
            Unknown: a node has a form that is not computed here.
        """
        names = self._outputs if wanted is None else wanted
        keep = set(names)
        values = {**self.constants, **{name: _widened(value) for name, value in feed.items()}}
        found = {name: values[name] for name in keep if name in values}
        for node, free in zip(self._nodes, self._free, strict=True):
            made = _KNOWN[node.op](node, *(values[name] if name else None for name in node.inputs))
            several = made if isinstance(made, list | tuple) else [made]
            for name, value in zip(node.outputs, several, strict=True):
                values[name] = value
                if name in keep:
                    found[name] = value
            if len(found) == len(keep):
                break
            for name in free:
                values.pop(name, None)
        return [found[name] for name in names]

    def values(self, feed: Mapping[str, NDArray[Any]], wanted: Sequence[str]) -> list[NDArray[Any]]:
        """The same of arrays, without gradients."""
        with torch.no_grad():
            found = self({name: torch.from_numpy(np.array(value)) for name, value in feed.items()}, wanted)
        return [value.numpy() for value in found]


def _plain(attribute: ir.Attr) -> Any:
    if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        raise Unknown("a body of nodes")
    return attribute.value


def _widened(value: Tensor) -> Tensor:
    """In float32, if it is of half precision."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def _tensor(array: NDArray[Any]) -> Tensor:
    if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        array = array.astype(np.float32) if array.dtype != np.float64 else array
    return torch.from_numpy(np.array(array))


def put_weights(model: ir.Model, weights: Mapping[str, Tensor]) -> None:
    """Give initializers the values that weights came to, in their own type."""
    for name, value in weights.items():
        initializer = model.graph.initializers[name]
        assert initializer.const_value is not None
        array = value.detach().numpy().astype(initializer.const_value.numpy().dtype)
        initializer.const_value = ir.tensor(np.ascontiguousarray(array), name=name)
