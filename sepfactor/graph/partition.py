"""Cut a network at its convolutions, so that it can be run segment by segment.

Calibration runs a network from one convolution to the next, on all images, and keeps for each image
only the values that are still needed. So a whole network costs one pass over the data, however many
convolutions are looked at on the way, and each sees inputs that already went through the new ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sepfactor.graph.bodies import Probe, constants_below, expose, home_below, names_read, written_below
from sepfactor.graph.external import in_one_folder
from sepfactor.graph.sequences import non_tensors
from sepfactor.serialized import Serialized

Values = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Segment:
    """A piece of a network as a model of its own.

    Attributes:
        inputs: names it reads from what was computed before. outputs: names it hands on.
        folder: of files that hold tensors.
    """

    nodes: tuple[onnx.NodeProto, ...]
    initializers: tuple[onnx.TensorProto, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opsets: tuple[onnx.OperatorSetIdProto, ...]
    functions: tuple[onnx.FunctionProto, ...]
    ir_version: int
    folder: Path | None

    def model(self, sample: Mapping[str, NDArray[Any]], probes: Sequence[Probe] = ()) -> Serialized:
        """Serialised; the types of its inputs are those of ``sample``.

        Args:
            sample: values to run it on.
            probes: what of its bodies it is to hand out as well.
        """
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(sample[name].dtype), None)
            for name in self.inputs
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in self.outputs]
        graph = helper.make_graph(list(self.nodes), "segment", inputs, outputs, list(self.initializers))
        model = helper.make_model(
            graph,
            opset_imports=list(self.opsets),
            functions=list(self.functions),
            ir_version=self.ir_version,
        )
        expose(model, probes)
        return Serialized(model.SerializeToString(), self.folder)


class Partition:
    """A network as a list of nodes that can be cut anywhere and have nodes replaced."""

    def __init__(self, model: ir.Model) -> None:
        model, self._folder = in_one_folder(model)
        proto = ir.to_proto(model)
        self._nodes: list[list[onnx.NodeProto]] = [[node] for node in proto.graph.node]
        self._initializers = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._outputs = tuple(value.name for value in proto.graph.output)
        self._results = set(self._outputs)
        self._opsets = tuple(proto.opset_import)
        self._functions = tuple(proto.functions)
        self._ir_version = proto.ir_version
        self.opset = model.opset_imports.get("", 1)
        self._made_at = {name: i for i, (node,) in enumerate(self._nodes) for name in node.output if name}
        self._held_at = {name: i for i, (node,) in enumerate(self._nodes) for name in written_below(node)}
        held = [tensor for (node,) in self._nodes for tensor in constants_below(node)]
        self._constants = {tensor.name: tensor for tensor in (*held, *proto.graph.initializer)}
        # A value nobody reads, such as an output of the network, is at hand where it was made.
        self._last_use = {name: i + 1 for name, i in self._made_at.items()}
        for i, (node,) in enumerate(self._nodes):
            for name in names_read(node):
                self._last_use[name] = max(i, self._last_use.get(name, 0))
        self._number = {name: number for number, name in enumerate(self._made_at)}
        self._read_at: dict[str, list[int]] = {}
        for i in range(len(self._nodes)):
            self._note_reads(i)
        self._lists = non_tensors(proto.graph)
        for name in self._lists:
            for maker in self._makers([name]):
                for source in names_read(self._nodes[maker][0]):
                    self._last_use[source] = max(self._last_use[name], self._last_use[source])

    def _note_reads(self, at: int) -> None:
        """Remember what the first node of a place reads, so that nobody has to look for its readers."""
        for name in dict.fromkeys(names_read(self._nodes[at][0])):
            places = self._read_at.setdefault(name, [])
            if at not in places[-1:]:
                places.append(at)

    def position(self, output: str) -> int:
        """Where in the list the node is that writes this value, or whose bodies do."""
        return self._made_at[output] if output in self._made_at else self._held_at[output]

    def partner(self, output: str) -> str | None:
        """The other summand, if an Add is all this value is for, and that one is computed earlier.

        Within a body there is none: its values are not at hand.
        """
        at = self._made_at.get(output)
        if at is None or output in self._results:
            return None
        readers = self._readers(output)
        if len(readers) != 1 or readers[0].op_type != "Add":
            return None
        other = [name for name in readers[0].input if name != output]
        if len(other) != 1 or other[0] in self._initializers:
            return None
        return other[0] if self._made_at.get(other[0], -1) < at else None

    def offset(self, output: str) -> NDArray[Any] | None:
        """The constant summand, without axes of one number in front, if an Add is all this value is for."""
        readers = self._readers(output)
        if self.is_result(output) or len(readers) != 1 or readers[0].op_type != "Add":
            return None
        tensor = self._constants.get(next((name for name in readers[0].input if name != output), ""))
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
            return None
        constant: NDArray[Any] = numpy_helper.to_array(tensor)
        while constant.ndim > 1 and len(constant) == 1:
            constant = constant[0]
        return constant

    def is_rectified(self, output: str) -> bool:
        """Whether nothing reads this value, or the sum it is for, but what makes negatives 0."""
        if self.partner(output) is not None or self.offset(output) is not None:
            (output,) = self._readers(output)[0].output
        readers = self._readers(output)
        return not self.is_result(output) and bool(readers) and all(map(self._rectifies, readers))

    def _readers(self, name: str) -> list[onnx.NodeProto]:
        body = self._body(name)
        if body is not None:
            return [node for node in body.node if name in names_read(node)]
        nodes = (self._nodes[at][0] for at in self._read_at.get(name, ()) if at > self._made_at[name])
        return [node for node in nodes if name in names_read(node)]

    def is_result(self, name: str) -> bool:
        """Whether its graph hands this value on."""
        body = self._body(name)
        return name in (self._results if body is None else {value.name for value in body.output})

    def _body(self, output: str) -> onnx.GraphProto | None:
        """The body in which a value is written; None where that is the graph itself."""
        if output in self._made_at:
            return None
        return home_below(self._nodes[self._held_at[output]][0], output)

    def _rectifies(self, node: onnx.NodeProto) -> bool:
        """A Relu, or a Clip from 0 on."""
        if node.op_type != "Clip":
            return node.op_type == "Relu"
        bounds = [attribute.f for attribute in node.attribute if attribute.name == "min"]
        if len(node.input) > 1 and node.input[1] in self._constants:
            bounds = [float(numpy_helper.to_array(self._constants[node.input[1]]).item())]
        return bounds == [0.0]

    def replace(self, output: str, nodes: Sequence[ir.Node], initializers: Sequence[ir.Value]) -> None:
        """Put ``nodes`` in place of the one that writes ``output``."""
        new = [ir.serde.serialize_node(node) for node in nodes]
        body = self._body(output)
        if body is None:
            self._nodes[self._made_at[output]] = new
            if new:
                self._note_reads(self._made_at[output])
        else:
            at = next(i for i, node in enumerate(body.node) if output in node.output)
            body.node.pop(at)
            for offset, node in enumerate(new):
                body.node.insert(at + offset, node)
        self._initializers |= {tensor.name: tensor for tensor in map(_serialized, initializers)}

    def segment(self, begin: int, end: int) -> Segment:
        """The nodes ``begin … end − 1``; hands on what is read from ``end`` on."""
        nodes = [node for group in self._nodes[begin:end] for node in group]
        again = self._makers(name for node in nodes for name in names_read(node))
        nodes = [self._nodes[i][0] for i in again if i < begin] + nodes
        made = {name for node in nodes for name in node.output}
        read = dict.fromkeys(name for node in nodes for name in names_read(node))
        constants = [self._initializers[name] for name in read if name in self._initializers]
        inputs = [name for name in read if name not in made and name not in self._initializers]
        needed = [name for name in made if name in self._number and self._last_use.get(name, -1) >= end]
        outputs = sorted((name for name in needed if name not in self._lists), key=self._number.__getitem__)
        return self._segment(nodes, constants, inputs, outputs)

    def _segment(
        self,
        nodes: Iterable[onnx.NodeProto],
        initializers: Iterable[onnx.TensorProto],
        inputs: Iterable[str],
        outputs: Iterable[str],
    ) -> Segment:
        return Segment(
            tuple(nodes),
            tuple(initializers),
            tuple(inputs),
            tuple(outputs),
            self._opsets,
            self._functions,
            self._ir_version,
            self._folder,
        )

    def rest(self, begin: int) -> Segment:
        """The nodes from ``begin`` on; hands on what the network puts out of what they compute."""
        whole = self.segment(begin, len(self._nodes))
        made = {name for node in whole.nodes for name in node.output}
        return replace(whole, outputs=tuple(name for name in self._outputs if name in made))

    def between(
        self, reads: str, writes: str, nodes: Iterable[ir.Node], initializers: Iterable[ir.Value]
    ) -> Segment:
        """Other nodes from one value of the network to another, without putting them into it."""
        made = map(ir.serde.serialize_node, nodes)
        return self._segment(made, map(_serialized, initializers), (reads,), (writes,))

    def _makers(self, names: Iterable[str]) -> list[int]:
        """Positions of the nodes that make those of these values that are no tensors, in order."""
        found: set[int] = set()
        front = [*names]
        while front:
            name = front.pop()
            if name in self._lists and self._made_at[name] not in found:
                found.add(self._made_at[name])
                front += names_read(self._nodes[self._made_at[name]][0])
        return sorted(found)

    def is_live(self, name: str, position: int) -> bool:
        """Whether a value is read by any node from ``position`` on."""
        return self._last_use.get(name, -1) >= position


def _serialized(value: ir.Value) -> onnx.TensorProto:
    assert value.const_value is not None
    tensor = ir.serde.serialize_tensor(value.const_value)
    tensor.name = value.name or ""
    return tensor
