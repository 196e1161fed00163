"""What the training scripts share: where files go, photographs from wheels, and tidy ONNX files.

Nothing here needs torch, so that `fixed_filters.py` can be run without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import skimage.data
import sklearn.datasets
from onnx import numpy_helper
from PIL import Image

MODELS = Path(__file__).resolve().parent.parent
OPSET = 18
IR_VERSION = 10
NAME_SCOPES = "pkg.torch.onnx.name_scopes"

_PHOTO_FOLDERS = (
    Path(skimage.data.__file__).parent,
    Path(sklearn.datasets.__file__).parent / "images",
)


def photo(name: str, mode: str = "L") -> Image.Image:
    """Open a photograph that ships inside scikit-image or scikit-learn, as "L" or "RGB"."""
    for folder in _PHOTO_FOLDERS:
        path = folder / name
        if path.exists():
            with Image.open(path) as image:
                return image.convert(mode)
    raise FileNotFoundError(f"{name} is in neither scikit-image nor scikit-learn")


def quantise(values: np.ndarray, levels: int = 256) -> np.ndarray:
    """Round to `levels` evenly spaced values in [0, 1], so that arrays compress well."""
    steps = levels - 1
    return (np.round(np.clip(values, 0, 1) * steps) / steps).astype(np.float32)


def save_arrays(name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `models/NAME.npz`, compressed."""
    path = MODELS / f"{name}.npz"
    np.savez_compressed(path, **arrays)
    shapes = ", ".join(f"{key} {array.dtype}{list(array.shape)}" for key, array in arrays.items())
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, {shapes}")


def save_model(name: str, model: onnx.ModelProto) -> Path:
    """Strip, check and write `models/NAME.onnx`."""
    strip(model)
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    path = MODELS / f"{name}.onnx"
    onnx.save(model, path)
    parameters = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, {parameters} parameters")
    return path


def strip(model: onnx.ModelProto) -> None:
    """Remove metadata and doc strings: exporters leave stack traces and file paths in them."""
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    for item in [model, graph, *graph.node, *graph.initializer, *values]:
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    graph.ClearField("value_info")
    model.ClearField("functions")
    model.producer_name = "sepfactor"
    model.producer_version = ""


def drop_zero_biases(model: onnx.ModelProto) -> None:
    """Remove the all-zero biases that the exporter gives to convolutions that had none."""
    graph = model.graph
    zero = {tensor.name for tensor in graph.initializer if not numpy_helper.to_array(tensor).any()}
    for node in graph.node:
        if node.op_type == "Conv" and len(node.input) == 3 and node.input[2] in zero:
            node.input.pop()
    used = {value for node in graph.node for value in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def name_nodes(model: onnx.ModelProto) -> None:
    """Name nodes and the values between them after the torch modules they came from."""
    kept = {value.name for value in [*model.graph.input, *model.graph.output]}
    renamed: dict[str, str] = {}
    taken: set[str] = set()
    for node in model.graph.node:
        node.name = _unique(_module_path(node), taken)
        node.input[:] = [renamed.get(value, value) for value in node.input]
        for index, value in enumerate(node.output):
            if value and value not in kept:
                suffix = f".{index}" if index else ""
                renamed[value] = f"{node.name}.out{suffix}"
                node.output[index] = renamed[value]
    _name_constants(model)


def _name_constants(model: onnx.ModelProto) -> None:
    """Name the exporter's numbered initialisers after the first node that reads them."""
    for tensor in model.graph.initializer:
        if tensor.name.startswith("val_"):
            readers = [node for node in model.graph.node if tensor.name in node.input]
            name = f"{readers[0].name}.constant"
            for node in readers:
                node.input[:] = [name if value == tensor.name else value for value in node.input]
            tensor.name = name


def _module_path(node: onnx.NodeProto) -> str:
    for prop in node.metadata_props:
        if prop.key == NAME_SCOPES:
            scopes = [part.strip(" '\"[]") for part in prop.value.split(",")]
            modules = [scope for scope in scopes[:-1] if scope]
            return _readable(modules[-1] if modules else "", node.op_type)
    return node.op_type.lower()


def _readable(module: str, op_type: str) -> str:
    """A leaf module names its node; a container needs the operator added."""
    leaves = ("conv", "bn", "relu", "fc", "shuffle")
    last = module.split(".")[-1]
    if last.startswith(leaves):
        return module
    return f"{module}.{op_type.lower()}" if module else op_type.lower()


def _unique(name: str, taken: set[str]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


def run_model(path: Path, feeds: Mapping[str, np.ndarray], batch: int = 50) -> list[np.ndarray]:
    """Run the written file in onnxruntime, `batch` samples at a time."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    samples = len(next(iter(feeds.values())))
    parts = [
        session.run(None, {key: array[start : start + batch] for key, array in feeds.items()})
        for start in range(0, samples, batch)
    ]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
