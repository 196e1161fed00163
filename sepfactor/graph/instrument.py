"""Views of a model made for looking inside: extra outputs, and nodes that can be found again in a profile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import onnx
import onnx_ir as ir

from sepfactor.graph.bodies import Probe, bodies, expose, read_outside
from sepfactor.graph.external import in_one_folder
from sepfactor.serialized import Serialized

_PASSED_THROUGH = {
    "BatchNormalization",
    "Relu",
    "LeakyRelu",
    "Clip",
    "Sigmoid",
    "Tanh",
    "HardSigmoid",
    "Add",
    "Mul",
    "Sum",
}
"""What onnxruntime may fuse into a convolution: an event named after its output belongs to the Conv above."""

_BLOCKED_SUFFIX = "_nchwc"
_BLOCKED_DOMAIN = "com.microsoft.nchwc"
_TOKEN = re.compile(r"_token_\d+$")
"""What onnxruntime puts behind the name of a node that it made of several."""

_CAST_PREFIX = "InsertedPrecisionFreeCast_"
"""What onnxruntime puts before a value it computes in float32 inside a float16 network."""


_PRODUCTS = ("Gemm", "MatMul", "ConvTranspose")
"""Operators whose events are called after themselves, whatever they took in."""

_FUSED_PREFIX, _FUSED_SUFFIX = "fused ", "/MatMulAddFusion"
"""What onnxruntime puts around the name of one that took in an activation, or a bias."""


def with_outputs(model: ir.Model, names: Iterable[str], probes: Sequence[Probe] = ()) -> Serialized:
    """The serialised model with further outputs: values of these names, and what is led out of bodies."""
    view = model.clone()
    values = ir.convenience.create_value_mapping(view.graph)
    present = {value.name for value in view.graph.outputs}
    for name in names:
        if name not in present:
            view.graph.outputs.append(values[name])
            present.add(name)
    view, folder = in_one_folder(view)
    proto = ir.to_proto(view)
    expose(proto, probes)
    return Serialized(proto.SerializeToString(), folder)


def with_shapes(model: ir.Model, names: Iterable[str]) -> Serialized:
    """The serialised model with the shapes of these values as its outputs, in their order."""
    view = model.clone()
    values = ir.convenience.create_value_mapping(view.graph)
    view.graph.outputs.clear()
    for number, name in enumerate(names):
        node, maker = ir.node("Shape", [values[name]]), values[name].producer()
        node.outputs[0].name = f"sepfactor/shape/{number}"
        if maker is None:
            view.graph.insert_before(view.graph[0], node)
        else:  # right behind it, so that nothing is held for the shape alone
            view.graph.insert_after(maker, node)
        view.graph.outputs.append(node.outputs[0])
    return serialized(view)


def with_node_names(model: ir.Model) -> Serialized:
    """The serialised model with every node named after its first output, as a profile needs it."""
    view = model.clone()
    for node in view.graph.all_nodes():
        node.name = node.outputs[0].name
    return serialized(view)


def serialized(model: ir.Model) -> Serialized:
    """The bytes of a model; large tensors kept in other files stay there."""
    model, folder = in_one_folder(model)
    return Serialized(ir.to_proto(model).SerializeToString(), folder)


def convolution_times(model: ir.Model, times: Mapping[str, float]) -> dict[str, float]:
    """Share out the times of a profile to the Conv nodes of the profiled model.

    Args:
        model: the model that was profiled (with :func:`with_node_names`).
        times: event name → milliseconds, of convolution events only. A fused convolution's event is
            called after the last value it computes, so the way leads back from there.

    Returns:
        Output name of each Conv found → milliseconds.
    """
    producers = {v.name: node for node in model.graph.all_nodes() for v in node.outputs}
    found: dict[str, float] = {}
    exact_first = sorted(times.items(), key=lambda item: not _is_conv(producers.get(value_of(item[0]))))
    for event, milliseconds in exact_first:
        conv = _nearest(producers.get(value_of(event)), found)
        if conv is not None:
            found[conv] = milliseconds
    return found


def product_times(model: ir.Model, times: Mapping[str, float]) -> dict[str, float]:
    """The same for Gemm, MatMul and ConvTranspose: output name of each found → milliseconds."""
    known = {node.outputs[0].name for node in model.graph.all_nodes() if node.op_type in _PRODUCTS}
    named = {e.removeprefix(_FUSED_PREFIX).removesuffix(_FUSED_SUFFIX): ms for e, ms in times.items()}
    return {name: ms for name, ms in named.items() if name in known}


def value_of(event: str) -> str:
    """The value that an event of a profile is called after."""
    return _TOKEN.sub("", event).removesuffix(_BLOCKED_SUFFIX).removeprefix(_CAST_PREFIX)


def _is_conv(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "Conv"


def _nearest(
    node: ir.Node | None, claimed: Mapping[str, float], kinds: Sequence[str] = ("Conv",)
) -> str | None:
    """Walk back from ``node`` to the first of some operators that no other event has claimed."""
    front, seen = [node], set()
    while front:
        node = front.pop(0)
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.op_type in kinds:
            name = node.outputs[0].name
            if name is not None and name not in claimed:
                return name
        elif node.op_type in _PASSED_THROUGH:
            front += [value.producer() for value in node.inputs if value is not None]
    return None


def outside_fast_form(optimised: Path) -> int:
    """How many convolutions of a graph, as onnxruntime optimised it, are neither blocked nor in integers."""
    graph = onnx.load(optimised, load_external_data=False).graph
    return sum(
        node.op_type in ("Conv", "FusedConv") and node.domain != _BLOCKED_DOMAIN for node in graph.node
    )


def in_blocked_layout(optimised: Path) -> set[str]:
    """Names of the nodes that work on blocked maps, of a graph as onnxruntime optimised and wrote it.

    Those that change the layout are none of them.
    """
    names, blocked = set[str](), set[str]()
    for node in onnx.load(optimised, load_external_data=False).graph.node:
        is_own = node.domain == _BLOCKED_DOMAIN
        if is_own and node.op_type == "ReorderInput":
            blocked.update(node.output)
        elif node.op_type != "ReorderOutput" and (is_own or not blocked.isdisjoint(node.input)):
            names.add(node.name)
            blocked.update(node.output)
    return names


def read_by(model: ir.Model, outputs: Iterable[str]) -> set[str]:
    """Names of the values that the nodes with these outputs read, directly or through others.

    The way leads into bodies and out of them, but not from one turn of a Loop back to the turn before.
    """
    holders = {body: node for node in model.graph.all_nodes() for body in bodies(node)}
    seen: set[ir.Value] = set()
    wanted = set(outputs)
    nodes = [node for node in model.graph.all_nodes() if node.outputs and node.outputs[0].name in wanted]
    front = [v for node in nodes for v in node.inputs[:1] if v is not None]
    while front:
        value = front.pop()
        if value in seen:
            continue
        seen.add(value)
        made = value.producer()
        if made is not None:
            front += [*read_outside(made), *(v for body in bodies(made) for v in body.outputs)]
        elif value.is_graph_input() and value.graph in holders:
            front += [v for v in holders[value.graph].inputs if v is not None]
    return {value.name for value in seen if value.name}


def upstream_convs(model: ir.Model, names: Iterable[str]) -> list[str | None]:
    """The output names of the Conv or product that each value comes from, through what folding removes."""
    producers = {v.name: node for node in model.graph.all_nodes() for v in node.outputs}
    return [_nearest(producers.get(name), {}, ("Conv", *_PRODUCTS)) for name in names]
