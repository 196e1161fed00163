"""Fill channels up to what the fast integer kernels of onnxruntime take.

They want four channels, or a multiple, on the side that is read, and a multiple of four, sixteen at least,
on the side that is written (``ConvSym`` in MLAS). Channels of zeros are read by weights of zeros, and what
zeros write is sliced off, or read by weights of zeros in turn: exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from sepfactor.factor.rounding import Rounded
from sepfactor.graph.int8.units import Grid, Unit

_READ, _LEAST_WRITTEN = 4, 16

PREFIX = "sepfactor/filled"
"""Of the names of all that filling up adds to a graph, where nothing else in it is called like that."""


def added_around(name: str, prefix: str = PREFIX) -> tuple[str, str]:
    """Names of the map that a unit reads filled up, and of what is left of the one that it writes so."""
    return f"{prefix}/{name}/read", f"{prefix}/{name}/written"


class Filler:
    """Fills up channels of units, in place; grids and weights follow.

    Args:
        graph: that they are of.
        prefix: of the names of all that is new.
        grids: of activations, by name.
        weights: of units, by name.
    """

    def __init__(
        self, graph: ir.Graph, prefix: str, grids: Mapping[str, Grid], weights: Mapping[str, Rounded]
    ) -> None:
        self._graph, self._prefix = graph, prefix
        self.grids, self.weights = dict(grids), dict(weights)
        self._full: dict[ir.Value, tuple[ir.Value, int]] = {}
        self._pads = set[ir.Node]()

    def made(self, node: ir.Node) -> bool:
        """Whether a node was put before a unit, to fill up what it reads."""
        return node in self._pads

    def fill(self, units: Iterable[Unit]) -> None:
        """Fill up all that would be slow otherwise."""
        for unit in units:
            if unit.node.op_type != "Conv" or unit.node.attributes.get_int("group", 1) > 1:
                continue
            written, read = unit.weight.shape[:2]
            full = self._full.get(unit.node.inputs[0])  # type: ignore[arg-type]  # of every Conv there is one
            more_read = full[1] - read if full else -read % _READ
            more_written = max(_LEAST_WRITTEN, written + -written % _READ) - written
            if more_read or more_written:
                self._weights(unit, more_written, more_read)
            if full:
                unit.node.replace_input_with(0, full[0])
            elif more_read:
                self._pad(unit, more_read)
            if more_written:
                self._slice(unit, written, written + more_written)

    def _weights(self, unit: Unit, written: int, read: int) -> None:
        found = self.weights[unit.name]
        sides = [(0, written), (0, read), *([(0, 0)] * (found.codes.ndim - 2))]
        self.weights[unit.name] = replace(
            found,
            codes=np.pad(found.codes, sides),
            scales=np.pad(found.scales, (0, written), constant_values=1.0),
            shift=np.pad(found.shift, (0, written)),
        )
        name = f"{self._prefix}/{unit.name}"
        unit.node.replace_input_with(1, self._constant(f"{name}/filled", np.pad(unit.weight, sides)))
        bias = unit.node.inputs[2] if len(unit.node.inputs) > 2 else None
        if bias is not None and bias.const_value is not None:
            filled = np.pad(bias.const_value.numpy(), (0, written))
            unit.node.replace_input_with(2, self._constant(f"{name}/filled.bias", filled))

    def _pad(self, unit: Unit, more: int) -> None:
        """Channels of zeros on what a unit reads."""
        value = unit.node.inputs[0]
        assert value is not None
        own, _ = added_around(unit.name, self._prefix)
        pads = self._constant(f"{own}.pads", np.array([0, 0, 0, 0, 0, more, 0, 0], np.int64))
        node = ir.node("Pad", [value, pads], name=own, outputs=[ir.val(own)])
        self._pads.add(node)
        self._graph.insert_before(unit.node, node)
        unit.node.replace_input_with(0, node.outputs[0])
        self.grids[own] = self.grids[str(value.name)]

    def _slice(self, unit: Unit, written: int, full: int) -> None:
        """Only the first channels of what a unit writes, for all that read it."""
        value, (_, own) = unit.output, added_around(unit.name, self._prefix)
        ends = [
            self._constant(f"{own}.{label}", np.array([number], np.int64))
            for label, number in (("start", 0), ("end", written), ("axis", 1))
        ]
        was_output, name = value.is_graph_output(), unit.name
        node = ir.node("Slice", [value, *ends], name=own, outputs=[ir.val(own)])
        sliced = node.outputs[0]
        sliced.shape, sliced.type = value.shape, value.type
        value.shape = unit.node.outputs[0].shape = None
        value.replace_all_uses_with(sliced, replace_graph_outputs=True)
        self._full[sliced] = value, full
        node.replace_input_with(0, value)
        self._graph.insert_after(unit.ends, node)
        self.grids[own] = self.grids[name]
        if was_output:  # which keeps its name
            value.name, sliced.name = own, name
            self.weights[own] = self.weights.pop(name)

    def _constant(self, name: str, array: np.ndarray) -> ir.Value:
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        self._graph.register_initializer(value)
        return value
