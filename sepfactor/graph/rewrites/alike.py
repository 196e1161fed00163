"""Operators that treat numbers, or channels, alike: what is done to channels can be done around them."""

from __future__ import annotations

import onnx_ir as ir

from sepfactor.graph.consumers import ACTIVATIONS
from sepfactor.graph.rewrites.read import constant, is_op

POOLS = ("MaxPool", "AveragePool")
"""Pools that go over a map; those of a whole map leave nothing to gain."""


def treats_numbers_alike(node: ir.Node | None) -> bool:
    """Whether a node does the same to every number, whatever channel it is of."""
    if node is None or not is_op(node, "Identity", *ACTIVATIONS):
        return False
    numbers = [constant(bound) for bound in node.inputs[1:] if bound is not None]
    return all(array is not None and array.size == 1 for array in numbers)


def treats_channels_alike(node: ir.Node | None) -> bool:
    """Whether a node of one output does the same to every channel of what it reads first."""
    return treats_numbers_alike(node) or (node is not None and is_op(node, *POOLS) and len(node.outputs) == 1)
