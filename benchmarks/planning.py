"""How long it takes to choose, build and measure a network, and how much memory it takes.

    python benchmarks/planning.py [--network NAME]... [--code FOLDER] [--output F]

The network of the README; SqueezeNet 1.1 as published; and a network of the size of ResNet-50 with random
weights: what is chosen for it means nothing, the work is the same. Each is ``sepfactor compress`` as typed,
in a process of its own, with an empty cache of layer times. ``--code`` runs that of another checkout, to
compare with.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from child import compress
from networks import FITTING, TASKS, squeezenet_labels
from onnx import TensorProto, helper, numpy_helper
from tables import Table, document

LIMITS = {"upscale2x": 60, "squeezenet": 180, "resnet-50": 600}
"""Seconds it should take on two cores that do nothing else."""

_MODELS = Path(__file__).resolve().parents[1] / "models"

NOTES = (
    "`sepfactor compress --max-drop 1%` with 100 labelled photographs, upscale2x by default with its own "
    "data; one thread for onnxruntime, no layer times remembered. *CPU s* is what processors worked for it, "
    "all threads together. Peak memory is of the process, onnxruntime and the images included.",
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


def upscale2x(_: Path) -> tuple[Path, list[str]]:
    """The network of the README, and its data."""
    data = ("--data", str(_MODELS / "upscale2x_calibration.npz"))
    return _MODELS / "upscale2x.onnx", [*data, "--eval-data", str(_MODELS / "upscale2x_evaluation.npz")]


def squeezenet(folder: Path) -> tuple[Path, list[str]]:
    """With 100 labelled photographs."""
    return TASKS["squeezenet"].file, _photographs("data_0", 1.0, folder)


def random_resnet50(folder: Path) -> tuple[Path, list[str]]:
    """With the same photographs."""
    path = folder / "resnet50.onnx"
    onnx.save(resnet50(), path)
    return path, _photographs("data", 1 / 64, folder)


NETWORKS = {"upscale2x": upscale2x, "squeezenet": squeezenet, "resnet-50": random_resnet50}
"""Name → what makes the network in a folder, and says how it is compressed."""


def _photographs(name: str, scale: float, folder: Path) -> list[str]:
    images = np.concatenate([next(iter(feed.values())) for feed in TASKS["squeezenet"].feeds])
    np.savez(folder / "images.npz", **{name: images * np.float32(scale)})
    np.save(folder / "labels.npy", squeezenet_labels())
    data = ["--data", str(folder / "images.npz"), "--labels", str(folder / "labels.npy")]
    return [*data, "--max-drop", "1%"]


def measure(name: str, folder: Path, code: Path | None) -> tuple[str, ...]:
    """One row."""
    model, arguments = NETWORKS[name](folder)
    typed = [*arguments, "--threads", "1"]
    run = compress(model, typed, folder / "result.onnx", cache=folder / "cache", code=code)
    ratio = (run.report.get("speed") or {}).get("ratio")
    row = (
        f"{run.cpu_seconds:.1f}",
        f"{run.seconds:.0f} (of {LIMITS[name]})",
        f"{run.peak_gib:.1f} GiB",
        f"{ratio:.2f}×" if ratio else "",
        str(run.exit_code),
    )
    print(name, *row, sep="  ", flush=True)
    return (name, *row)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--network", action="append", choices=NETWORKS, help="only this one")
    parser.add_argument("--code", type=Path, help="checkout of another version to run")
    parser.add_argument("--output", type=Path, help="write Markdown to this file")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.network or NETWORKS:
        with tempfile.TemporaryDirectory() as scratch:
            rows.append(measure(name, Path(scratch), arguments.code))
    columns = ("network", "CPU s", "seconds", "peak memory", "faster than the file", "exit code")
    table = Table("Planning", columns, tuple(rows))
    if arguments.output:
        arguments.output.write_text(document("Planning", FITTING, [table], NOTES), encoding="utf-8")
    table.show()


if __name__ == "__main__":
    main()
