"""Raise a model from opset 11, 12 or 13 to 14, where HardSwish is an operator.

Most operators mean the same in all of them: what changed between is which types they take. Those below
changed in what they mean. What can be said in the newer form is, of the others the model stays as it is.
The changes are those of ``onnx/docs/Changelog.md``, versions 12 to 14.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from sepfactor.graph.prepare import infer_shapes
from sepfactor.graph.rewrites.ranks import axis_count
from sepfactor.graph.writer import free_prefix, taken_names

_FROM, _TO = 11, 14

_OVER_LAST_AXIS = ("Softmax", "LogSoftmax", "Hardmax")
"""They flattened all axes from ``axis`` on; of the last axis alone that is the same."""

_TO_INPUT = {"ReduceSum": "axes", "Squeeze": "axes", "Unsqueeze": "axes", "Split": "split"}
"""Operator → the attribute that became its second input, in opset 13."""


def raised(model: ir.Model, opset: int) -> ir.Model | str:
    """A copy of ``model`` in opset 14, or why there is none, in words.

    Args:
        model: any; it is not changed.
        opset: 14, the only one that anything here needs.
    """
    own = model.opset_imports.get("", 1)
    if opset != _TO or not _FROM <= own < _TO:
        return f"the model is of opset {own}, and only those from {_FROM} on are raised to {_TO}"
    if any(True for _ in model.functions):
        return "the model has functions, which are not raised to another opset"
    copy = model.clone()
    for node in [*copy.graph.all_nodes()]:
        if node.domain in ("", "ai.onnx") and (reason := _raise_node(node, own, copy)) is not None:
            return f"the model is of opset {own} and cannot be raised to {_TO}: {reason}"
    copy.opset_imports[""] = _TO
    infer_shapes(copy)
    return copy


def _raise_node(node: ir.Node, own: int, model: ir.Model) -> str | None:
    """Say a node as opset 14 does, in place; why not, where that cannot be."""
    if own < 13 and node.op_type in _OVER_LAST_AXIS:
        return _check_axis(node)
    if own < 13 and node.op_type in _TO_INPUT:
        _attribute_to_input(node, _TO_INPUT[node.op_type], model)
        return None
    check = _CHECKS.get(node.op_type)
    return check(node, own) if check is not None else None


def _check_axis(node: ir.Node) -> str | None:
    axes = axis_count(node.inputs[0])
    axis = node.attributes.get_int("axis", 1)
    if axis == -1 or (axes is not None and axis == axes - 1):
        node.attributes["axis"] = ir.AttrInt64("axis", axis)  # the default is another one now
        return None
    return f"its {node.op_type} is over several axes at once"


def _attribute_to_input(node: ir.Node, name: str, model: ir.Model) -> None:
    attribute = node.attributes.pop(name, None)
    if attribute is None or node.graph is None:
        return
    prefix = free_prefix(f"{node.name or node.outputs[0].name}/opset", taken_names(model.graph))
    tensor = ir.tensor(np.array(attribute.as_ints(), np.int64), name=f"{prefix}/{name}")
    value = ir.val(tensor.name, const_value=tensor)
    assert isinstance(node.graph, ir.Graph)  # functions were refused
    node.graph.register_initializer(value)
    node.resize_inputs(2)
    node.replace_input_with(1, value)


def _norm(node: ir.Node, own: int) -> str | None:  # noqa: ARG001
    """More outputs than one are of training, and others in opset 14."""
    return "its BatchNormalization answers as in training" if len(node.outputs) > 1 else None


def _dropout(node: ir.Node, own: int) -> str | None:
    """The ratio became an input in opset 12; without training it does not matter."""
    if own < 12:
        node.attributes.pop("ratio", None)
    return None


_CHECKS: dict[str, Callable[[ir.Node, int], str | None]] = {
    "BatchNormalization": _norm,
    "Dropout": _dropout,
}
