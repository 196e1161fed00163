"""Small networks for tests of the whole way, and for what may be wrong with a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str | None]
MAP: Shape = ("batch", 3, 16, 16)


def network(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, np.ndarray],
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape],
    *,
    kind: int = TensorProto.FLOAT,
    opsets: Mapping[str, int] = {"": 17},
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def conv(x: str, weight: str, y: str, *, name: str | None = None, **attributes: object) -> onnx.NodeProto:
    return helper.make_node("Conv", [x, weight], [y], name=name or f"conv_{y}", **attributes)


def kernel(outs: int, ins: int, size: int = 3, *, separable: bool = False, seed: int = 0) -> np.ndarray:
    """Random float32 weights; separable ones are exactly a column times a row."""
    rng = np.random.default_rng(seed)
    if separable:
        mix, column, row = (rng.standard_normal(n) for n in ((outs, ins), size, size))
        weight = mix[:, :, None, None] * np.outer(column, row)
    else:
        weight = rng.standard_normal((outs, ins, size, size)) / np.sqrt(ins * size * size)
    return weight.astype(np.float32)


def plain(**constants: np.ndarray) -> onnx.ModelProto:
    """``body.first``, 3 → 16 channels, is exactly separable; ``head.last``, 16 → 8, is not at all."""
    weights = {"w1": kernel(16, 3, 5, separable=True), "w2": kernel(8, 16, seed=1)}
    nodes = [
        conv("image", "w1", "a", name="body.first", pads=[2] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        conv("b", "w2", "map", name="head.last", pads=[1] * 4),
    ]
    return network(nodes, weights | constants, {"image": MAP}, {"map": ("batch", 8, 16, 16)})


def classifier() -> onnx.ModelProto:
    """Scores of six classes behind one convolution."""
    nodes = [
        conv("image", "w1", "a", name="body.first", pads=[2] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["logits"]),
    ]
    weights = {"w1": kernel(6, 3, 5, separable=True)}
    return network(nodes, weights, {"image": MAP}, {"logits": ("batch", 6)})


def inseparable() -> onnx.ModelProto:
    """One 1×1 convolution: nothing to factor."""
    nodes = [conv("image", "w", "map")]
    return network(nodes, {"w": kernel(4, 3, 1)}, {"image": MAP}, {"map": ("batch", 4, 16, 16)})


def without_conv() -> onnx.ModelProto:
    return network([helper.make_node("Relu", ["image"], ["map"])], {}, {"image": MAP}, {"map": MAP})


def broken_weights(value: float) -> onnx.ModelProto:
    """``head.last`` holds a NaN or an infinity."""
    weight = kernel(8, 16, seed=1)
    weight[3, 5, 1, 1] = value
    return plain(w2=weight)


def unknown_operator() -> onnx.ModelProto:
    """Nothing in it can be run."""
    nodes = [helper.make_node("Whirl", ["image"], ["a"], domain="acme.example"), conv("a", "w", "map")]
    opsets = {"": 17, "acme.example": 1}
    return network(nodes, {"w": kernel(4, 3)}, {"image": MAP}, {"map": (None,) * 4}, opsets=opsets)


def fails_at_run_time() -> onnx.ModelProto:
    """Loads; but no image of symbolic size has as many values as its Reshape wants."""
    nodes = [conv("image", "w", "a", pads=[1] * 4), helper.make_node("Reshape", ["a", "shape"], ["map"])]
    constants = {"w": kernel(4, 3), "shape": np.array([7, 11, 13], np.int64)}
    return network(nodes, constants, {"image": ("batch", 3, "h", "w")}, {"map": (7, 11, 13)})


def two_inputs() -> onnx.ModelProto:
    """A map and a factor."""
    nodes = [conv("image", "w", "a", pads=[2] * 4), helper.make_node("Mul", ["a", "gain"], ["map"])]
    inputs: dict[str, Shape] = {"image": MAP, "gain": ("batch", 1, 1, 1)}
    weights = {"w": kernel(16, 3, 5, separable=True)}
    return network(nodes, weights, inputs, {"map": ("batch", 16, 16, 16)})


def of_whole_numbers() -> onnx.ModelProto:
    """Takes uint8 pixels."""
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        conv("x", "w", "map", pads=[2] * 4),
    ]
    weights = {"w": kernel(16, 3, 5, separable=True)}
    return network(nodes, weights, {"image": MAP}, {"map": ("batch", 16, 16, 16)}, kind=TensorProto.UINT8)


def small_map() -> onnx.ModelProto:
    """A 9×9 kernel over a padded 4×4 map."""
    nodes = [conv("image", "w", "map", pads=[4] * 4)]
    weights = {"w": kernel(16, 3, 9, separable=True)}
    return network(nodes, weights, {"image": ("batch", 3, 4, 4)}, {"map": ("batch", 16, 4, 4)})


def vanishing_map() -> onnx.ModelProto:
    """An unpadded 9×9 kernel over a map whose size the data decide."""
    nodes = [conv("image", "w", "map")]
    weights = {"w": kernel(16, 3, 9, separable=True)}
    sizes: Shape = ("batch", 3, "h", "w")
    return network(nodes, weights, {"image": sizes}, {"map": ("batch", 16, None, None)})


def images(count: int = 4, size: int = 16, seed: int = 0) -> np.ndarray:
    """``(count, 3, size, size)`` float32."""
    return np.random.default_rng(seed).random((count, 3, size, size), np.float32)
