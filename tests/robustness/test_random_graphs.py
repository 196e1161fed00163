"""Random small networks through the whole way: valid, of the same interface, and as near as was asked for."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.graph.build import interface, run
from tests.robustness.graphs import Drawn, networks
from tests.robustness.way import assert_near, attempt

TOLERANCE = {"float32": 1e-4, "float16": 2e-2}
OPTIONS = (
    {"max_error": 0.0},
    {"max_error": 0.3},
    {"rank": 1},
    {"rank": 8},
    {"max_error": 0.5, "refit": False},
    {"max_error": 0.3, "scheme": ["spatial"]},
    {"min_snr": 20.0},
    {"max_macs": "60%", "force": True},
    {"min_snr": 10.0, "max_params": "80%", "force": True},
    {"max_error": 0.0, "linear_layers": True},
    {"rank": 2, "linear_layers": True},
    {"max_macs": "60%", "force": True, "linear_layers": True},
    {"max_error": 0.0, "dequantize": True},
    {"rank": 2, "dequantize": True, "linear_layers": True},
)
relaxed = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@relaxed
@given(networks(), st.sampled_from(OPTIONS), st.booleans())
def test_the_whole_way(drawn: Drawn, options: dict[str, Any], with_data: bool) -> None:
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out.onnx"
        onnx.checker.check_model(drawn.model, full_check=True)
        result = attempt(drawn.model, out, data=drawn.feed if with_data else None, limit=3, **options)
        if isinstance(result, str):
            assert not any("Conv" in node.op_type for node in drawn.model.graph.node), result
            return
        event(f"replaced {min(result.report.totals.replaced, 3)}")
        assert out.exists() == (result.report.totals.replaced > 0)
        for layer in result.report.layers:
            assert layer.replaced or layer.reason
            event(layer.scheme or " ".join(str(layer.reason).split()[:4]))
        if not out.exists():
            return
        onnx.checker.check_model(out, full_check=True)
        found = onnx.load(out)
    assert interface(found) == interface(drawn.model)
    assert {node.op_type for node in found.graph.node} <= _operators(drawn.model)
    rounds = any(node.op_type == "QuantizeLinear" for node in drawn.model.graph.node)
    _compare(drawn, found, exact=options.get("max_error") == 0.0 and not rounds)


def _operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node} | {
        "Conv",
        "Add",
        "MatMul",
        "Unsqueeze",
        "Squeeze",
        "Clip",
    }


def _compare(drawn: Drawn, found: onnx.ModelProto, *, exact: bool) -> None:
    """Every output, of all samples at once or of the first where the batch is fixed."""
    fixed = drawn.model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")
    feed = {name: array[: 1 if fixed else 3] for name, array in drawn.feed.items()}
    for one, other in zip(run(found, feed), run(drawn.model, feed), strict=True):
        if exact:
            assert_near(one, other, TOLERANCE)
        else:
            assert one.shape == other.shape
            assert np.isfinite(one).all()
