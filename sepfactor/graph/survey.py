"""Find the convolutions of a prepared graph, and say of each why it may not be replaced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sepfactor.factor import Stage
from sepfactor.factor.stage import Array, Ints, Pads

_FLOAT32: np.dtype[np.floating] = np.dtype(np.float32)
_FLOATS: dict[ir.DataType, np.dtype[np.floating]] = {
    ir.DataType.FLOAT: np.dtype(np.float32),
    ir.DataType.FLOAT16: np.dtype(np.float16),
    ir.DataType.DOUBLE: np.dtype(np.float64),
}


@dataclass(frozen=True, eq=False)
class Site:
    """A Conv of the prepared graph.

    Attributes:
        name: the node's name, or that of its output where it has none.
        input: name of the value it reads. output: name of the value it writes; unique in the graph.
        weight_shape: ``(out, in/group, *kernel)``; empty if unknown.
        stage: the convolution as numbers, None where ``skipped``.
        bias: ``(out,)`` or None.
        dtype: of the weights in the model.
        skipped: why it cannot be replaced, in words.
        broken: it is skipped because its weights are not finite.
    """

    name: str
    input: str
    output: str
    weight_shape: Ints
    stage: Stage | None = None
    bias: Array | None = None
    dtype: np.dtype[np.floating] = _FLOAT32
    skipped: str | None = None
    broken: bool = False


class _Skip(Exception):
    """Raised inside the survey with the reason."""


class _Broken(_Skip):
    """The same, for weights no network can work with."""


def survey(model: ir.Model) -> list[Site]:
    """Every Conv of ``model`` in topological order, subgraphs and functions included."""
    graphs = [*model.graphs()]
    sites = [_site(node, node.graph is model.graph) for graph in graphs for node in _convs(graph)]
    for function in model.functions.values():
        sites += [_skipped(node, "inside a model-local function") for node in _convs(function)]
    return sites


def _convs(nodes: ir.Graph | ir.Function) -> Iterator[ir.Node]:
    return (node for node in nodes if node.op_type == "Conv" and node.domain in ("", "ai.onnx"))


def _site(node: ir.Node, top_level: bool) -> Site:
    try:
        if not top_level:
            raise _Skip("inside the body of an If, Loop or Scan")
        weight, dtype = _constant(node, 1, "weight")
        stage = Stage(weight, *_geometry(node, weight))
        bias = _constant(node, 2, "bias")[0] if len(node.inputs) > 2 and node.inputs[2] else None
        return Site(*_identity(node), weight.shape, stage, bias, dtype)
    except _Skip as reason:
        return _skipped(node, str(reason), broken=isinstance(reason, _Broken))


def _skipped(node: ir.Node, reason: str, broken: bool = False) -> Site:
    return Site(*_identity(node), _weight_shape(node), skipped=reason, broken=broken)


def _identity(node: ir.Node) -> tuple[str, str, str]:
    output = node.outputs[0].name or ""
    source = node.inputs[0]
    return node.name or output, (source.name if source is not None else "") or "", output


def _weight_shape(node: ir.Node) -> Ints:
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    shape = weight.shape if weight is not None else None
    if shape is None or not all(isinstance(d, int) for d in shape):
        return ()
    return tuple(int(d) for d in shape)  # type: ignore[arg-type]


def _constant(node: ir.Node, index: int, what: str) -> tuple[Array, np.dtype[np.floating]]:
    value = node.inputs[index] if len(node.inputs) > index else None
    tensor = value.const_value if value is not None else None
    if value is None or tensor is None or value.is_graph_input():
        made = value.producer() if value is not None else None
        origin = f"computed by {made.op_type}" if made is not None else "fed at run time"
        raise _Skip(f"its {what} is not a constant: it is {origin}")
    if tensor.dtype not in _FLOATS:
        raise _Skip(f"its {what} is of type {tensor.dtype.name.lower()}")
    array = np.asarray(tensor.numpy(), dtype=np.float64)
    if not np.isfinite(array).all():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise _Broken(f"its {what} holds {bad} NaN or infinite value{'s' * (bad > 1)}")
    return array, _FLOATS[tensor.dtype]


def _geometry(node: ir.Node, weight: Array) -> tuple[Ints, Pads, Ints, int]:
    """``strides, pads, dilations, group`` of a 2-D Conv."""
    axes = weight.ndim - 2
    if axes != 2:
        raise _Skip(f"a {axes}-D convolution: only 2-D ones are factored")
    if weight.size == 0:
        raise _Skip("its weight is empty")
    attributes = node.attributes
    strides = _ints(attributes.get_ints("strides", (1,) * axes))
    dilations = _ints(attributes.get_ints("dilations", (1,) * axes))
    group = attributes.get_int("group", 1)
    if weight.shape[0] % group:
        raise _Skip(f"its {weight.shape[0]} outputs do not divide into {group} groups")
    pads = _pads(node, weight.shape[2:], strides, dilations)
    if any(p < 0 for pair in pads for p in pair):
        raise _Skip("it has negative pads")
    return strides, pads, dilations, group


def _pads(node: ir.Node, kernel: Ints, strides: Ints, dilations: Ints) -> Pads:
    """Explicit ``(begin, end)`` per axis; ``SAME`` at stride 1 does not depend on the map's size."""
    axes = len(kernel)
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    if auto == "NOTSET":
        flat = _ints(node.attributes.get_ints("pads", (0,) * (2 * axes)))
        return tuple(zip(flat[:axes], flat[axes:], strict=True))
    if auto == "VALID":
        return ((0, 0),) * axes
    if any(s > 1 for s in strides):
        raise _Skip(
            f"auto_pad={auto} at stride {'×'.join(map(str, strides))} pads by the size of the map, "
            "which the model leaves open"
        )
    totals = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    small_first = tuple((t // 2, t - t // 2) for t in totals)
    return small_first if auto == "SAME_UPPER" else tuple((e, b) for b, e in small_first)


def _ints(values: Sequence[int]) -> Ints:
    return tuple(int(v) for v in values)
