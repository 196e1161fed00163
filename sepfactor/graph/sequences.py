"""Values that are no tensors: lists of tensors, and what may be missing.

They cannot be fed to a network, so they are not handed from one stretch of it to the next: what makes
them is run again wherever they are read. Tensors go in, and making a list of them costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

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


def non_tensors(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """Names of the values that are no tensors, as far as the operators around them tell."""
    found = {name for node in nodes if node.op_type in MAKERS for name in node.output}
    found |= {node.input[0] for node in nodes if node.op_type in _TAKERS and node.input}
    while True:
        copies = [node for node in nodes if node.op_type == "Identity" and len(node.input) == 1]
        more = {node.output[0] for node in copies if node.input[0] in found}
        more |= {node.input[0] for node in copies if node.output[0] in found}
        if more <= found:
            return found - {""}
        found |= more
