"""Convolutions in the bodies of If, Loop and Scan: what they read and answer, turn by turn.

A value of a body has no name outside of it, and may be computed often in a run, or not at all. To be seen it
is led out: written as a row of numbers, and one of its shape; empty ones from the branch of an If that does
not hold it. Rows of the turns of a Loop are strung together in a state it carries along, and those of a
Scan, which are all as long, are stacked; each turn leaves a mark behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper

from sepfactor.graph.kind import Skip

_STANDARD = ("", "ai.onnx")

BEFORE_STATES = 2
"""Inputs of a Loop, and of its body, before the states it carries along: count and condition."""

_TURNS = 64
"""Turns of a Loop that are looked at, the first: carrying rows along costs the square of their number."""

_SLICED = 10
"""Operator set from which they can be told apart from the others."""

_MARK = -1
"""What stands behind the shapes of a turn."""

_UNEVEN = 8
"""Operator set from which a row of unknown length can be made."""


@dataclass(frozen=True)
class Probe:
    """A value to be led out of a body.

    Attributes:
        node: first output of the node in question. role: whether it is what that reads first, or its output.
        dtype: of the value.
    """

    node: str
    role: Literal["input", "output"]
    dtype: np.dtype[np.floating]

    @property
    def outputs(self) -> tuple[str, str]:
        """Graph outputs that :func:`exposed` reads: records of its shapes, and its numbers."""
        return f"{self.node}/probe/{self.role}/shapes", f"{self.node}/probe/{self.role}/numbers"


class Bodies:
    """The bodies of a model, and the nodes they belong to."""

    def __init__(self, model: ir.Model) -> None:
        self._opset = model.opset_imports.get("", 1)
        self._holders = {body: node for node in model.graph.all_nodes() for body in bodies(node)}

    def hold(self, node: ir.Node) -> bool:
        """Whether a node is in one of them."""
        return node.graph in self._holders

    def check(self, node: ir.Node) -> None:
        """Fail where values of the body that a node is in cannot be led out.

        Raises:
            Skip: what is around it does not let them.
        """
        inner = ""
        while self.hold(node):
            node = self._holders[node.graph]  # type: ignore[index]  # a graph, since it is held
            if node.op_type not in _LEAD or node.domain not in _STANDARD:
                raise Skip("inside-body", f"inside the body of a {node.op_type}, which cannot be looked into")
            if node.op_type == "Scan" and inner in ("If", "Loop"):
                text = f"inside the {inner} of a Scan, whose turns must all answer with as many numbers"
                raise Skip("inside-body", text)
            if node.op_type == "If" and self._opset < _UNEVEN:
                raise Skip(
                    "inside-body",
                    f"inside an If of opset {self._opset}, whose branches must answer with as many numbers",
                )
            inner = node.op_type


def bodies(node: ir.Node) -> Iterator[ir.Graph]:
    """Graphs among the attributes of a node."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def read_outside(node: ir.Node) -> Iterator[ir.Value]:
    """Values a node reads, those its bodies take from outside included.

    Also those a body hands on as they are, which onnx-ir's ``analyze_implicit_usage`` leaves out.
    """
    yield from (value for value in node.inputs if value is not None)
    for body in bodies(node):
        own = {*body.inputs, *body.initializers.values()} | {v for inner in body for v in inner.outputs}
        for inner in body:
            yield from (value for value in read_outside(inner) if value not in own)
        yield from (value for value in body.outputs if value not in own)


