"""From a factorization to ONNX nodes, in the form onnxruntime runs fastest.

The rules, each measured on onnxruntime's CPU kernels: chains run as parallel branches joined by
*binary* Adds, each of which fuses into the convolution before it; the bias sits on the very last
convolution; the last node writes the value of the Conv it replaces, under the same name, so that a
residual Add or an activation behind it still fuses. A 2-D Conv becomes Conv and Add only; what
others become, their kind says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sepfactor.factor import Factorization, Stage
from sepfactor.factor.stage import Ints
from sepfactor.graph.kind import CONV_2D, Kind
from sepfactor.graph.prepare import infer_shapes
from sepfactor.graph.writer import Writer
from sepfactor.layout import BLOCK, blockable


@dataclass(frozen=True, eq=False)
class Lowered:
    """Nodes in execution order, and the initialisers they read."""

    nodes: tuple[ir.Node, ...]
    initializers: tuple[ir.Value, ...]


def lower(
    factorization: Factorization,
    x: ir.Value,
    output: ir.Value,
    *,
    kind: Kind = CONV_2D,
    prefix: str,
    dtype: np.dtype[np.floating],
    metadata: Mapping[str, str] | None = None,
    opset: int = 17,
) -> Lowered:
    """Nodes that compute ``factorization`` of ``x`` into ``output``.

    Args:
        factorization: what to compute.
        x: the input value.
        output: a fresh value, written by the last node.
        kind: of the node whose place they take.
        prefix: start of the names of all new nodes, values and initialisers.
        dtype: of the weights to write.
        metadata: ``metadata_props`` of every new node.
        opset: of the model.
    """
    writer = Writer(prefix, dtype, metadata, opset)
    kind.write(writer, factorization, x, output)
    return Lowered(tuple(writer.nodes), tuple(writer.initializers))


def bench_model(
    factorization: Factorization,
    size: Ints,
    dtype: np.dtype[np.floating],
    batch: int = 1,
    kind: Kind = CONV_2D,
) -> ir.Model:
    """A model of one input ``x`` that runs ``factorization`` as it would run in a network.

    A lone convolution would be charged two layout changes; so it stands between two 1×1
    convolutions of one block of channels, and a Relu follows it, wherever its own channels would
    let a neighbour work in the blocked layout. A dense original is a factorization of one stage.
    """
    number = ir.DataType.from_numpy(dtype)
    ins, outs = factorization.in_channels, factorization.out_channels
    blocked_in, blocked_out = (kind.is_blocked and blockable(channels) for channels in (ins, outs))
    x = ir.val("x", number, kind.shape(batch, BLOCK if blocked_in else ins, size))
    end = kind.shape(batch, BLOCK if blocked_out else outs, factorization.output_size(size))
    y = ir.val("y", number, end)
    around = Writer("around", dtype)
    before = around.conv(_mix(BLOCK, ins), x, "in", None, None) if blocked_in else x
    middle = ir.val("site/end")
    lowered = lower(factorization, before, middle, kind=kind, prefix="site", dtype=dtype)
    around.nodes += lowered.nodes
    activated = ir.val("site/relu") if blocked_out else y
    around.emit("Relu", [middle], "relu", output=activated)
    if blocked_out:
        around.conv(_mix(outs, BLOCK), activated, "out", None, y)
    graph = ir.Graph(
        [x],
        [y],
        nodes=around.nodes,
        initializers=[*around.initializers, *lowered.initializers],
        opset_imports={"": 17},
        name="micro-benchmark",
    )
    return _with_shapes(graph)


def neighbour_model(channels: int, size: Ints, dtype: np.dtype[np.floating], batch: int = 1) -> ir.Model:
    """What stands around a site, alone: from one block of channels to ``channels`` and back, 1×1.

    Half of its time is that of the neighbour of a :func:`bench_model` on a side with so many channels
    and such a map.
    """
    number = ir.DataType.from_numpy(dtype)
    x, y = ir.val("x", number, [batch, BLOCK, *size]), ir.val("y", number, [batch, BLOCK, *size])
    around = Writer("around", dtype)
    middle = around.conv(_mix(BLOCK, channels), x, "in", None, None)
    around.conv(_mix(channels, BLOCK), around.emit("Relu", [middle], "relu"), "out", None, y)
    graph = ir.Graph(
        [x],
        [y],
        nodes=around.nodes,
        initializers=around.initializers,
        opset_imports={"": 17},
        name="neighbours",
    )
    return _with_shapes(graph)


def _with_shapes(graph: ir.Graph) -> ir.Model:
    model = ir.Model(graph, ir_version=8)
    infer_shapes(model)
    return model


def _mix(ins: int, outs: int) -> Stage:
    return Stage.pointwise(np.full((outs, ins), 1.0 / ins))


def border_model(
    channels: int = 64, side: int = 56, *, summed: bool = False
) -> tuple[ir.Model, str, tuple[int, ...]]:
    """Three 1×1 convolutions in a row, to see what it costs if the middle one computes in another form.

    Args:
        channels: of all maps.
        side: of all maps.
        summed: whether what the middle one reads is added to what it writes, as around a residual block.

    Returns:
        The model, the name of what leaves the middle one, and the shape of all maps.
    """
    shape = (1, channels, side, side)
    x, y = (ir.val(name, ir.DataType.FLOAT, shape) for name in "xy")
    writer, value, names = Writer("border", np.dtype(np.float32)), x, list[str]()
    for label in ("first", "middle", "last"):
        read, value = value, writer.conv(_mix(channels, channels), value, label, None, None)
        if summed and label == "middle":
            names.append(str(value.name))
            value = writer.add(value, read, "sum")
        value = writer.emit("Relu", [value], f"{label}/relu", output=y if label == "last" else None)
        names.append(str(value.name))
    imports = {"": 17}
    graph = ir.Graph(
        [x], [y], nodes=writer.nodes, initializers=writer.initializers, opset_imports=imports, name="border"
    )
    return _with_shapes(graph), names[1], shape
