"""The files that a page takes for given: name → what writes it into the working directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

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


PREPARED: dict[str, Callable[[], None]] = {
    "model.onnx": lambda: onnx.save(networks.plain(), "model.onnx"),
    "classifier.onnx": lambda: onnx.save(networks.classifier(), "classifier.onnx"),
    "images.npz": lambda: np.savez("images.npz", image=networks.images(16)),
    "retrained.onnx": _retrained,
}


def prepare(names: str) -> None:
    for name in names.split():
        if not Path(name).exists():
            PREPARED[name]()
