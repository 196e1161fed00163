"""Small networks as ONNX text, and two runtimes to hold them against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

Feed = Mapping[str, np.ndarray]

TOLERANCE = {np.dtype(np.float16): 2e-2, np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-11}


def model(
    body: str, inputs: str, outputs: str, *, opset: int = 17, ir_version: int = 8, **weights: Any
) -> onnx.ModelProto:
    """A model of a body of ONNX text; ``weights`` are arrays by name, and become initialisers."""
    header = f'<ir_version: {ir_version}, opset_import: ["": {opset}]>'
    proto = onnx.parser.parse_model(f"{header} g ({inputs}) => ({outputs}) {{ {body} }}")
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items())
    return proto


def with_weights_as_inputs(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model as exporters wrote it before IR version 4: every initialiser is an input as well."""
    for tensor in proto.graph.initializer:
        proto.graph.input.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    return proto


def normal(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(dtype)


def norm_of(channels: int, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """Scale ``s``, shift ``b``, mean ``m`` and variance ``v`` of a BatchNormalization."""
    s, b, m, v = normal(4, channels, seed=channels, dtype=dtype)
    return {"s": s, "b": b, "m": m, "v": np.abs(v) + dtype(0.5)}


def as_bytes(source: Any) -> bytes:
    if isinstance(source, bytes):
        return source
    return (ir.to_proto(source) if isinstance(source, ir.Model) else source).SerializeToString()


def session(source: Any, optimised: Any = None, *, plain: bool = False) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(as_bytes(source), options, providers=["CPUExecutionProvider"])


def run(source: Any, feed: Feed, *, plain: bool = False) -> list[np.ndarray]:
    """What onnxruntime answers; ``plain``: without its optimisations."""
    return session(source, plain=plain).run(None, dict(feed))


def run_reference(source: Any, feed: Feed) -> list[np.ndarray]:
    return ReferenceEvaluator(onnx.load_from_string(as_bytes(source))).run(None, dict(feed))


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Equal to rounding, measured against the largest value of each output."""
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if b.size:
            assert np.abs(a - b).max() <= TOLERANCE[b.dtype] * max(1, np.abs(b).max())


def check(source: Any) -> None:
    onnx.checker.check_model(as_bytes(source), full_check=True)


def interface(proto: onnx.ModelProto) -> list[tuple[str, bytes]]:
    """Names and declared types of what a caller sees: inputs without a default, and outputs."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    values = [v for v in proto.graph.input if v.name not in weights] + list(proto.graph.output)
    return [(v.name, v.type.SerializeToString(deterministic=True)) for v in values]
