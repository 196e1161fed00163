"""Networks of convolutions, sums and rectifiers as ncnn reads them, written directly.

What pnnx makes of such a network is known, layer by layer, and a test holds that this is the same; but pnnx
takes half a second for each, and a plan is made from hundreds of them: layers and what may stand for them.
Of ncnn's two files the one lists layers and how they are joined, a line each; the other holds the weights in
that order, in float16 with a mark before them, and biases in float32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Array = NDArray[Any]

MAGIC = "7767517"
"""The first line of a list of layers."""

_HALF = 0x01306B47
"""The mark before weights that are in float16."""

_LARGEST_HALF, _LEAST_HALF = 65504.0, 2.0**-14

_CONVOLUTIONS = {"Conv": "Convolution", "ConvTranspose": "Deconvolution"}
_RECTIFIERS = ("Relu", "LeakyRelu")


class Unwritable(Exception):
    """The network holds what is not written here."""


@dataclass(frozen=True, eq=False)
class Converted:
    """A network as ncnn reads it.

    Attributes:
        param: text that lists layers, and how they are joined.
        weights: their numbers, in that order.
        inputs: names of blobs, in the order of the graph.
        outputs: likewise.
        origins: name of a layer → name and operator of the ONNX node it is made of, as far as that is known.
        is_sure: whether it computes the network for certain, so that nobody needs to compare.
    """

    param: str
    weights: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    origins: Mapping[str, tuple[str, str]]
    is_sure: bool = False


def constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Tensors of a graph by name: initialisers, and what its Constant nodes hold."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
    return found


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Values of the attributes of a node, by name."""
    return {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}


def written(graph: onnx.GraphProto) -> Converted:
    """A network as ncnn reads it.

    Args:
        graph: whose maps have four axes, of which the first is one number long or left out of account.

    Raises:
        Unwritable: it holds other operators than Conv and ConvTranspose of maps, sums of two maps, Relu and
            LeakyRelu, or one of these in an unusual form.
    """
    tensors = constants(graph)
    writing = _Writing(tensors, _reads(graph, tensors))
    takes = [value.name for value in graph.input if value.name not in tensors]
    inputs = tuple(f"in{number}" for number in range(len(takes)))
    for name, blob in zip(takes, inputs, strict=True):
        writing.add("Input", blob, [], [name], "", blob=blob)
    followers = _only_followers(graph, writing.reads)
    fused = set[str]()
    for number, node in enumerate(graph.node):
        if node.op_type == "Constant" or node.output[0] in fused:
            continue
        follower = followers.get(node.output[0]) if node.op_type in _CONVOLUTIONS else None
        if follower is not None:
            fused.add(follower.output[0])
        writing.node(node, follower, f"{node.op_type.lower()}_{number}")
    outputs = tuple(writing.take(value.name) for value in graph.output)
    head = f"{MAGIC}\n{len(writing.lines)} {writing.blobs}\n"
    text = head + "".join(f"{line}\n" for line in writing.lines)
    return Converted(text, bytes(writing.weights), inputs, outputs, writing.origins, is_sure=True)


def _reads(graph: onnx.GraphProto, tensors: Mapping[str, onnx.TensorProto]) -> Counter[str]:
    """How often each value that is no constant is read."""
    read = [name for node in graph.node for name in node.input if name and name not in tensors]
    return Counter([*read, *(value.name for value in graph.output)])


def _only_followers(graph: onnx.GraphProto, reads: Counter[str]) -> dict[str, onnx.NodeProto]:
    """Value → the rectifier that alone reads it."""
    return {
        node.input[0]: node
        for node in graph.node
        if node.op_type in _RECTIFIERS and node.input and reads[node.input[0]] == 1
    }


