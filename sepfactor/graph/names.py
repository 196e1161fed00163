"""Call values otherwise without a change to the model they were copied from.

A copy of a model shares its tensors. onnx-ir gives a tensor the name of the value that holds it, when that is
renamed and when it is written; where the tensor is one of a protobuf, that changes the protobuf.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir


def rename(value: ir.Value, name: str) -> None:
    """Call a value ``name``, and a tensor of its own that it then holds."""
    if value.const_value is not None:
        value.const_value = _called(value.const_value, name)
    value.name = name


def own_tensors(model: ir.Model) -> None:
    """Let initialisers hold tensors of their own, in place, where what they hold is called otherwise."""
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            if value.const_value is not None and value.const_value.name != name:
                value.const_value = _called(value.const_value, name)


def _called(tensor: ir.TensorProtocol, name: str) -> ir.TensorProtocol:
    """The same numbers, neither read nor copied, under a name."""
    given: dict[str, Any] = {
        "name": name,
        "doc_string": tensor.doc_string,
        "metadata_props": dict(tensor.metadata_props),
    }
    if isinstance(tensor, ir.ExternalTensor):
        place = tensor.location, tensor.offset, tensor.length, tensor.dtype
        return ir.ExternalTensor(*place, shape=tensor.shape, base_dir=tensor.base_dir, **given)
    if tensor.dtype == ir.DataType.STRING:
        return ir.StringTensor(tensor.numpy(), **given)
    return ir.LazyTensor(lambda: tensor, tensor.dtype, ir.Shape(tensor.shape.numpy()), **given)
