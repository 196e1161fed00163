"""How the time of looking at a network grows with its layers and with their channels.

    python benchmarks/scaling.py [--layers N]... [--channels N]... [--output F]

``sepfactor inspect`` of chains of small convolutions with random weights (4 channels, 8²), and of two
convolutions of many channels behind a first one (8²), each in a process of its own. Seconds are what
processors worked for it at one thread, so that other programs change little; an exponent is the slope between
one size and the next in a plot of logarithms.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import DEVNULL, Popen

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tables import Table, document

from sepfactor.measure import OnnxRuntime

LAYERS, CHANNELS = (625, 1250, 2500, 5000), (128, 256, 512, 1024)

NOTES = (
    "`sepfactor inspect` on made-up images, CPU seconds of all threads at one BLAS thread, start of the "
    "program included. An exponent of 1 is proportional. Of a kernel between C channels, decompositions are "
    "cubic in C.",
)


def chain(layers: int, channels: int) -> onnx.ModelProto:
    """3×3 convolutions in a row, each with weights of its own."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    for number in range(layers):
        ins = channels if number else 3
        kernel = rng.standard_normal((channels, ins, 3, 3)).astype(np.float32) * (1 / (9 * ins)) ** 0.5
        weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"w{number}"))
        x, y = f"y{number - 1}" if number else "image", f"y{number}"
        nodes.append(helper.make_node("Conv", [x, f"w{number}"], [y], name=f"c{number}", pads=[1] * 4))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info(f"y{layers - 1}", TensorProto.FLOAT, None)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def seconds(model: onnx.ModelProto, folder: Path) -> float:
    """CPU seconds of inspecting it."""
    onnx.save(model, folder / "model.onnx")
    command = [sys.executable, "-m", "sepfactor", "inspect", str(folder / "model.onnx"), "-q"]
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    variables = os.environ | one | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    child = Popen(command, env=variables, stdout=DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {child.returncode}")
    return used.ru_utime + used.ru_stime


def grown(what: str, sizes: Sequence[int], folder: Path) -> Table:
    """One row a size."""
    rows, before = [], None
    for size in sizes:
        model = chain(size, 4) if what == "layers" else chain(3, size)
        took = seconds(model, folder)
        exponent = "" if before is None else f"{math.log(took / before[1]) / math.log(size / before[0]):.2f}"
        rows.append((str(size), f"{took:.1f}", exponent))
        print(what, *rows[-1], sep="  ", flush=True)
        before = (size, took)
    return Table(f"By {what}", (what, "CPU s", "exponent"), tuple(rows))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--layers", action="append", type=int, help="sizes of the first table")
    parser.add_argument("--channels", action="append", type=int, help="sizes of the second table")
    parser.add_argument("--output", type=Path, help="write Markdown to this file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        tables = [
            grown("layers", asked.layers or LAYERS, Path(scratch)),
            grown("channels", asked.channels or CHANNELS, Path(scratch)),
        ]
    if asked.output:
        asked.output.write_text(document("Growth", OnnxRuntime(), tables, NOTES), encoding="utf-8")
    for table in tables:
        table.show()


if __name__ == "__main__":
    main()
