"""A Slice that takes everything, as nothing.

    x[0:∞, …] = x

TensorFlow's exporter leaves them where a slice had been masked. onnxruntime copies the map.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.read import constant, is_op
from sepfactor.graph.rewrites.rule import Build, Edit, Rule

_FAR = 10**9
"""From here on exporters end what has no end; no axis of a map is as long."""


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    if not is_op(node, "Slice") or node.inputs[0] is None or not _takes_all(node, node.inputs[0]):
        return None
    return lambda edit: _same(edit, node)


def _same(edit: Edit, node: ir.Node) -> Mapping[ir.Value, ir.Value]:
    return {node.outputs[0]: edit.emit("Identity", [node.inputs[0]], like=node)}


def _takes_all(node: ir.Node, source: ir.Value) -> bool:
    if len(node.inputs) > 1:
        given = [constant(value) for value in node.inputs[1:]]
    else:
        names = ("starts", "ends", "axes")
        given = [np.array(node.attributes.get_ints(n, ()), np.int64) for n in names if n in node.attributes]
    if len(given) < 2 or any(row is None for row in given):
        return False
    starts, ends, *rest = (row for row in given if row is not None)
    axes = rest[0] if rest else np.arange(len(starts))
    steps = rest[1] if len(rest) > 1 else np.ones(len(starts), np.int64)
    if any(starts) or any(steps != 1):
        return False
    return all(end >= _size(source, int(axis)) for end, axis in zip(ends, axes, strict=True))


def _size(source: ir.Value, axis: int) -> int:
    size = source.shape[axis] if source.shape is not None else None
    return size if isinstance(size, int) else _FAR


WHOLE_SLICE = Rule("whole-slice", "a Slice that takes everything by nothing", _check)
