"""Nodes and initialisers under names of their own, and the shape every factorization takes as nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from sepfactor.factor import Factorization, Stage
from sepfactor.factor.stage import Array

WriteStage = Callable[[Stage, ir.Value, str, Array | None, ir.Value | None], ir.Value]
"""Writes a stage of a value under a name, with a bias and into an output where there is one."""


def taken_names(graph: ir.Graph) -> set[str]:
    """Names of all values and nodes of a graph."""
    taken = set(ir.convenience.create_value_mapping(graph))
    return taken | {node.name for node in graph.all_nodes() if node.name}


def free_prefix(prefix: str, taken: set[str]) -> str:
    """``prefix``, with a number behind it if anything taken is called like that; taken from then on."""
    found, number = prefix, 1
    while any(name.startswith(found + "/") for name in taken):
        number += 1
        found = f"{prefix}{number}"
    taken.add(found + "/")
    return found


class Writer:
    """Collects nodes and initialisers under names that start with ``prefix``.

    Args:
        prefix: start of the names of all new nodes, values and initialisers.
        dtype: of the weights to write.
        metadata: ``metadata_props`` of every new node.
        opset: of the model.
    """

    def __init__(
        self,
        prefix: str,
        dtype: np.dtype[np.floating],
        metadata: Mapping[str, str] | None = None,
        opset: int = 17,
    ) -> None:
        self.prefix, self.dtype, self.metadata, self.opset = prefix, dtype, metadata or {}, opset
        self.nodes: list[ir.Node] = []
        self.initializers: list[ir.Value] = []

    def weight(self, array: Array, name: str) -> ir.Value:
        """An initialiser of the type of the weights."""
        return self.constant(np.ascontiguousarray(array, dtype=self.dtype), name)

    def constant(self, array: np.ndarray, name: str) -> ir.Value:
        """An initialiser."""
        name = f"{self.prefix}/{name}"
        self.initializers.append(ir.val(name, const_value=ir.tensor(array, name=name)))
        return self.initializers[-1]

    def emit(
        self,
        op_type: str,
        inputs: Sequence[ir.Value],
        name: str,
        attributes: Mapping[str, int | Sequence[int]] | None = None,
        output: ir.Value | None = None,
    ) -> ir.Value:
        """A node; returns what it writes."""
        node = ir.node(
            op_type,
            inputs,
            dict(attributes or {}),
            name=f"{self.prefix}/{name}",
            outputs=[output or ir.val(f"{self.prefix}/{name}")],
            metadata_props=dict(self.metadata),
        )
        self.nodes.append(node)
        return node.outputs[0]

    def add(self, one: ir.Value, other: ir.Value, name: str, output: ir.Value | None = None) -> ir.Value:
        """A sum of two; onnxruntime has an Add since opset 7 only, before that a Sum does."""
        return self.emit("Add" if self.opset >= 7 else "Sum", [one, other], name, output=output)

    def conv(
        self, stage: Stage, x: ir.Value, name: str, bias: Array | None, output: ir.Value | None
    ) -> ir.Value:
        """``stage`` as a Conv or ConvTranspose of as many axes as it has."""
        weight = turned(stage.weight, stage.group) if stage.is_transposed else stage.weight
        inputs = [x, self.weight(weight, f"{name}.weight")]
        if bias is not None:
            inputs.append(self.weight(bias, f"{name}.bias"))
        if stage.is_transposed:
            return self.emit("ConvTranspose", inputs, name, transposed_attributes(stage), output)
        return self.emit("Conv", inputs, name, conv_attributes(stage), output)

    def chains(
        self, factorization: Factorization, x: ir.Value, output: ir.Value | None, write: WriteStage
    ) -> ir.Value:
        """Every stage by ``write``: chains side by side, joined two by two, the bias on the last stage."""
        total: ir.Value | None = None
        last_chain = len(factorization.chains) - 1
        for c, chain in enumerate(factorization.chains):
            branch = x
            for s, stage in enumerate(chain.stages):
                is_last = c == last_chain and s == len(chain.stages) - 1
                label = f"{c}.{s}" if last_chain else str(s)
                bias = factorization.bias if is_last else None
                ends_here = is_last and total is None
                branch = write(stage, branch, label, bias, output if ends_here else None)
            if total is not None:
                branch = self.add(total, branch, f"sum{c}", output if c == last_chain else None)
            total = branch
        assert total is not None  # there is a chain
        return total


def conv_attributes(stage: Stage) -> dict[str, int | Sequence[int]]:
    """The attributes of the Conv that computes ``stage``."""
    begins, ends = zip(*stage.pads, strict=True)
    return {
        "kernel_shape": stage.kernel_shape,
        "strides": stage.strides,
        "pads": (*begins, *ends),
        "dilations": stage.dilations,
        "group": stage.group,
    }


def transposed_attributes(stage: Stage) -> dict[str, int | Sequence[int]]:
    """The attributes of the ConvTranspose that computes ``stage``: what it pads, the other one crops."""
    reach = [(k - 1) * d for k, d in zip(stage.kernel_shape, stage.dilations, strict=True)]
    begins, ends = (
        [r - p for r, p in zip(reach, side, strict=True)] for side in zip(*stage.pads, strict=True)
    )
    return {
        "kernel_shape": stage.kernel_shape,
        "strides": stage.upsampling,
        "pads": (*begins, *(max(end, 0) for end in ends)),
        "output_padding": [max(-end, 0) for end in ends],
        "dilations": stage.dilations,
        "group": stage.group,
    }


def turned(weight: Array, group: int) -> Array:
    """The weight of a Conv as that of a ConvTranspose, ``(in, out/group, *kernel)``, or the other way round.

    Channels change places within their group, and the kernel is turned over.
    """
    blocks = weight.reshape(group, -1, *weight.shape[1:]).swapaxes(1, 2)
    flipped = np.flip(blocks, axis=tuple(range(3, blocks.ndim)))
    return flipped.reshape(-1, *flipped.shape[2:])
