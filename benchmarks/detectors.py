"""Detectors of the shapes of YOLOv5n and FastestDet, with weights at random.

What exact rewriting gains does not depend on them.

    python benchmarks/detectors.py yolov5n FILE.onnx
    python benchmarks/detectors.py fastestdet FILE.onnx

``results/detectors.md`` is what ``tidy.py --file`` makes of them, and of a YOLOv8n of 320 pixels, 320n.

The operators are those of torch's exporter, normalisation folded into the convolutions as it does.
YOLOv5n: https://github.com/ultralytics/yolov5, release 6. FastestDet: https://github.com/dog-qiuqiu/FastestDet.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPSET = 13


class Builder:
    """Nodes of a graph, values by name."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def node(self, op_type: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> Any:
        """A node; the name of what it answers, or names of several."""
        number = len(self._nodes)
        names = [f"v{number}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(op_type, inputs, names, f"{op_type}_{number}", **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, array: Any) -> str:
        """An initialiser."""
        name = f"c{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def conv(self, x: str, read: int, out: int, kernel: int = 1, stride: int = 1, group: int = 1) -> str:
        """A convolution with a bias, padded so that the size stays."""
        shape = (out, read // group, kernel, kernel)
        weight = self._rng.standard_normal(shape) * np.sqrt(1.6 / np.prod(shape[1:]))
        bias = self._rng.standard_normal(out) / 10
        inputs = [x, *(self.constant(array.astype(np.float32)) for array in (weight, bias))]
        pads = [(kernel - 1) // 2] * 4
        return str(
            self.node("Conv", inputs, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, group=group)
        )

    def silu(self, x: str) -> str:
        """x·σ(x)."""
        return str(self.node("Mul", [x, self.node("Sigmoid", [x])]))

    def model(self, size: int, output: str) -> onnx.ModelProto:
        """The graph, reading a picture."""
        shape = [1, 3, size, size]
        graph = helper.make_graph(
            self._nodes,
            "detector",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            self._weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


def yolov5n(size: int = 320) -> onnx.ModelProto:
    """YOLOv5n, its boxes decoded."""
    b = Builder()

    def cv(x: str, read: int, out: int, kernel: int = 1, stride: int = 1) -> str:
        return b.silu(b.conv(x, read, out, kernel, stride))

    def c3(x: str, read: int, out: int, times: int, shortcut: bool = True) -> str:
        half = out // 2
        way = cv(x, read, half)
        for _ in range(times):
            inner = cv(cv(way, half, half), half, half, 3)
            way = b.node("Add", [way, inner]) if shortcut else inner
        return cv(b.node("Concat", [way, cv(x, read, half)], axis=1), out, out)

    def up(x: str) -> str:
        scales = b.constant(np.float32([1, 1, 2, 2]))
        attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
        return str(b.node("Resize", [x, "", scales], nearest_mode="floor", **attributes))

    def cat(*values: str) -> str:
        return str(b.node("Concat", values, axis=1))

    first = b.silu(_six_by_six(b))
    p3 = c3(cv(c3(cv(first, 16, 32, 3, 2), 32, 32, 1), 32, 64, 3, 2), 64, 64, 2)
    p4 = c3(cv(p3, 64, 128, 3, 2), 128, 128, 3)
    x = c3(cv(p4, 128, 256, 3, 2), 256, 256, 1)
    pools = [cv(x, 256, 128)]
    for _ in range(3):
        pools.append(b.node("MaxPool", [pools[-1]], kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1]))
    x10 = cv(cv(cat(*pools), 512, 256), 256, 128)
    x14 = cv(c3(cat(up(x10), p4), 256, 128, 1, False), 128, 64)
    x17 = c3(cat(up(x14), p3), 128, 64, 1, False)
    x20 = c3(cat(cv(x17, 64, 64, 3, 2), x14), 128, 128, 1, False)
    x23 = c3(cat(cv(x20, 128, 128, 3, 2), x10), 256, 256, 1, False)
    rows = [
        _decoded(b, x, read, size // stride, stride)
        for x, read, stride in ((x17, 64, 8), (x20, 128, 16), (x23, 256, 32))
    ]
    return b.model(size, str(b.node("Concat", rows, axis=1)))


def _six_by_six(b: Builder) -> str:
    weight = b.constant((np.random.default_rng(1).standard_normal((16, 3, 6, 6)) / 8).astype(np.float32))
    bias = b.constant(np.zeros(16, np.float32))
    return str(b.node("Conv", ["images", weight, bias], kernel_shape=[6, 6], strides=[2, 2], pads=[2] * 4))


def _decoded(b: Builder, x: str, read: int, side: int, stride: int) -> str:
    """Boxes of three anchors at each place, of eighty classes."""
    apart = b.node("Reshape", [b.conv(x, read, 255), b.constant(np.array([1, 3, 85, side, side]))])
    scores = b.node("Sigmoid", [b.node("Transpose", [apart], perm=[0, 1, 3, 4, 2])])
    centre, extent, rest = b.node("Split", [scores, b.constant(np.array([2, 2, 81]))], 3, axis=4)
    ys, xs = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    grid = np.stack([xs, ys], -1).reshape(1, 1, side, side, 2).astype(np.float32)
    anchors = np.broadcast_to(
        np.float32([[10, 13], [16, 30], [33, 23]]).reshape(1, 3, 1, 1, 2), (1, 3, side, side, 2)
    )
    two, by = b.constant(np.float32(2)), b.constant(np.float32(stride))
    centre = b.node("Add", [b.node("Mul", [centre, two]), b.constant(grid - np.float32(0.5))])
    extent = b.node("Pow", [b.node("Mul", [extent, two]), two])
    boxes = [b.node("Mul", [centre, by]), b.node("Mul", [extent, b.constant(anchors)]), rest]
    whole = b.node("Concat", boxes, axis=4)
    return str(b.node("Reshape", [whole, b.constant(np.array([1, -1, 85]))]))


def fastestdet(size: int = 352) -> onnx.ModelProto:
    """FastestDet: ShuffleNetV2 with a head of depthwise convolutions."""
    b = Builder()

    def relu(x: str) -> str:
        return str(b.node("Relu", [x]))

    x = relu(b.conv("images", 3, 24, 3, 2))
    x = b.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    read, side, maps = 24, size // 4, []
    for out, times in ((48, 4), (96, 8), (192, 4)):
        side //= 2
        main = _main(b, x, read, out, 2)
        near = relu(b.conv(b.conv(x, read, read, 3, 2, read), read, read))
        x = b.node("Concat", [near, main], axis=1)
        for _ in range(times - 1):
            kept, other = _shuffled(b, x, out, side)
            x = b.node("Concat", [kept, _main(b, other, out // 2, out, 1)], axis=1)
        read = out
        maps.append(x)
    scales = b.constant(np.float32([1, 1, 2, 2]))
    far = b.node(
        "Resize",
        [maps[2], "", scales],
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )
    near = b.node("AveragePool", [maps[0]], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    x = relu(b.conv(b.node("Concat", [near, maps[1], far], axis=1), 336, 96))
    rows = []
    for times in (1, 2, 3):
        way = x
        for _ in range(times):
            way = relu(b.conv(way, 96, 96, 5, group=96))
        rows.append(way)
    x = relu(b.node("Add", [x, b.conv(b.node("Concat", rows, axis=1), 288, 96)]))
    x = relu(b.conv(x, 96, 96))
    heads = [b.conv(relu(b.conv(x, 96, 96, 5, group=96)), 96, out) for out in (1, 4, 80)]
    flat = b.node("Transpose", [heads[2]], perm=[0, 2, 3, 1])
    soft = b.node("Transpose", [b.node("Softmax", [flat], axis=3)], perm=[0, 3, 1, 2])
    found = [b.node("Sigmoid", [heads[0]]), heads[1], soft]
    return b.model(size, str(b.node("Concat", found, axis=1)))


def _main(b: Builder, x: str, read: int, out: int, stride: int) -> str:
    middle, left = out // 2, out - read
    inner = b.node("Relu", [b.conv(x, read, middle)])
    inner = b.conv(inner, middle, middle, 3, stride, middle)
    return str(b.node("Relu", [b.conv(inner, middle, left)]))


def _shuffled(b: Builder, x: str, count: int, side: int) -> tuple[str, str]:
    """Every second channel, and the others."""
    pairs = b.node("Reshape", [x, b.constant(np.array([count // 2, 2, side * side]))])
    turned = b.node("Transpose", [pairs], perm=[1, 0, 2])
    both = b.node("Reshape", [turned, b.constant(np.array([2, -1, count // 2, side, side]))])
    first, second = (b.node("Gather", [both, b.constant(np.array(i))], axis=0) for i in (0, 1))
    return first, second


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {"yolov5n": yolov5n, "fastestdet": fastestdet}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("file")
    arguments = parser.parse_args()
    onnx.save(NETWORKS[arguments.network](), arguments.file)


if __name__ == "__main__":
    main()
