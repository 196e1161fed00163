"""Sparse tensors written out: what reads graphs here knows none, and onnxruntime makes them dense too."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from sepfactor.graph.bodies import with_bodies

_MOST = 2**28
"""Numbers a tensor may have when it is written out."""


def densified(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """The model with dense tensors only, itself if it has no others; and how many were sparse.

    Raises:
        ValueError: one of them is not valid, or too large.
    """
    if not any(_initializers(body) or any(_constants(body)) for body in _bodies(proto)):
        return proto, 0
    made = onnx.ModelProto.FromString(proto.SerializeToString())
    count = 0
    for body in _bodies(made):
        for sparse in _initializers(body):
            body.initializer.append(_dense(sparse))
            count += 1
        del _initializers(body)[:]
        for attribute in _constants(body):
            attribute.CopyFrom(onnx.helper.make_attribute("value", _dense(attribute.sparse_tensor)))
            count += 1
    return made, count


def _bodies(proto: onnx.ModelProto) -> Iterator[Any]:
    """Whatever holds nodes: graphs, subgraphs, functions."""
    for body in (proto.graph, *proto.functions):
        yield from with_bodies(body)


def _initializers(body: Any) -> Any:
    return body.sparse_initializer if isinstance(body, onnx.GraphProto) else []


def _constants(body: Any) -> Iterator[onnx.AttributeProto]:
    for node in body.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "sparse_value":
                yield attribute


def _dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    name, shape = sparse.values.name, tuple(sparse.dims)
    if any(size < 0 for size in shape) or math.prod(shape) > _MOST:
        raise ValueError(f"the sparse tensor {name!r} of shape {shape} cannot be written out")
    if sparse.values.external_data or sparse.indices.external_data:
        raise ValueError(f"the sparse tensor {name!r} is kept in another file; make it dense")
    values, indices = (numpy_helper.to_array(part) for part in (sparse.values, sparse.indices))
    if indices.shape not in (values.shape, (values.size, len(shape))) or (indices < 0).any():
        raise ValueError(f"the indices of the sparse tensor {name!r} are not valid")
    places = tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, shape)
    dense = np.zeros(shape, values.dtype)
    dense[places] = values
    return numpy_helper.from_array(dense, name)
