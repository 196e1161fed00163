"""Values that are no tensors: lists of tensors, and what may be missing.

They cannot be fed to a network, so they are not handed from one segment of it to the next: what makes
them is run again wherever they are read. Tensors go in, and making a list of them costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from sepfactor.graph.bodies import BEFORE_STATES, proto_bodies, with_bodies

MAKERS = {
    *("SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SequenceErase", "SequenceMap"),
    *("SplitToSequence", "Optional", "ZipMap"),
}
"""Operators that never give tensors."""

EITHER = {"Identity", "If", "Loop", "Scan", "OptionalGetElement"}
"""Operators that may give anything."""

_TAKERS = {
    *("SequenceInsert", "SequenceErase", "SequenceAt", "SequenceLength", "SequenceMap"),
    *("ConcatFromSequence", "OptionalHasElement", "OptionalGetElement"),
}
"""Operators whose first input is no tensor."""


def non_tensors(graph: onnx.GraphProto) -> set[str]:
    """Names of what the nodes of a graph write that is no tensor, as far as types and operators tell."""
    graphs = [*with_bodies(graph)]
    nodes = [node for inside in graphs for node in inside.node]
    found = {value.name for inside in graphs for value in _typed(inside) if _is_other(value)}
    found |= {name for node in nodes if node.op_type in MAKERS for name in node.output}
    found |= {node.input[0] for node in nodes if node.op_type in _TAKERS and node.input}
    alike = [pair for node in nodes for pair in _alike(node) if all(pair)]
    while True:
        more = {name for pair in alike if not found.isdisjoint(pair) for name in pair}
        if more <= found:
            return found & {name for node in graph.node for name in node.output if name}
        found |= more


def _typed(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    yield from graph.input
    yield from graph.value_info
    yield from graph.output


def _is_other(value: onnx.ValueInfoProto) -> bool:
    return value.type.WhichOneof("value") not in (None, "tensor_type")


def _alike(node: onnx.NodeProto) -> Iterator[tuple[str, str]]:
    """Names of values of which both are tensors or neither."""
    if node.op_type == "Identity":
        yield from zip(node.input, node.output, strict=False)
    for body in proto_bodies(node):
        answers = [value.name for value in body.output]
        if node.op_type == "If":
            yield from zip(answers, node.output, strict=False)
        elif node.op_type == "Loop":
            states = [value.name for value in body.input[BEFORE_STATES:]]
            yield from zip(node.input[BEFORE_STATES:], states, strict=False)
            yield from zip(states, answers[1:], strict=False)  # behind the condition
            yield from zip(answers[1:], node.output, strict=False)
