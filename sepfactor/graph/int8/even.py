"""Even out the ranges of channels before they are rounded to one grid.

What a layer writes may be scaled channel by channel, where everything that reads it multiplies by weights
that take the scale back: ``W₂ relu(W₁ x) = (W₂ D⁻¹) relu(D W₁ x)`` for any positive diagonal ``D`` (Nagel et
al. 2019, arXiv 1906.04721). Exact but for rounding; and all channels then use the 256 codes alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sepfactor.graph.int8.units import Unit

QUARTERS = 4
"""Steps of a scale in an octave."""

_THROUGH = ("MaxPool", "AveragePool", "GlobalAveragePool", "Identity", "Dropout")
"""Operators that a positive scale of a channel goes through."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """An activation whose channels may be scaled, from the layer that writes it to those that read it.

    Attributes:
        maker: that writes it.
        readers: that take the scale back.
    """

    maker: Unit
    readers: tuple[Unit, ...]

    @property
    def channels(self) -> int:
        """How many there are."""
        return len(self.maker.weight)


def stretches(units: Mapping[str, Unit]) -> list[Stretch]:
    """The activations of a graph whose channels may be scaled.

    Args:
        units: of all of its nodes that have a form in eight bits, by name.
    """
    by_node = {unit.node: unit for unit in units.values()}
    found = []
    for unit in units.values():
        if unit.node.op_type == "Conv" and unit.top == np.inf:  # a Clip does not grow with what it cuts
            readers = list[Unit]()
            if _follow(unit.output, by_node, readers):
                found.append(Stretch(unit, tuple(readers)))
    return found


def _follow(value: ir.Value, units: Mapping[ir.Node, Unit], readers: list[Unit]) -> bool:
    """Whether all that reads a value takes a scale back, or hands it on to what does."""
    if value.is_graph_output() or not value.uses():
        return False
    for use in value.uses():
        unit = units.get(use.node)
        if unit is None:
            return False
        if use.node.op_type == "Conv":
            readers.append(unit)
        elif use.node.op_type not in _THROUGH or not _follow(unit.output, units, readers):
            return False
    return True


def even_out(stretch: Stretch, quarters: Sequence[int]) -> None:
    """Scale the channels of a stretch, in place.

    Args:
        stretch: of the graph to change.
        quarters: of each channel, quarters of an octave.
    """
    factors = 2.0 ** (np.asarray(quarters, np.float64) / QUARTERS)
    node = stretch.maker.node
    _scale(node, 1, factors.reshape(-1, 1, 1, 1))
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        _scale(node, 2, factors)
    for reader in stretch.readers:
        own, groups = reader.weight, reader.node.attributes.get_int("group", 1)
        rows = np.arange(own.shape[0]) // (own.shape[0] // groups)
        read = rows[:, None] * own.shape[1] + np.arange(own.shape[1])
        _scale(reader.node, 1, (1.0 / factors)[read][..., None, None])


def _scale(node: ir.Node, index: int, factors: np.ndarray) -> None:
    """Multiply a constant input of a node; what others read of it stays."""
    old = node.inputs[index]
    assert old is not None
    assert old.const_value is not None
    array = (old.const_value.numpy().astype(np.float64) * factors).astype(np.float32)
    if len(old.uses()) == 1:
        old.const_value = ir.tensor(array, name=old.name)
        return
    graph, number = node.graph, 1
    assert isinstance(graph, ir.Graph)
    while f"{old.name}/{number}" in graph.initializers:
        number += 1
    own = ir.val(f"{old.name}/{number}", const_value=ir.tensor(array, name=f"{old.name}/{number}"))
    graph.register_initializer(own)
    node.replace_input_with(index, own)
