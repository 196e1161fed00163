"""Parts of a network put into functions, branches and loops: it computes what it did before."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

Wrap = Callable[[onnx.ModelProto, int, int], None]
Step = tuple[Wrap, random.Random]


def read_and_written(proto: onnx.ModelProto, begin: int, end: int) -> tuple[list[str], list[str]]:
    """What the nodes between read from before, and what of theirs is read after, or is an output."""
    graph = proto.graph
    inside, after = graph.node[begin:end], graph.node[end:]
    made = [name for node in inside for name in node.output if name]
    wanted = {name for node in after for name in _reads(node)} | {value.name for value in graph.output}
    read = dict.fromkeys(name for node in inside for name in _reads(node) if name not in made)
    return list(read), [name for name in made if name in wanted]


def into_function(proto: onnx.ModelProto, begin: int, end: int) -> None:
    """A function of its own, whatever else there is."""
    inputs, outputs = read_and_written(proto, begin, end)
    name = f"Part{len(proto.functions)}"
    imports = [helper.make_opsetid(o.domain, o.version) for o in proto.opset_import]
    if name == "Part0":
        proto.opset_import.append(helper.make_opsetid("own", 1))
    inside = list(proto.graph.node[begin:end])
    proto.functions.append(helper.make_function("own", name, inputs, outputs, inside, imports))
    _replace(proto, begin, end, helper.make_node(name, inputs, outputs, domain="own"))


def into_branch(proto: onnx.ModelProto, begin: int, end: int) -> None:
    """The branch of an If that is always taken; the other gives the same by other names."""
    _, outputs = read_and_written(proto, begin, end)
    inside = list(proto.graph.node[begin:end])
    values = _declared(proto, outputs, {})
    branches = [helper.make_graph(inside, name, [], values) for name in ("taken", "other")]
    yes = _constant(proto, np.array([True]))
    choice = helper.make_node("If", [yes], outputs, then_branch=branches[0], else_branch=branches[1])
    _replace(proto, begin, end, choice)


def into_open_branch(proto: onnx.ModelProto, begin: int, end: int) -> None:
    """Both branches of an If that could be decided either way, but is always decided alike."""
    _, outputs = read_and_written(proto, begin, end)
    tag = f"open{len(proto.graph.initializer)}"
    inside, values = _inner(proto, begin, end, outputs, tag)
    branches = [helper.make_graph(inside, name, [], values) for name in ("then", "else")]
    low = _constant(proto, np.float32(-1e30))
    choice = [
        helper.make_node("Cast", [proto.graph.input[0].name], [f"{tag}/float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", [f"{tag}/float"], [f"{tag}/most"], keepdims=0),
        helper.make_node("Greater", [f"{tag}/most", low], [f"{tag}/yes"]),
        helper.make_node("If", [f"{tag}/yes"], outputs, then_branch=branches[0], else_branch=branches[1]),
    ]
    _replace(proto, begin, end, *choice)


def into_loop(proto: onnx.ModelProto, begin: int, end: int) -> None:
    """The body of a Loop of two turns, of which the last counts."""
    _, outputs = read_and_written(proto, begin, end)
    tag = f"loop{len(proto.graph.initializer)}"
    inside, values = _inner(proto, begin, end, outputs, tag)
    turn = helper.make_tensor_value_info(f"{tag}/turn", TensorProto.INT64, [])
    before, after = (helper.make_tensor_value_info(f"{tag}/{n}", TensorProto.BOOL, []) for n in "ba")
    copied = helper.make_node("Identity", [before.name], [after.name])
    body = helper.make_graph([copied, *inside], "turn", [turn, before], [after, *values])
    count = _constant(proto, np.array(2))
    stacks = [f"{tag}/{name}/all" for name in outputs]
    node = helper.make_node("Loop", [count, _constant(proto, np.array(True))], stacks, body=body)
    _replace(proto, begin, end, node, *_last_of(proto, stacks, outputs))


def into_scan(proto: onnx.ModelProto, begin: int, end: int) -> None:
    """The body of a Scan over two numbers it does not read."""
    _, outputs = read_and_written(proto, begin, end)
    tag = f"scan{len(proto.graph.initializer)}"
    inside, values = _inner(proto, begin, end, outputs, tag)
    number = helper.make_tensor_value_info(f"{tag}/number", TensorProto.FLOAT, [])
    body = helper.make_graph(inside, "turn", [number], values)
    rows = _constant(proto, np.zeros(2, np.float32))
    stacks = [f"{tag}/{name}/all" for name in outputs]
    node = helper.make_node("Scan", [rows], stacks, body=body, num_scan_inputs=1)
    _replace(proto, begin, end, node, *_last_of(proto, stacks, outputs))


CLOSED: tuple[Wrap, ...] = (into_function, into_branch)
"""What is written out again."""

OPEN: tuple[Wrap, ...] = (into_open_branch, into_loop, into_scan)
"""What stays."""


def steps(wraps: Sequence[Wrap], least: int = 0, most: int = 3) -> st.SearchStrategy[list[Step]]:
    """Ways to wrap a network."""
    return st.lists(st.tuples(st.sampled_from(list(wraps)), st.randoms()), min_size=least, max_size=most)


def wrapped(model: onnx.ModelProto, steps: Sequence[Step]) -> onnx.ModelProto:
    """A copy with parts of it wrapped, one in another at times."""
    proto = onnx.ModelProto.FromString(model.SerializeToString())
    for wrap, draw in steps:
        count = len(proto.graph.node)
        begin = draw.randrange(count)
        end = draw.randrange(begin, count) + 1
        torn = wrap in OPEN and any(n.op_type == "DequantizeLinear" for n in proto.graph.node[begin:end])
        if read_and_written(proto, begin, end)[1] and not torn:  # onnxruntime aborts over half a Q/DQ pair
            wrap(proto, begin, end)
    return proto


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names, those its bodies take from outside included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        own = {name for inner in attribute.g.node for name in inner.output}
        own |= {value.name for value in attribute.g.input}
        yield from (name for inner in attribute.g.node for name in _reads(inner) if name not in own)


def _inner(
    proto: onnx.ModelProto, begin: int, end: int, outputs: Sequence[str], tag: str
) -> tuple[list[onnx.NodeProto], list[onnx.ValueInfoProto]]:
    """Copies of nodes, what they write under names of their own; and those of ``outputs``."""
    inside = [onnx.NodeProto.FromString(node.SerializeToString()) for node in proto.graph.node[begin:end]]
    names = {name: f"{tag}/{name}" for node in inside for name in node.output if name}
    for node in inside:
        _rename(node, names)
    return inside, _declared(proto, outputs, names)


def _declared(
    proto: onnx.ModelProto, outputs: Sequence[str], names: Mapping[str, str]
) -> list[onnx.ValueInfoProto]:
    """Values as outputs of a body: of their type, and of as many axes as is known."""
    known = onnx.shape_inference.infer_shapes(proto).graph
    types = {value.name: value.type.tensor_type for value in (*known.value_info, *known.output)}
    shapes = {name: [None] * len(t.shape.dim) if t.HasField("shape") else None for name, t in types.items()}
    return [
        helper.make_tensor_value_info(names.get(name, name), types[name].elem_type, shapes[name])
        for name in outputs
    ]


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """In a node and its bodies, unless they use such a name for something of their own."""
    for field in (node.input, node.output):
        field[:] = [names.get(name, name) for name in field]
    for attribute in node.attribute:
        graph = attribute.g
        own = {name for inner in graph.node for name in inner.output} | {v.name for v in graph.input}
        for inner in graph.node:
            _rename(inner, {name: new for name, new in names.items() if name not in own})


def _constant(proto: onnx.ModelProto, value: np.ndarray | np.generic) -> str:
    name = f"number{len(proto.graph.initializer)}"
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def _last_of(
    proto: onnx.ModelProto, stacks: Sequence[str], outputs: Sequence[str]
) -> Iterator[onnx.NodeProto]:
    last = _constant(proto, np.array(-1))
    for stack, name in zip(stacks, outputs, strict=True):
        yield helper.make_node("Gather", [stack, last], [name], axis=0)


def _replace(proto: onnx.ModelProto, begin: int, end: int, *nodes: onnx.NodeProto) -> None:
    rest = [*proto.graph.node[:begin], *nodes, *proto.graph.node[end:]]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in rest]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
