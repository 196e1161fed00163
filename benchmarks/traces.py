"""Record how times scatter from run to run, to test intervals on (tests/measure/traces/).

    python -m benchmarks.traces NAME [--busy N] [--threads T] [--seconds S]

Three networks run in turns, two of them the same, so that one ratio is known to be 1; beside them, N endless
loops in processes of their own. They are opened anew again and again. What is kept of every run is the time
that passed and the time the processor worked, microseconds, and whether it was disturbed:
``(networks, rounds)`` each, and by round the number of the opening.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sepfactor.measure import OnnxRuntime, open_and_time

TRACES = Path(__file__).resolve().parents[1] / "tests" / "measure" / "traces"
_LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n for _ in range(10**6): pass"
"""Ends when whoever started it is gone, however that came about."""

_SHAPE = (1, 32, 56, 56)


@contextlib.contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many endless loops beside what is done meanwhile."""
    running = [subprocess.Popen([sys.executable, "-c", _LOOP]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def network(channels: int, depth: int) -> bytes:
    """A row of 3×3 convolutions and ReLUs, ``channels`` wide, weights drawn at random."""
    rng = np.random.default_rng(0)
    nodes, weights, last, ins = [], [], "x", _SHAPE[1]
    for number in range(depth):
        weight = 0.05 * rng.standard_normal((channels, ins, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{number}"))
        nodes.append(helper.make_node("Conv", [last, f"w{number}"], [f"c{number}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
        last, ins = f"r{number}", channels
    graph = helper.make_graph(
        nodes,
        "row",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, _SHAPE)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, channels, *_SHAPE[2:]])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("name", help="of the trace")
    parser.add_argument("--busy", type=int, default=0, help="endless loops beside it")
    parser.add_argument("--openings", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    asked = parser.parse_args()
    large, small = network(64, 3), network(32, 2)
    feed = {"x": np.random.default_rng(1).standard_normal(_SHAPE).astype(np.float32)}
    with busy(asked.busy):
        rounds = open_and_time(
            OnnxRuntime(asked.threads),
            [("large", large), ("large again", large), ("small", small)],
            [feed],
            seconds=asked.seconds,
            precision=None,
            openings=asked.openings,
        )
    TRACES.mkdir(exist_ok=True)
    times = {"wall": rounds.wall} | ({} if rounds.cpu is None else {"cpu": rounds.cpu})
    np.savez_compressed(
        TRACES / f"{asked.name}.npz",
        disturbed=rounds.disturbed,
        openings=np.array(rounds.openings, np.uint8),
        **{name: np.rint(1e3 * ms).astype(np.uint32) for name, ms in times.items()},
    )
    for number, name in enumerate(("large", "large again", "small")):
        print(name, rounds.timing(number), rounds.ratio(number))


if __name__ == "__main__":
    main()
