"""Add up biases that follow one another: a MatMul has none of its own, and is often followed by one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir


def join_biases(graph: ir.Graph, made: Iterable[ir.Node]) -> None:
    """Let an Add of a constant that is all an Add among the nodes ``made`` is for add both constants."""
    for node in made:
        if node.op_type != "Add" or _constant(node) is None:
            continue
        total, uses = node.outputs[0], list(node.outputs[0].uses())
        if len(uses) != 1 or total.is_graph_output():
            continue
        behind = uses[0].node
        own, other = _constant(node), _constant(behind)
        if behind.op_type != "Add" or behind.graph is not graph or own is None or other is None:
            continue
        whole = own.const_value.numpy() + other.const_value.numpy()  # type: ignore[union-attr]
        both = ir.val(own.name, const_value=ir.tensor(np.ascontiguousarray(whole), name=own.name))
        position = next(i for i, value in enumerate(behind.inputs) if value is other)
        behind.replace_input_with(position, both)
        behind.replace_input_with(uses[0].idx, node.inputs[0])
        graph.remove(node, safe=True)
        graph.initializers.pop(str(own.name))
        graph.register_initializer(both)


def _constant(node: ir.Node) -> ir.Value | None:
    """The one of two summands that is a row of numbers, if one is."""
    for value in node.inputs[::-1]:
        if value is not None and value.is_initializer() and not value.is_graph_input():
            shape = value.const_value.shape if value.const_value is not None else ()
            return value if len(shape) == 1 and not value.is_graph_output() else None
    return None
