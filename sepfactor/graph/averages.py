"""Layers whose answers are only looked at as averages, and moving the average before them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sepfactor.factor.average_first import NAME, weights
from sepfactor.factor.stage import Ints
from sepfactor.graph.consumers import ACTIVATIONS
from sepfactor.graph.kind import CONV_2D
from sepfactor.graph.load import quiet
from sepfactor.graph.prepare import infer_shapes
from sepfactor.graph.survey import Site
from sepfactor.graph.words import Words
from sepfactor.graph.writer import Writer, free_prefix, taken_names

_STRAIGHT = {"Identity", "Dropout", "Neg"}
"""Operators that work pixel by pixel, and answer to an average with the average of what they answer."""

_OF_TWO = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Sum"}
"""Operators that work pixel by pixel on two values, or on one and a constant."""

_FLOATS = (np.dtype(np.float32), np.dtype(np.float16))
"""What onnxruntime averages on a CPU."""


@dataclass(frozen=True, eq=False)
class Averaged:
    """How the answer of a 1×1 convolution is averaged.

    Attributes:
        answer: name of the value that holds the averages.
        size: of the map, as the model declares it; empty where it leaves that open.
        block: of the averages; empty for the whole map.
        linear: whether nothing bends the answer in between, so that the order does not matter.
    """

    answer: str
    size: Ints
    block: Ints
    linear: bool


@dataclass(frozen=True, eq=False)
class _Region:
    """What is between a convolution and its average, both included.

    Attributes:
        values: its answer, and all that is computed of it on the way. last: of them the one averaged.
    """

    conv: ir.Node
    average: ir.Node
    last: ir.Value
    values: tuple[ir.Value, ...]
    averaged: Averaged


def averaged_sites(model: ir.Model, sites: Collection[Site]) -> dict[str, Averaged]:
    """Sites before which an average may come that now comes after, by the name of their output."""
    nodes = {node.outputs[0].name: node for node in model.graph if node.outputs}
    found = {}
    for site in sites:
        region = _region(nodes[site.output]) if _is_pointwise(site) else None
        if region is not None:
            found[site.output] = region.averaged
    return found


def may_average(averaged: Averaged, block: Ints) -> bool:
    """Whether answers averaged like that can be averages over these blocks, () being the whole map."""
    if averaged.block or not block:
        return averaged.block == block
    return len(block) == len(averaged.size) and all(b <= n for b, n in zip(block, averaged.size, strict=True))


def _is_pointwise(site: Site) -> bool:
    stage = site.stage
    return (
        stage is not None
        and not site.nested
        and site.kind == CONV_2D
        and site.dtype in _FLOATS
        and stage.is_pointwise
        and not stage.is_transposed
        and set(stage.strides) == {1}
        and not any(p for pair in stage.pads for p in pair)
    )


@dataclass(frozen=True, eq=False)
class Moved:
    """A graph with averages moved before some of its layers.

    Attributes:
        model: the graph.
        inputs: output of a site that works on averages → name of the value it reads now.
        site_of: output of a new node → output of the site it belongs to.
    """

    model: ir.Model
    inputs: Mapping[str, str]
    site_of: Mapping[str, str]


def move_averages(prepared: ir.Model, blocks: Mapping[str, Ints]) -> Moved:
    """A copy of ``prepared`` in which some sites work on averages of what they read now.

    Args:
        prepared: a prepared graph.
        blocks: output of a site, one of :func:`averaged_sites` → pixels of a block along each axis; none
            for one block that is the whole map.
    """
    model, words = prepared.clone(), Words.of(prepared)
    nodes = {node.outputs[0].name: node for node in model.graph if node.outputs}
    inputs: dict[str, str] = {}
    site_of: dict[str, str] = {}
    for output, block in blocks.items():
        region = _region(nodes[output])
        assert region is not None  # others have no candidate that asks for it
        node = region.conv
        prefix = free_prefix(f"{node.name or output}/averaged", taken_names(model.graph))
        writer = Writer(prefix, np.dtype(np.float32), {"sepfactor.scheme": NAME}, _opset(model))
        averaged = _average(node.inputs[0], region.averaged, block, writer)
        model.graph.insert_before(node, [*writer.nodes])
        node.replace_input_with(0, averaged)
        inputs[output] = str(averaged.name)
        _weigh(region, block, writer)
        for value in region.values:
            value.shape = None  # to be inferred anew
        site_of |= {str(made.outputs[0].name): output for made in writer.nodes}
    with quiet():
        infer_shapes(model)
    words.put_back(model)
    return Moved(model, inputs, site_of)


def _average(source: ir.Value | None, averaged: Averaged, block: Ints, writer: Writer) -> ir.Value:
    """What the layer is to read instead of ``source``."""
    assert source is not None  # what has no input was never a site
    if not block:
        return writer.emit("GlobalAveragePool", [source], "average")
    size = averaged.size if not averaged.block else block  # else no block is ragged
    ends = [-n % b for n, b in zip(size, block, strict=True)]
    shape = {"kernel_shape": block, "strides": block, "pads": [*(0 for _ in ends), *ends]}
    return writer.emit("AveragePool", [source], "average", shape)


def _weigh(region: _Region, block: Ints, writer: Writer) -> None:
    """Let blocks count by their pixels where the layer is averaged further, unless all count alike."""
    graph, average = region.average.graph, region.average
    assert isinstance(graph, ir.Graph)  # sites are nodes of the main graph
    if region.averaged.block:  # these very blocks: nothing is left to average
        copy = ir.node("Identity", [region.last], name=f"{writer.prefix}/same")
        old, new = average.outputs[0], copy.outputs[0]
        ir.convenience.replace_nodes_and_values(graph, average, [average], [copy], [old], [new])
        return
    counts = weights(region.averaged.size, block) if block else None
    if counts is None:
        return
    known = [value.dtype for value in (region.last, *region.conv.inputs) if value is not None]
    dtype = next((kind for kind in known if kind is not None), ir.DataType.FLOAT).numpy()
    by = writer.constant(counts.astype(dtype), "weights")
    graph.register_initializer(by)
    weighed = writer.emit("Mul", [region.last, by], "weighed")
    average.replace_input_with(0, weighed)
    graph.insert_before(average, writer.nodes[-1])


def _opset(model: ir.Model) -> int:
    return model.opset_imports.get("", 1)


def _region(conv: ir.Node) -> _Region | None:
    """From a convolution to the one average of its answer; None if anything else looks at it."""
    values = [conv.outputs[0]]
    inside: set[ir.Node] = {conv}
    ends: list[tuple[ir.Node, ir.Value]] = []
    linear = True
    for value in values:  # grows on the way
        if value.is_graph_output():
            return None
        for node, _ in value.uses():
            if node.graph is not conv.graph:  # in the body of an If
                return None
            if node in inside or any(node is end for end, _ in ends):
                continue
            if (straight := _pixelwise(node, values)) is not None:
                inside.add(node)
                values += [v for v in node.outputs if v.uses() or v.is_graph_output()]
                linear &= straight
            else:
                ends.append((node, value))
    if len(ends) != 1 or not _is_closed(inside, values, conv):
        return None
    ((average, last),) = ends
    found = _averages(average, last, linear)
    if found is None or len([*last.uses()]) != 1:
        return None
    return _Region(conv, average, last, tuple(values), found)


def _pixelwise(node: ir.Node, values: Collection[ir.Value]) -> bool | None:
    """Whether a node that works pixel by pixel is linear; None if it does not, or not for sure."""
    if node.domain not in ("", "ai.onnx"):
        return None
    others = [value for value in node.inputs[1:] if value is not None]
    if node.op_type in ACTIVATIONS | _STRAIGHT:
        fits = node.inputs[0] in values and _is_inference(node) and all(_is_even(value) for value in others)
        return node.op_type in _STRAIGHT if fits else None
    if node.op_type not in _OF_TWO or len(node.inputs) != 2:
        return None
    even = [value is not None and _is_even(value) for value in node.inputs]
    return node.op_type in ("Add", "Sub", "Mul", "Div") and (even[1] or (even[0] and node.op_type != "Div"))


def _is_inference(node: ir.Node) -> bool:
    return node.op_type != "Dropout" or len(node.inputs) < 3  # a third one says whether it is training


def _is_even(value: ir.Value) -> bool:
    """Whether it is a constant that is the same for all pixels."""
    shape = value.const_value.shape if value.const_value is not None else None
    if shape is None or value.is_graph_input():
        return False
    sizes = [int(n) for n in shape]  # type: ignore[arg-type]
    return len(sizes) <= 4 and all(n == 1 for n in sizes[-2:])


def _is_closed(inside: Collection[ir.Node], values: Collection[ir.Value], conv: ir.Node) -> bool:
    """Whether all that its nodes read is made in it, or constant."""
    return all(
        value is None or value in values or _is_even(value)
        for node in inside
        if node is not conv
        for value in node.inputs
    )


def _averages(node: ir.Node, value: ir.Value, linear: bool) -> Averaged | None:
    """How a node averages ``value``, if it does."""
    if node.domain not in ("", "ai.onnx") or node.inputs[0] is not value:
        return None
    shape = None if value.shape is None else [*value.shape]
    if shape is None or len(shape) != 4:
        return None
    size = tuple(n for n in shape[2:] if isinstance(n, int))
    size, answer = size if len(size) == 2 else (), str(node.outputs[0].name)
    if node.op_type == "GlobalAveragePool" or (node.op_type == "ReduceMean" and _over_the_map(node)):
        return Averaged(answer, size, (), linear)
    if node.op_type == "AveragePool" and (block := _plain_blocks(node)) is not None:
        return Averaged(answer, size, block, linear)
    return None


def _over_the_map(node: ir.Node) -> bool:
    axes = node.attributes.get_ints("axes", ())
    if not axes and len(node.inputs) > 1 and node.inputs[1] is not None:
        constant = ir.convenience.get_const_tensor(node.inputs[1])
        axes = [] if constant is None else [int(a) for a in constant.numpy().reshape(-1)]
    return sorted(a % 4 for a in axes) == [2, 3]


def _plain_blocks(node: ir.Node) -> Ints | None:
    """The blocks of an AveragePool that lie side by side within the map; None for any other."""
    kernel = tuple(int(k) for k in node.attributes.get_ints("kernel_shape", ()))
    plain = (
        tuple(node.attributes.get_ints("strides", (1, 1))) == kernel
        and not any(node.attributes.get_ints("pads", ()))
        and node.attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        and not node.attributes.get_int("ceil_mode", 0)
        and all(d == 1 for d in node.attributes.get_ints("dilations", (1, 1)))
    )
    return kernel if plain and len(kernel) == 2 else None
