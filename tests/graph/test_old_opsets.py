"""onnxruntime has no Add of opset 6, but a Sum: what joins chains has to follow the model."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from sepfactor.factor import Factorization, select_schemes
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.graph.survey import survey


@pytest.mark.parametrize(("opset", "joint"), [(6, "Sum"), (7, "Add"), (17, "Add")])
def test_chains_are_joined_by_what_the_opset_has(opset: int, joint: str) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((8, 6, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        "old",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 6, 9, 9])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 8, 9, 9])],
        [numpy_helper.from_array(weight, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4)
    prepared = prepare(ir.from_proto(proto))
    (site,) = survey(prepared)
    assert site.stage is not None
    (scheme,) = select_schemes(["depthwise-pointwise"])
    decomposition = scheme.decompose(site.stage)
    factorization = Factorization(decomposition.build(decomposition.full_rank))
    rebuilt = rebuild(prepared, [Replacement(site, factorization, {})]).model
    assert {node.op_type for node in rebuilt.graph} == {"Conv", joint}
    x = rng.standard_normal((1, 6, 9, 9)).astype(np.float32)
    answers = [
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"x": x}
        )[0]
        for model in (proto, ir.to_proto(rebuilt))
    ]
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-4, atol=1e-4)


def test_bfloat16_is_read_in_double_and_written_as_it_was() -> None:
    """onnxruntime cannot run it on a CPU; so both networks are cast to float32 to be compared."""
    rng = np.random.default_rng(0)
    column, row, mix = rng.standard_normal(5), rng.standard_normal(5), rng.standard_normal((8, 4, 1, 1))
    weight = (mix * np.outer(column, row)).astype(ml_dtypes.bfloat16)
    kind = onnx.TensorProto.BFLOAT16
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[2] * 4)],
        "half",
        [helper.make_tensor_value_info("x", kind, [1, 4, 9, 9])],
        [helper.make_tensor_value_info("y", kind, [1, 8, 9, 9])],
        [numpy_helper.from_array(weight, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    prepared = prepare(ir.from_proto(proto))
    (site,) = survey(prepared)
    assert site.dtype == ml_dtypes.bfloat16
    assert site.stage is not None
    np.testing.assert_array_equal(site.stage.weight, weight.astype(np.float64))
    (scheme,) = select_schemes(["spatial-vertical"])
    decomposition = scheme.decompose(site.stage)
    factorization = Factorization(decomposition.build(decomposition.full_rank))
    rebuilt = ir.to_proto(rebuild(prepared, [Replacement(site, factorization, {})]).model)
    assert {tensor.data_type for tensor in rebuilt.graph.initializer} == {kind}
    onnx.checker.check_model(rebuilt, full_check=True)
    x = rng.standard_normal((1, 4, 9, 9)).astype(np.float32)
    found, expected = (_run_as_float32(model, x) for model in (rebuilt, proto))
    assert np.abs(found - expected).max() < 2e-2 * np.abs(expected).max()
    assert np.abs(found - expected).max() > 0


def _run_as_float32(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    for value in (*copy.graph.input, *copy.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    del copy.graph.value_info[:]
    for tensor in copy.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    session = ort.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])
