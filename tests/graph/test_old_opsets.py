"""onnxruntime has no Add of opset 6, but a Sum: what joins chains has to follow the model."""

from __future__ import annotations

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
