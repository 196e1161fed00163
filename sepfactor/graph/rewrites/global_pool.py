"""The mean or the maximum of a whole map, as a pool.

    ReduceMean(x; axes 2, 3) = GlobalAveragePool(x)        ReduceMax(x; axes 2, 3) = GlobalMaxPool(x)

Pools are computed in the blocked layout, which reductions leave, and reductions are how exporters of Keras
and of torch write what classifiers and squeeze-and-excitation look at. Without ``keepdims`` the two axes go
afterwards, where there is one number per channel left.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.blocked import is_blocked
from sepfactor.graph.rewrites.read import SINGLE, constant, is_op, rank
from sepfactor.graph.rewrites.rule import Build, Edit, Rule

_POOLS = {"ReduceMean": "GlobalAveragePool", "ReduceMax": "GlobalMaxPool"}


def _check(node: ir.Node, opset: int) -> Build | str | None:
    source = node.inputs[0] if is_op(node, *_POOLS) else None
    if source is None or rank(source) != 4 or source.dtype not in SINGLE or _axes(node) != [2, 3]:
        return None
    if not is_blocked(source):
        return "what it reduces is not in the blocked layout"

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        pooled = edit.emit(_POOLS[node.op_type], [source], like=node)
        if node.attributes.get_int("keepdims", 1):
            return {node.outputs[0]: pooled}
        if opset < 13:
            return {node.outputs[0]: edit.emit("Squeeze", [pooled], {"axes": (2, 3)})}
        axes = edit.constant(np.array([2, 3]), ir.DataType.INT64)
        return {node.outputs[0]: edit.emit("Squeeze", [pooled, axes])}

    return build


def _axes(node: ir.Node) -> list[int]:
    axes = [int(axis) for axis in node.attributes.get_ints("axes", ())]
    if not axes and len(node.inputs) > 1:
        given = constant(node.inputs[1])
        axes = [] if given is None else [int(axis) for axis in given.reshape(-1)]
    return sorted(axis % 4 for axis in axes)


GLOBAL_POOL = Rule("global-pool", "the mean or maximum of a map as a pool", _check)
