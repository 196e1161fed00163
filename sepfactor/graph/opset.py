"""Raise the operator set of a model, for what older ones cannot say."""

from __future__ import annotations

import onnx_ir as ir
from onnx import version_converter

from sepfactor.graph.load import PROTOBUF_LIMIT
from sepfactor.graph.prepare import infer_shapes


def with_opset(model: ir.Model, least: int) -> ir.Model | None:
    """The same in operator set ``least``, or as it is where its own is as high; None where that cannot be.

    Values keep their names, but for what operators write that the new set has none of, such as Upsample.
    """
    if model.opset_imports.get("", 1) >= least:
        return model
    weights = (value.const_value for value in model.graph.initializers.values())
    if sum(tensor.nbytes for tensor in weights if tensor is not None) > PROTOBUF_LIMIT:
        return None
    try:
        raised = version_converter.convert_version(ir.to_proto(model), least)
    except (version_converter.ConvertError, RuntimeError, ValueError):  # it has no rule for an operator
        return None
    found = ir.from_proto(raised)
    found.ir_version = max(model.ir_version or 0, 7)
    infer_shapes(found)
    return found
