"""onnxruntime's quantisation as the harness uses it: it runs, chooses, and spares what it is told to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from int8 import SETTINGS, SPARED, Quantized, Quantizer
from onnx import helper

from sepfactor.measure import OnnxRuntime
from tests.networks import conv, images, kernel, network

TRIED = SETTINGS[:2]
"""8 and 7 bits."""


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of two equals is faster is nothing to find out here."""
    monkeypatch.setattr("int8._SECONDS", 0.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Opset 7, nameless nodes, an initialiser among the inputs, Softmax at the end."""
    nodes = [
        conv("image", "w1", "a", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        conv("b", "w2", "c", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["d"]),
        conv("d", "w3", "e", pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["e"], ["f"]),
        helper.make_node("Softmax", ["f"], ["scores"], axis=1),
    ]
    for node in nodes:
        node.name = ""
    weights = {"w1": kernel(16, 3), "w2": kernel(16, 16, seed=1), "w3": kernel(6, 16, seed=2)}
    shapes = {"image": ("batch", 3, 16, 16), "w1": (16, 3, 3, 3)}
    model = network(nodes, weights, shapes, {"scores": ("batch", 6, 1, 1)}, opsets={"": 7})
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    return path


def made(file: Path, spared: str = "whole") -> Quantized:
    feeds = [{"image": x[None]} for x in images(8)]
    return Quantizer(file, feeds, file.parent).quantize(SPARED[spared], TRIED)


def test_a_setting_as_close_to_the_float_file_as_any_is_taken(file: Path) -> None:
    found = made(file)
    assert tuple(found.errors) == TRIED
    assert found.errors[found.setting] <= 1.1 * min(found.errors.values())


def test_it_answers_like_the_float_file(file: Path) -> None:
    found = made(file)
    quantised = OnnxRuntime().open(ir.to_proto(found.model).SerializeToString())
    original = OnnxRuntime().open(file)
    for x in images(4, seed=9):
        wanted, answer = (s.run({"image": x[None]})[0] for s in (original, quantised))
        np.testing.assert_allclose(answer, wanted, atol=0.02)
        assert not np.array_equal(answer, wanted)


@pytest.mark.parametrize(("spared", "left"), [("whole", [16, 16, 6]), ("first float", [16, 6])])
def test_weights_become_int8_but_for_those_spared(file: Path, spared: str, left: list[int]) -> None:
    assert int8_kernels(made(file, spared).model) == left


def test_the_ends_can_be_spared(file: Path) -> None:
    assert int8_kernels(made(file, "last float").model) == [16, 16]
    assert int8_kernels(made(file, "ends float").model) == [16]


def int8_kernels(model: ir.Model) -> list[int]:
    """Output channels of each int8 kernel."""
    values = model.graph.initializers.values()
    shapes = [v.shape for v in values if v.dtype == ir.DataType.INT8 and v.shape is not None]
    return sorted((int(s[0]) for s in shapes if len(s) == 4), reverse=True)


def test_softmax_stays_float(file: Path) -> None:
    model = made(file).model
    (softmax,) = (node for node in model.graph if node.op_type == "Softmax")
    assert not any(use.node.op_type == "QuantizeLinear" for use in softmax.outputs[0].uses())
