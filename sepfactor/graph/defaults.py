"""Inputs with a default, which a caller may leave out: told from weights that are only listed as inputs.

Before IR version 4 every initialiser had to be an input, and some exporters go on like that. onnxruntime then
optimises around none of them, so they leave the list of inputs. Since version 4 an initialiser that is an
input is one on purpose, a threshold or a gain, unless all are, or a layer reads it as its weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

_FIRST_ON_PURPOSE = 4
"""IR version from which initialisers need not be inputs."""

_FROM_SECOND = {
    *("Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "DeformConv", "Gemm", "MatMul", "QLinearMatMul"),
    *("MatMulInteger", "BatchNormalization", "InstanceNormalization", "LayerNormalization", "PRelu"),
    *("GroupNormalization", "RMSNormalization", "QuantizeLinear", "DequantizeLinear"),
}
"""Operators whose inputs but the first are weights."""

_OF_RECURRENCE = {"LSTM", "GRU", "RNN"}
_WEIGHTS_OF_RECURRENCE = range(1, 4)

_FROM_FIRST = {"Gather", "MatMul", "DequantizeLinear", "GatherElements"}
"""Operators whose first input may be one, too: tables, and factors of a product."""


def drop_weights_from_inputs(model: ir.Model, ir_version: int) -> None:
    """Take weights off the list of inputs, in place; inputs with a default stay.

    Args:
        model: to change.
        ir_version: of the file, which says whether the list was made on purpose.
    """
    graph = model.graph
    listed = [value for value in graph.inputs if value.is_initializer()]
    if not listed:
        return
    weights = {value for node in graph.all_nodes() for value in _weights_of(node)}
    all_are = all(value.is_graph_input() for value in graph.initializers.values())
    by_habit = all_are and not weights.isdisjoint(listed)
    going = {*listed} if ir_version < _FIRST_ON_PURPOSE or by_habit else weights & {*listed}
    kept = [value for value in graph.inputs if value not in going]
    graph.inputs.clear()
    graph.inputs.extend(kept)


def _weights_of(node: ir.Node) -> Iterator[ir.Value]:
    """The initialisers a node reads as weights, be it by way of what is computed of them alone."""
    for index, value in enumerate(node.inputs):
        is_weight = index > 0 and node.op_type in _FROM_SECOND
        is_weight |= index in _WEIGHTS_OF_RECURRENCE and node.op_type in _OF_RECURRENCE
        is_weight |= index == 0 and node.op_type in _FROM_FIRST
        if is_weight and value is not None:
            yield from _sources(value)


def _sources(value: ir.Value) -> set[ir.Value]:
    """The initialisers a value is computed of; none where something fed goes into it."""
    found, seen, front = set(), {value}, [value]
    while front:
        at = front.pop()
        made = at.producer()
        if at.is_initializer():
            found.add(at)
        elif made is None:
            return set()
        else:
            before = {source for source in made.inputs if source is not None} - seen
            seen |= before
            front += before
    return found
