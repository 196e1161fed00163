"""How long it takes to choose, build and measure a network, and how much memory it takes.

    python benchmarks/planning.py [--output F]

SqueezeNet 1.1 as published, and a network of the size of ResNet-50 with random weights: what is chosen
for it means nothing, the work is the same. Each is ``sepfactor compress`` as typed, in a process of its
own, with an empty cache of layer times.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from networks import FITTING, TASKS, squeezenet_labels
from onnx import TensorProto, helper, numpy_helper
from tables import Table, document

LIMITS = {"squeezenet": 180, "resnet-50": 600}
"""Seconds it should take on two cores."""

NOTES = (
    "`sepfactor compress --max-drop 1%` with 100 labelled photographs, one thread for onnxruntime, no "
    "layer times remembered. Peak memory is of the process, onnxruntime and the images included.",
)


class Net:
    """A convolutional network under construction, weights drawn so that maps keep their size."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def add(self, op: str, *inputs: str, **attributes: object) -> str:
        """The name of what the node writes."""
        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def weight(self, *shape: int, scale: float = 1.0) -> str:
        """A constant."""
        array = self._rng.standard_normal(shape).astype(np.float32)
        array *= scale * (2 / np.prod(shape[1:])) ** 0.5
        self._weights.append(numpy_helper.from_array(array, f"w{len(self._weights)}"))
        return self._weights[-1].name

    def conv(
        self, x: str, ins: int, outs: int, kernel: int, stride: int = 1, scale: float = 1.0, relu: bool = True
    ) -> str:
        """A convolution that keeps the size but for its stride."""
        pads = [kernel // 2] * 4
        weight = self.weight(outs, ins, kernel, kernel, scale=scale)
        y = self.add("Conv", x, weight, pads=pads, strides=[stride] * 2, kernel_shape=[kernel] * 2)
        return self.add("Relu", y) if relu else y

    def model(self, output: str) -> onnx.ModelProto:
        """Of input ``data`` (1, 3, 224, 224)."""
        graph = helper.make_graph(
            self._nodes,
            "random",
            [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 224, 224])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, 1000])],
            self._weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def resnet50() -> onnx.ModelProto:
    """He et al. 2016 (arXiv 1512.03385), table 1, 50 layers; normalisations folded away."""
    net = Net()
    x = net.conv("data", 3, 64, 7, 2)
    x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    ins = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            step = stride if block == 0 else 1
            y = net.conv(x, ins, width, 1)
            y = net.conv(y, width, width, 3, step)
            y = net.conv(y, width, 4 * width, 1, scale=0.3, relu=False)
            short = x if block else net.conv(x, ins, 4 * width, 1, step, relu=False)
            x = net.add("Relu", net.add("Add", y, short))
            ins = 4 * width
    pooled = net.add("Flatten", net.add("GlobalAveragePool", x))
    return net.model(net.add("Gemm", pooled, net.weight(1000, ins), transB=1))


def measure(name: str, model: Path, folder: Path) -> tuple[str, ...]:
    """One row."""
    feeds = TASKS["squeezenet"].feeds
    images = np.concatenate([next(iter(feed.values())) for feed in feeds])
    (argument,) = feeds[0] if name == "squeezenet" else ["data"]
    np.save(folder / "labels.npy", squeezenet_labels())
    np.savez(folder / "images.npz", **{argument: images / (1 if name == "squeezenet" else 64)})
    report = folder / "report.json"
    command = [
        *(sys.executable, "-m", "sepfactor", "compress", str(model), "--data", str(folder / "images.npz")),
        *("--labels", str(folder / "labels.npy"), "--max-drop", "1%", "--threads", "1"),
        *("--json", str(report), "-o", str(folder / "result.onnx")),
    ]
    begin = time.perf_counter()
    cache = {"SEPFACTOR_CACHE": str(folder / "cache")}
    done = subprocess.run(command, env=os.environ | cache, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode not in (0, 3):
        raise SystemExit(done.stderr)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    found = json.loads(report.read_text(encoding="utf-8"))
    speed = found["speed"]["speedup"]["speedup"] if found.get("speed") else float("nan")
    row = f"{seconds:.0f} (of {LIMITS[name]})", f"{peak:.1f} GiB", f"{speed:.2f}×", str(done.returncode)
    print(name, *row, sep="  ", flush=True)
    return (name, *row)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--network", action="append", choices=LIMITS, help="only this one")
    parser.add_argument("--output", type=Path, help="write Markdown to this file")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.network or LIMITS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            path = TASKS["squeezenet"].file
            if name == "resnet-50":
                path = folder / "resnet50.onnx"
                onnx.save(resnet50(), path)
            rows.append(measure(name, path, folder))
    columns = ("network", "seconds", "peak memory", "faster than the file", "exit code")
    table = Table("Planning", columns, tuple(rows))
    if arguments.output:
        arguments.output.write_text(document("Planning", FITTING, [table], NOTES), encoding="utf-8")
    table.show()


if __name__ == "__main__":
    main()