def proto_bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Graphs among the attributes of a node of a protobuf."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def names_read(node: onnx.NodeProto) -> Iterator[str]:
    """Names of what a node reads, those its bodies take from outside included."""
    yield from (name for name in node.input if name)
    for body in proto_bodies(node):
        own = {name for inner in body.node for name in inner.output}
        own |= {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
        for inner in body.node:
            yield from (name for name in names_read(inner) if name not in own)
        yield from (value.name for value in body.output if value.name not in own)


def with_bodies(holder: Any) -> Iterator[Any]:
    """A graph or function of a protobuf, the bodies of its nodes, and theirs."""
    yield holder
    for node in holder.node:
        for body in proto_bodies(node):
            yield from with_bodies(body)


def home_below(node: onnx.NodeProto, output: str) -> onnx.GraphProto | None:
    """The graph among the bodies of a node in which ``output`` is written."""
    return next((body for body in _all_below(node) if any(output in n.output for n in body.node)), None)


def written_below(node: onnx.NodeProto) -> Iterator[str]:
    """Names of all that nodes write in the bodies of a node."""
    return (name for body in _all_below(node) for inner in body.node for name in inner.output if name)


def constants_below(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    """Initialisers of the bodies of a node."""
    return (tensor for body in _all_below(node) for tensor in body.initializer)


def _all_below(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The bodies of a node, and theirs."""
    for body in proto_bodies(node):
        yield from with_bodies(body)


def expose(model: onnx.ModelProto, probes: Sequence[Probe]) -> None:
    """Give a model the outputs of these probes, in place."""
    opset = next((s.version for s in model.opset_import if s.domain in _STANDARD), 1)
    for probe in probes:
        found = _lead(model.graph, probe, opset)
        assert found is not None  # sites are nodes of this model
        for row, output in zip(found, probe.outputs, strict=True):
            model.graph.node.append(helper.make_node("Identity", [row.name], [output]))
            model.graph.output.append(onnx.ValueInfoProto(name=output))


def exposed(values: Mapping[str, NDArray[Any]], probe: Probe) -> dict[int, NDArray[Any]]:
    """What a probe saw in one run, by the number of the turn; there are gaps where an If went the other way.

    Args:
        values: what the run gave, by name.
        probe: which; of each value it says how many axes it has, and their sizes, and strings its numbers
            together behind those of the others.
    """
    shapes, numbers = (values[name] for name in probe.outputs)
    found: dict[int, NDArray[Any]] = {}
    turn, at, begin = 0, 0, 0
    while at < len(shapes):
        axes = int(shapes[at])
        at += 1
        if axes == _MARK:
            turn += 1
            continue
        shape = tuple(int(n) for n in shapes[at : at + axes])
        end = begin + int(np.prod(shape))
        found[turn] = numbers[begin:end].reshape(shape)
        at, begin = at + axes, end
    return found


def _lead(graph: onnx.GraphProto, probe: Probe, opset: int) -> _Rows | None:
    """Write what the probe sees into two values of ``graph``, rows of numbers; None if it is not in there."""
    for index, node in enumerate(graph.node):
        if node.output and node.output[0] == probe.node:
            return _record(graph, index, probe, opset)
        for number, body in enumerate(proto_bodies(node)):
            inner = _lead(body, probe, opset)
            if inner is not None:
                return _LEAD[node.op_type](graph, index, number, inner, opset)
    return None


@dataclass(frozen=True)
class _Row:
    """A row of numbers in a graph."""

    name: str
    kind: np.dtype[Any]

    def outside(self) -> _Row:
        """What it is around the body."""
        return _Row(f"{self.name}+", self.kind)

    def called(self, name: str) -> onnx.ValueInfoProto:
        """A row like it."""
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(self.kind), [None])


_Rows = tuple[_Row, _Row]
"""Of shapes, and of the numbers themselves."""


def _record(graph: onnx.GraphProto, index: int, probe: Probe, opset: int) -> _Rows:
    """At the node itself: one record and its numbers."""
    node = graph.node[index]
    at, value = (index, node.input[0]) if probe.role == "input" else (index + 1, node.output[0])
    shapes, numbers = (f"{name}+" for name in probe.outputs)
    made = [
        helper.make_node("Shape", [value], [f"{shapes}/sizes"]),
        helper.make_node("Shape", [f"{shapes}/sizes"], [f"{shapes}/axes"]),
        helper.make_node("Concat", [f"{shapes}/axes", f"{shapes}/sizes"], [shapes], axis=0),
    ]
    if opset < 5:
        made.append(helper.make_node("Reshape", [value], [numbers], shape=[-1]))
    else:
        made.append(_constant(f"{numbers}/flat", np.array([-1], np.int64)))
        made.append(helper.make_node("Reshape", [value, f"{numbers}/flat"], [numbers]))
    for offset, new in enumerate(made):
        graph.node.insert(at + offset, new)
    return _Row(shapes, np.dtype(np.int64)), _Row(numbers, probe.dtype)


def _out_of_if(graph: onnx.GraphProto, index: int, number: int, inner: _Rows, _: int) -> _Rows:
    node = graph.node[index]
    for other, branch in enumerate(proto_bodies(node)):
        for row in inner:
            name = row.name if other == number else f"{row.name}/none"
            if other != number:
                branch.node.extend(_none(name, row.kind, node.input[0]))
            branch.output.append(row.called(name))
    shapes, numbers = (row.outside() for row in inner)
    node.output.extend([shapes.name, numbers.name])
    return shapes, numbers


def _out_of_loop(graph: onnx.GraphProto, index: int, number: int, inner: _Rows, opset: int) -> _Rows:
    node = graph.node[index]
    body = [*proto_bodies(node)][number]
    states = len(body.input) - BEFORE_STATES
    node.input.extend([""] * (BEFORE_STATES - len(node.input)))
    outputs = [*node.output] + [""] * (states - len(node.output))
    outside = inner[0].outside(), inner[1].outside()
    for offset, (row, new) in enumerate(zip(_marked(body, inner), outside, strict=True)):
        before, after = f"{row.name}/before", f"{row.name}/after"
        kept = _if_early(body, row.name) if opset >= _SLICED else row.name
        body.input.append(row.called(before))
        body.node.append(helper.make_node("Concat", [before, kept], [after], axis=0))
        body.output.insert(1 + states + offset, row.called(after))
        node.input.append(f"{new.name}/none")
        outputs.insert(states + offset, new.name)
    del node.output[:]
    node.output.extend(outputs)
    for new in outside:
        graph.node.insert(index, _constant(f"{new.name}/none", np.zeros(0, new.kind)))
    return outside


def _out_of_scan(graph: onnx.GraphProto, index: int, number: int, inner: _Rows, _: int) -> _Rows:
    node = graph.node[index]
    body = [*proto_bodies(node)][number]
    outside = inner[0].outside(), inner[1].outside()
    for attribute in node.attribute:
        if attribute.name in ("scan_output_axes", "scan_output_directions"):
            attribute.ints.extend([0, 0])
    flat = f"{outside[0].name}/flat"
    behind = [_constant(flat, np.array([-1], np.int64))]
    for row, new in zip(_marked(body, inner), outside, strict=True):
        body.output.append(row.called(row.name))
        node.output.append(f"{new.name}/stacked")
        behind.append(helper.make_node("Reshape", [f"{new.name}/stacked", flat], [new.name]))
    for offset, made in enumerate(behind):
        graph.node.insert(index + 1 + offset, made)
    return outside


_Lead = Callable[[onnx.GraphProto, int, int, _Rows, int], _Rows]

_LEAD: dict[str, _Lead] = {"If": _out_of_if, "Loop": _out_of_loop, "Scan": _out_of_scan}
"""How rows get out of the body of each operator: of a graph, its node, and body by number."""


def _marked(body: onnx.GraphProto, rows: _Rows) -> _Rows:
    """With the mark of a turn behind the shapes."""
    shapes, numbers = rows
    mark, marked = f"{shapes.name}/mark", f"{shapes.name}/marked"
    body.node.append(_constant(mark, np.array([_MARK])))
    body.node.append(helper.make_node("Concat", [shapes.name, mark], [marked], axis=0))
    return _Row(marked, shapes.kind), numbers


def _if_early(body: onnx.GraphProto, name: str) -> str:
    """A row in one of the first turns, an empty one later."""
    few, begin = _constant(f"{name}/few", np.array(_TURNS)), _constant(f"{name}/begin", np.array([0]))
    body.node.extend(
        [
            few,
            begin,
            helper.make_node("Less", [body.input[0].name, few.output[0]], [f"{name}/early"]),
            helper.make_node("Cast", [f"{name}/early"], [f"{name}/one"], to=TensorProto.INT64),
            helper.make_node("Shape", [name], [f"{name}/length"]),
            helper.make_node("Mul", [f"{name}/length", f"{name}/one"], [f"{name}/end"]),
            helper.make_node("Slice", [name, begin.output[0], f"{name}/end"], [f"{name}/kept"]),
        ]
    )
    return f"{name}/kept"


def _none(name: str, kind: np.dtype[Any], boolean: str) -> Iterator[onnx.NodeProto]:
    """An empty row whose length is not known in advance: until operator set 11 branches must agree in that.

    Args:
        name: of the row.
        kind: of its numbers.
        boolean: of a value that is at hand, a single bool.
    """
    yield _constant(f"{name}/flat", np.array([1], np.int64))
    yield helper.make_node("Not", [boolean], [f"{name}/not"])
    yield helper.make_node("And", [boolean, f"{name}/not"], [f"{name}/false"])
    yield helper.make_node("Cast", [f"{name}/false"], [f"{name}/zero"], to=TensorProto.INT64)
    yield helper.make_node("Reshape", [f"{name}/zero", f"{name}/flat"], [f"{name}/length"])
    yield _constant(f"{name}/number", np.zeros(1, kind))
    yield helper.make_node("Expand", [f"{name}/number", f"{name}/length"], [name])


def _constant(name: str, value: NDArray[Any]) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(value))
