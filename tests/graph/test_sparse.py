"""Sparse tensors are read as the dense ones they stand for."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sepfactor.errors import ModelError
from sepfactor.graph.instrument import serialized
from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.survey import survey
from tests.graph.build import assert_same, model, normal, run

W = np.where(np.abs(normal(4, 4, 3, 3)) > 1, normal(4, 4, 3, 3), np.float32(0))
FEED = {"x": normal(2, 4, 9, 8)}
DENSE = model("y = Conv(x, w)", "float[N,4,9,8] x", "float[N,C,P,Q] y", w=W)


def sparse(array: np.ndarray, by_axis: bool) -> onnx.SparseTensorProto:
    places = np.argwhere(array) if by_axis else np.flatnonzero(array)
    values = numpy_helper.from_array(array[array != 0], "w")
    return helper.make_sparse_tensor(values, numpy_helper.from_array(places, "i"), array.shape)


def as_initializer(tensor: onnx.SparseTensorProto) -> onnx.ModelProto:
    proto = onnx.ModelProto.FromString(DENSE.SerializeToString())
    del proto.graph.initializer[:]
    proto.graph.sparse_initializer.append(tensor)
    return proto


def as_constant(tensor: onnx.SparseTensorProto) -> onnx.ModelProto:
    proto = onnx.ModelProto.FromString(DENSE.SerializeToString())
    del proto.graph.initializer[:]
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["w"], sparse_value=tensor))
    return proto


def in_a_function(tensor: onnx.SparseTensorProto) -> onnx.ModelProto:
    proto = as_constant(tensor)
    imports = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("own", "All", ["x"], ["y"], proto.graph.node, imports))
    del proto.graph.node[:]
    proto.graph.node.append(helper.make_node("All", ["x"], ["y"], domain="own"))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    return proto


def in_a_branch(tensor: onnx.SparseTensorProto) -> onnx.ModelProto:
    proto = as_constant(tensor)
    branches = [helper.make_graph(proto.graph.node, name, [], proto.graph.output) for name in ("t", "e")]
    del proto.graph.node[:]
    choice = helper.make_node("If", ["q"], ["y"], then_branch=branches[0], else_branch=branches[1])
    proto.graph.node.append(choice)
    proto.graph.initializer.append(helper.make_tensor("q", TensorProto.BOOL, [], [True]))
    return proto


@pytest.mark.parametrize("by_axis", [False, True])
@pytest.mark.parametrize("make", [as_initializer, as_constant, in_a_function, in_a_branch])
def test_it_is_the_dense_one(make: object, by_axis: bool) -> None:
    proto = make(sparse(W, by_axis))  # type: ignore[operator]
    before = proto.SerializeToString()
    loaded = load(proto)
    assert proto.SerializeToString() == before
    assert_same(run(serialized(loaded.model), FEED), run(DENSE, FEED))
    (site,) = survey(prepare(loaded.model))
    assert site.skipped is None
    assert site.stage is not None
    np.testing.assert_array_equal(site.stage.weight, W)
    assert any("became dense" in note for note in loaded.notes)


@pytest.mark.parametrize(
    ("dims", "indices"),
    [
        ([-1, 4], [0]),
        ([4, 4, 3, 3], [144]),
        ([4, 4, 3, 3], [-1]),
        ([4, 4, 3, 3], [[0, 0, 0, 3]]),
        ([4, 4, 3, 3], [[0, 0, 0, -1]]),
        ([4, 4, 3, 3], [[0, 0]]),
        ([4, 4, 3, 3], [0, 1, 2]),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(dims: list[int], indices: list[object]) -> None:
    tensor = sparse(W, by_axis=False)
    tensor.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "w"))
    tensor.indices.CopyFrom(numpy_helper.from_array(np.array(indices, np.int64), "i"))
    del tensor.dims[:]
    tensor.dims.extend(dims)
    for make in (as_initializer, as_constant):
        with pytest.raises(ModelError, match="not valid ONNX") as caught:
            load(make(tensor))
        assert "\n" not in str(caught.value)
