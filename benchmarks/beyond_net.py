"""Networks of one input and one output as nodes and constants, and what their layers see on many images.

Nodes are run one by one on all images at once, so that a layer can be fitted to what the network so far
gives it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sepfactor.tune.maps import MAPS
from sepfactor.tune.operators import OPERATORS, Node

Array = NDArray[Any]
_KNOWN = {**OPERATORS, **MAPS}
_PASSES = {"Relu", "MaxPool", "AveragePool", "Dropout", "Identity"}
"""Operators that keep channels apart."""


@dataclass(frozen=True, eq=False)
class Net:
    """Nodes in order, and constants by name."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    graph: onnx.GraphProto

    @classmethod
    def of(cls, model: ir.Model) -> Net:
        """The same network."""
        proto = ir.to_proto(model)
        opset = next(one.version for one in proto.opset_import if not one.domain)
        constants = {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer}
        nodes = []
        for one in proto.graph.node:
            attributes = {a.name: helper.get_attribute_value(a) for a in one.attribute}
            plain = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
            if one.op_type == "Constant":
                constants[one.output[0]] = numpy_helper.to_array(plain["value"])
                continue
            nodes.append(Node(one.op_type, opset, tuple(one.input), (one.output[0],), plain))
        return cls(_early(nodes), constants, proto.graph)

    def serialised(self) -> bytes:
        """As a file holds it."""
        nodes = [helper.make_node(n.op, n.inputs, n.outputs, **n.attributes) for n in self.nodes]
        used = {name for n in self.nodes for name in n.inputs}
        initializers = [numpy_helper.from_array(a, k) for k, a in self.constants.items() if k in used]
        graph = helper.make_graph(nodes, "g", self._inputs, list(self.graph.output), initializers)
        opset = helper.make_opsetid("", self.nodes[0].opset)
        return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()

    @property
    def _inputs(self) -> list[onnx.ValueInfoProto]:
        return [one for one in self.graph.input if one.name not in self.constants]

    @property
    def input(self) -> str:
        """Its name."""
        return self._inputs[0].name

    def weighted(self, changes: Mapping[str, Array]) -> Net:
        """With other constants."""
        return replace(self, constants={**self.constants, **changes})

    def readers(self, value: str) -> list[Node]:
        """Nodes that read a value."""
        return [node for node in self.nodes if value in node.inputs]

    def convs(self) -> list[Node]:
        """All of one group."""
        return [node for node in self.nodes if node.op == "Conv" and node.get("group", 1) == 1]

    def weight(self, conv: Node) -> Array:
        """``(O, I, kh, kw)``."""
        return self.constants[conv.inputs[1]]

    def bias(self, conv: Node) -> Array:
        """Zeros where it has none."""
        return self.constants[conv.inputs[2]] if len(conv.inputs) > 2 else np.zeros(len(self.weight(conv)))


