"""Make a network with DequantizeLinear nodes a float network, where that was asked for.

A constant behind one becomes the float constant it stands for: ``(q − zero point) · scale``. A value that
goes through a QuantizeLinear and back is no longer rounded, but stays within what whole numbers of that
type could hold, for networks are quantised with a ReLU left to that: ``Clip`` to ``(least − zero point) ·
scale … (most − zero point) · scale``.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
from numpy.typing import NDArray

from sepfactor.graph.computed import computed
from sepfactor.graph.writer import free_prefix, taken_names

_STEPS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_STANDARD = ("", "ai.onnx")

_LEAST = 19
"""The first operator set in which the reference knows them; they compute what they did before."""


def dequantize(model: ir.Model) -> None:
    """In place; what is neither of a constant nor of a float value of one scale stays."""
    opset = model.opset_imports.get("", 1)  # bodies of an If say nothing of it
    for node in [*model.graph.all_nodes()]:
        if node.graph is None or not _is(node, "DequantizeLinear"):
            continue
        found = computed(node.outputs[0], max(_LEAST, opset), _STEPS)
        if found is not None and not node.outputs[0].is_graph_output():
            _hold(node, found)
        elif (limits := _limits(node)) is not None:
            _clip(node, *limits, opset)
    passes.RemoveUnusedNodesPass()(model)


def _is(node: ir.Node | None, op_type: str) -> bool:
    return node is not None and node.op_type == op_type and node.domain in _STANDARD


def _hold(node: ir.Node, array: NDArray[np.floating]) -> None:
    """The numbers in place of what ``node`` writes."""
    graph, (old,) = node.graph, node.outputs
    assert isinstance(graph, ir.Graph)
    name = old.name
    value = ir.val(name, const_value=ir.tensor(np.ascontiguousarray(array), name=name))
    old.replace_all_uses_with(value)
    graph.remove(node, safe=True)
    graph.register_initializer(value)


def _limits(node: ir.Node) -> tuple[NDArray[np.floating], NDArray[np.floating]] | None:
    """Least and most of what comes back of a float value that was quantised with the same scale."""
    source = node.inputs[0]
    before = source.producer() if source is not None else None
    if source is None or before is None or not _is(before, "QuantizeLinear"):
        return None
    ends = _ends(source.dtype)
    scale, zero = (_number(node, index) for index in (1, 2))
    same = all(_same(_number(before, i), number) for i, number in ((1, scale), (2, zero)))
    if scale is None or ends is None or not same or not _keeps_type(before, node):
        return None
    least, most = (np.asarray((end - (0 if zero is None else int(zero))) * scale) for end in ends)
    return least.astype(scale.dtype), most.astype(scale.dtype)


def _keeps_type(before: ir.Node, behind: ir.Node) -> bool:
    """Whether what comes back is of the type of what was quantised, which is that of the scale."""
    kinds = {v.dtype for v in (before.inputs[0], behind.inputs[1], behind.outputs[0]) if v is not None}
    return len(kinds) == 1 and None not in kinds


def _ends(kind: ir.DataType | None) -> tuple[int, int] | None:
    """Least and most a type of whole numbers holds; None of any other."""
    if kind is None or not kind.is_integer():
        return None
    signed, bits = kind.is_signed(), kind.bitwidth
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def _number(node: ir.Node, index: int) -> NDArray[np.floating] | None:
    """An input that is a constant of one number."""
    value = node.inputs[index] if len(node.inputs) > index else None
    tensor = value.const_value if value is not None and not value.is_graph_input() else None
    return tensor.numpy().reshape(()) if tensor is not None and tensor.size == 1 else None


def _same(one: NDArray[np.floating] | None, other: NDArray[np.floating] | None) -> bool:
    return one is other if one is None or other is None else bool(one == other)


def _clip(node: ir.Node, least: NDArray[np.floating], most: NDArray[np.floating], opset: int) -> None:
    """A Clip of what was quantised in place of what comes back."""
    graph, (old,) = node.graph, node.outputs
    source = node.inputs[0]
    assert isinstance(graph, ir.Graph)
    assert source is not None
    before = source.producer()
    assert before is not None
    new = ir.val(None)
    bounds = {"min": least, "max": most}
    if opset < 11:
        said = {end: float(array) for end, array in bounds.items()}
        clip = ir.node("Clip", [before.inputs[0]], said, outputs=[new], name=node.name)
    else:
        prefix = free_prefix(f"{old.name}/range", taken_names(graph))
        names = {end: f"{prefix}/{end}" for end in bounds}
        values = [ir.val(names[e], const_value=ir.tensor(a, name=names[e])) for e, a in bounds.items()]
        for value in values:
            graph.register_initializer(value)
        clip = ir.node("Clip", [before.inputs[0], *values], outputs=[new], name=node.name)
    ir.convenience.replace_nodes_and_values(graph, node, [node], [clip], [old], [new])
