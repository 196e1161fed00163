"""Channels spread over pixels: where several pixels were computed as channels of one.

    y[n, c, a·h + i, b·w + j] = x[n, (i, c, j), h, w]        blocks of a×b pixels

Two transpositions do it, each of which moves a single axis, which onnxruntime does several times faster than
what moves two:

    (i, c, j, h·w) → (i, c, h·w, j) = (i, c·h, w·j) → (c·h, i, w·j)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.alike import treats_numbers_alike
from sepfactor.graph.rewrites.read import Array, only_reader
from sepfactor.graph.rewrites.rule import Edit


@dataclass(frozen=True)
class Block:
    """How channels are spread.

    Attributes:
        sides: ``(a, b)``.
        size: ``(h, w)``.
    """

    sides: tuple[int, int]
    size: tuple[int, int]

    def in_order(self, array: Array) -> Array:
        """Numbers ``(a, b, c, …)`` as ``(a·c·b, …)``, in the order of the channels."""
        return np.moveaxis(array, 1, 2).reshape(-1, *array.shape[3:])

    def spread(self, edit: Edit, value: ir.Value, channels: int) -> ir.Value:
        """Emit what spreads a value ``(n, a·c·b, h, w)``, of so many ``c``."""
        (a, b), (h, w) = self.sides, self.size
        if b > 1:
            apart = edit.emit("Reshape", [value, edit.sizes(0, a * channels, b, h * w)])
            value = edit.emit("Transpose", [apart], {"perm": (0, 1, 3, 2)})
        if a > 1:
            apart = edit.emit("Reshape", [value, edit.sizes(0, a, channels * h, w * b)])
            value = edit.emit("Transpose", [apart], {"perm": (0, 2, 1, 3)})
        return edit.emit("Reshape", [value, edit.sizes(0, channels, a * h, b * w)])


def behind(node: ir.Node, *op_types: str) -> tuple[ir.Node, list[ir.Node]] | None:
    """An operator and the activations after it, up to ``node``, which nothing can follow that joins them.

    Args:
        node: the operator itself, or the last activation.
        op_types: of the operator.
    """
    if treats_numbers_alike(only_reader(node.outputs[0])):
        return None
    way: list[ir.Node] = []
    while node.op_type not in op_types:
        if not treats_numbers_alike(node) or node.inputs[0] is None or only_reader(node.inputs[0]) is None:
            return None
        way.insert(0, node)
        before = node.inputs[0].producer()
        if before is None:
            return None
        node = before
    return node, way


def again(edit: Edit, value: ir.Value, activations: Sequence[ir.Node]) -> ir.Value:
    """The same activations of another value."""
    for node in activations:
        value = edit.again(node, [value, *node.inputs[1:]])
    return value