def _early(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Each as soon as it can be, so that what is added to an answer is there before it."""
    depth: dict[str, int] = {}
    for node in nodes:
        depth[node.outputs[0]] = 1 + max((depth.get(name, 0) for name in node.inputs), default=0)
    return tuple(sorted(nodes, key=lambda node: depth[node.outputs[0]]))


def aim(net: Net, conv: Node) -> tuple[str, str, bool]:
    """The value a convolution is fitted to, what is added to its answer or "", whether a ReLU follows."""
    value, other = conv.outputs[0], ""
    after = net.readers(value)
    if len(after) == 1 and after[0].op == "Add":
        other = next(name for name in after[0].inputs if name != value)
        value = after[0].outputs[0]
        after = net.readers(value)
    return value, other, len(after) == 1 and after[0].op == "Relu"


def producers(net: Net, value: str) -> list[tuple[str, int]] | None:
    """Convolutions, by output and channels, whose answers a value holds in turn; None if others write it."""
    node = next((one for one in net.nodes if value in one.outputs), None)
    if node is None:
        return None
    if node.op == "Conv" and node.get("group", 1) == 1:
        return [(value, len(net.weight(node)))]
    if node.op in _PASSES:
        return producers(net, node.inputs[0])
    if node.op == "Concat":
        parts = [producers(net, name) for name in node.inputs]
        return None if None in parts else [one for part in parts if part for one in part]
    return None


def prunable(net: Net) -> dict[str, int]:
    """Outputs of convolutions whose channels nothing but convolutions reads, and how many these are."""

    def ends_well(value: str) -> bool:
        after = net.readers(value)
        return bool(after) and all(
            (n.op == "Conv" and n.get("group", 1) == 1 and producers(net, value) is not None)
            or ((n.op in _PASSES or n.op == "Concat") and ends_well(n.outputs[0]))
            for n in after
        )

    return {c.outputs[0]: len(net.weight(c)) for c in net.convs() if ends_well(c.outputs[0])}


# What layers see ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sample:
    """Images, and the original's answers at some positions.

    Attributes:
        images: ``(n, c, h, w)``. spots: per image. seed: of the positions.
        aims: value → ``(rows, O)``; filled by :meth:`look`. sizes: value → height and width.
    """

    images: Array
    spots: int
    seed: int
    aims: dict[str, Array] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def at(self, value: str) -> tuple[Array, Array, Array]:
        """Image, row and column of every position of a value; the same ones always."""
        height, width = self.sizes[value]
        rng = np.random.default_rng([self.seed, zlib.crc32(value.encode())])
        flat = rng.integers(height * width, size=len(self.images) * self.spots)
        return np.repeat(np.arange(len(self.images)), self.spots), flat // width, flat % width

    def of(self, value: str, map_: Any) -> Array:
        """``(rows, c)`` of a map there."""
        image, row, column = self.at(value)
        return map_[image, :, row, column].numpy()

    def look(self, net: Net) -> Sample:
        """Fill in what the original answers."""
        wanted = {value for conv in net.convs() for value in {conv.outputs[0], aim(net, conv)[0]}}

        def after(node: Node, values: dict[str, Any]) -> None:
            name = node.outputs[0]
            if name in wanted:
                self.sizes[name] = tuple(values[name].shape[2:])
                self.aims[name] = self.of(name, values[name])

        walk(net, self.images, after=after)
        return self

    def patches(self, net: Net, conv: Node, x: Any) -> Array:
        """``(rows, channels, kh·kw)`` of what a convolution reads for its positions."""
        kh, kw = net.weight(conv).shape[2:]
        top, left, bottom, right = conv.get("pads", (0, 0, 0, 0))
        padded = F.pad(x, (left, right, top, bottom))
        image, row, column = self.at(aim(net, conv)[0])
        (sy, sx), (dy, dx) = conv.get("strides", (1, 1)), conv.get("dilations", (1, 1))
        rows = (row * sy)[:, None] + np.arange(kh) * dy
        columns = (column * sx)[:, None] + np.arange(kw) * dx
        found = padded[image[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return found.permute(0, 3, 1, 2).reshape(len(image), x.shape[1], kh * kw).numpy()


Visit = Callable[[Node, dict[str, Any]], None]


def walk(net: Net, images: Array, before: Visit | None = None, after: Visit | None = None) -> None:
    """Run node by node on all images at once, forgetting values nobody reads any more.

    Args:
        net: whose nodes are run; its constants may be changed on the way.
        images: of its input.
        before: told of each node and the values there are, which it may change.
        after: the same, when the node has run.
    """
    last = {name: i for i, node in enumerate(net.nodes) for name in (*node.inputs, *node.outputs)}
    values: dict[str, Any] = {net.input: torch.from_numpy(images)}
    with torch.no_grad():
        for i, node in enumerate(net.nodes):
            if before is not None:
                before(node, values)
            read = [
                values[n] if n in values else torch.from_numpy(np.array(net.constants[n])) if n else None
                for n in node.inputs
            ]
            values[node.outputs[0]] = _KNOWN[node.op](node, *read)
            if after is not None:
                after(node, values)
            for name in [n for n in values if last.get(n, -1) <= i]:
                del values[name]