@dataclass(eq=False)
class _Writing:
    """What was written so far.

    Attributes:
        tensors: constants of the graph.
        reads: how often a value is read.
        lines: one a layer. weights: in their order. origins: layer → node.
        free: value → blobs that hold it and were not read yet; ncnn lets each be read once.
        blobs: how many there are.
    """

    tensors: Mapping[str, onnx.TensorProto]
    reads: Counter[str]
    lines: list[str] = field(default_factory=list)
    weights: bytearray = field(default_factory=bytearray)
    origins: dict[str, tuple[str, str]] = field(default_factory=dict)
    free: dict[str, list[str]] = field(default_factory=dict)
    blobs: int = 0

    def node(self, node: onnx.NodeProto, follower: onnx.NodeProto | None, name: str) -> None:
        """Write the layer of a node, with the rectifier behind it where there is one."""
        if node.domain not in ("", "ai.onnx"):
            raise Unwritable(node.domain)
        end = (follower or node).output[0]
        if node.op_type in _CONVOLUTIONS:
            self._convolution(node, follower, name, end)
        elif node.op_type == "Add":
            self.add("BinaryOp", name, node.input, [end], "0=0")
        elif node.op_type in _RECTIFIERS:
            slope = _slope(node)
            self.add("ReLU", name, node.input, [end], f"0={slope:g}" if slope else "")
        else:
            raise Unwritable(node.op_type)
        self.origins[name] = (node.name or node.output[0], node.op_type)

    def add(
        self, kind: str, name: str, read: Sequence[str], write: Sequence[str], said: str, blob: str = ""
    ) -> None:
        """A layer that reads and writes values of these names."""
        bottoms = [self.take(value) for value in read]
        tops = [self._make(value, blob) for value in write]
        words = [kind, name, str(len(bottoms)), str(len(tops)), *bottoms, *tops, said]
        self.lines.append(" ".join(filter(None, words)))
        for value in write:
            self._split(value)

    def take(self, value: str) -> str:
        """A blob that holds a value, to be read."""
        if not self.free.get(value):
            raise Unwritable(f"{value or 'an input'} is a constant, or computed by nothing")
        return self.free[value].pop(0)

    def _make(self, value: str, blob: str = "") -> str:
        self.blobs += 1
        blob = blob or str(self.blobs)
        self.free.setdefault(value, []).append(blob)
        return blob

    def _split(self, value: str) -> None:
        """Blobs for all that read a value, where more than one does."""
        readers = self.reads[value]
        if readers > 1:
            source = self.take(value)
            tops = [self._make(value) for _ in range(readers)]
            self.lines.append(" ".join(["Split", f"split_{tops[0]}", "1", str(readers), source, *tops]))

    def _convolution(
        self, node: onnx.NodeProto, follower: onnx.NodeProto | None, name: str, end: str
    ) -> None:
        if any(one not in self.tensors for one in node.input[1:] if one):
            raise Unwritable("weights that are computed")
        weight, *rest = (numpy_helper.to_array(self.tensors[one]) for one in node.input[1:] if one)
        if weight.ndim != 4 or weight.dtype != np.float32:
            raise Unwritable("weights of another form")
        said = attributes(node)
        group, is_transposed = int(said.get("group", 1)), node.op_type == "ConvTranspose"
        if is_transposed:
            blocks = weight.reshape(group, -1, *weight.shape[1:]).swapaxes(1, 2)
            weight = np.ascontiguousarray(blocks).reshape(-1, *blocks.shape[2:])
        numbers = _geometry(said, weight, is_transposed)
        numbers |= {5: int(bool(rest)), 6: weight.size}
        if group > 1:
            numbers[7] = group
        text = " ".join(f"{key}={value}" for key, value in numbers.items())
        self.add(
            _CONVOLUTIONS[node.op_type] + "DepthWise" * (group > 1),
            name,
            node.input[:1],
            [end],
            text + _activation(follower),
        )
        self.weights += _marked(weight)
        for bias in rest:
            self.weights += bias.astype("<f4").tobytes()


def _geometry(said: Mapping[str, Any], weight: Array, is_transposed: bool) -> dict[int, int]:
    """What ncnn is told of channels, kernel, strides, pads and dilations, by the numbers it calls them.

    Raises:
        Unwritable: padding is left to be worked out, or cuts off.
    """
    if said.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or "output_shape" in said:
        raise Unwritable("pads that are worked out")
    (top, left, bottom, right), (out, _, high, wide) = said.get("pads", [0] * 4), weight.shape
    strides, dilations = said.get("strides", [1, 1]), said.get("dilations", [1, 1])
    if min(top, left, bottom, right) < 0:
        raise Unwritable("negative pads")
    numbers = {0: out, 1: wide, 11: high, 2: dilations[1], 12: dilations[0], 3: strides[1], 13: strides[0]}
    numbers |= {4: left, 14: top}
    if (left, top) != (right, bottom):
        numbers |= {15: right, 16: bottom}
    if is_transposed:
        further = said.get("output_padding", [0, 0])
        numbers |= {18: further[1], 19: further[0]}
    return numbers


def _slope(rectifier: onnx.NodeProto) -> float:
    """By which what is below zero is scaled."""
    return 0.0 if rectifier.op_type == "Relu" else float(attributes(rectifier).get("alpha", 0.01))


def _activation(follower: onnx.NodeProto | None) -> str:
    if follower is None:
        return ""
    slope = _slope(follower)
    return f" 9=2 -23310=1,{slope:.8g}" if slope else " 9=1"


def _marked(weight: Array) -> bytes:
    """Weights with their mark, in float16 where they fit into it, filled up to four bytes."""
    if weight.size and float(np.abs(weight).max()) > _LARGEST_HALF:
        return (0).to_bytes(4, "little") + weight.astype("<f4").tobytes()
    normal = np.where(np.abs(weight) < _LEAST_HALF, np.copysign(0.0, weight), weight)  # as pnnx does
    half = normal.astype("<f2").tobytes()
    return _HALF.to_bytes(4, "little") + half + bytes(-len(half) % 4)
