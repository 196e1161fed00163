"""The files that a page takes for given: name → what writes it into the working directory."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests import networks


def _retrained() -> None:
    """The digits network as a few more epochs might have left it: every large weight a little off."""
    model = onnx.load("models/digits_resnet.onnx")
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        weight = numpy_helper.to_array(tensor)
        if weight.ndim == 4:
            noise = rng.standard_normal(weight.shape).astype(weight.dtype)
            changed = weight + 0.02 * weight.std() * noise
            tensor.CopyFrom(numpy_helper.from_array(changed.astype(weight.dtype), tensor.name))
    onnx.save(model, "retrained.onnx")


def _segmenter() -> None:
    """Three classes by pixel."""
    weights = {"first.weight": networks.kernel(16, 3, separable=True), "last.weight": networks.kernel(3, 16)}
    nodes = [
        networks.conv("image", "first.weight", "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["first"], ["seen"]),
        networks.conv("seen", "last.weight", "scores", pads=[1, 1, 1, 1]),
        helper.make_node("Softmax", ["scores"], ["classes"], axis=1),
    ]
    shape = ["batch", 3, "height", "width"]
    _save("segmenter.onnx", nodes, weights, ("image", shape), ("classes", shape))


def _sound() -> None:
    """Two convolutions along time."""
    rng = np.random.default_rng(0)
    weights = {
        "first.weight": rng.normal(0, 0.3, (16, 1, 9)).astype(np.float32),
        "last.weight": rng.normal(0, 0.1, (1, 16, 9)).astype(np.float32),
    }
    nodes = [
        networks.conv("sound", "first.weight", "first", pads=[4, 4]),
        helper.make_node("Relu", ["first"], ["heard"]),
        networks.conv("heard", "last.weight", "louder", pads=[4, 4]),
    ]
    shape = ["batch", 1, "samples"]
    _save("sound.onnx", nodes, weights, ("sound", shape), ("louder", shape))


def _save(
    name: str,
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    read: tuple[str, list[str | int]],
    written: tuple[str, list[str | int]],
) -> None:
    inputs, outputs = (
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)]
        for name, shape in (read, written)
    )
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), name)


def _sounds() -> None:
    """A folder of short tones."""
    Path("sounds").mkdir()
    for number in range(12):
        with wave.open(f"sounds/{number}.wav", "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            times = np.arange(1600) / 16000
            tone = np.sin(2 * np.pi * 110 * (number + 1) * times) * np.hanning(times.size)
            file.writeframes((8000 * tone).astype("<i2").tobytes())


PREPARED: dict[str, Callable[[], None]] = {
    "model.onnx": lambda: onnx.save(networks.plain(), "model.onnx"),
    "classifier.onnx": lambda: onnx.save(networks.classifier(), "classifier.onnx"),
    "images.npz": lambda: np.savez("images.npz", image=networks.images(16)),
    "retrained.onnx": _retrained,
    "segmenter.onnx": _segmenter,
    "sound.onnx": _sound,
    "sounds": _sounds,
}


def prepare(names: str) -> None:
    for name in names.split():
        if not Path(name).exists():
            PREPARED[name]()
