"""``apply`` writes the same bytes on any number of cores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests import networks

_LIMITS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

_PINNED = """
import os, sys
core, *arguments = sys.argv[1:]
if core:
    os.sched_setaffinity(0, [int(core)])
from sepfactor.cli import main
main(arguments)
"""


def _run(folder: Path, core: str, threads: dict[str, str], *arguments: str) -> None:
    free = {name: value for name, value in os.environ.items() if name not in _LIMITS}
    command = [sys.executable, "-c", _PINNED, core, *arguments, "--quiet"]
    done = subprocess.run(
        command, cwd=folder, env=free | threads, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 4), done.stderr


def _network() -> onnx.ModelProto:
    """Three layers that read each other: what rounding does to the first is seen by the others."""
    nodes, constants, name, width = [], {}, "image", 3
    for number in range(3):
        answer = "map" if number == 2 else f"sum{number}"
        constants[f"w{number}"] = networks.kernel(16, width, 3, seed=number)
        nodes.append(networks.conv(name, f"w{number}", answer, pads=[1] * 4))
        if number < 2:
            nodes.append(helper.make_node("Relu", [answer], [f"relu{number}"]))
        name, width = f"relu{number}", 16
    return networks.network(nodes, constants, {"image": ("batch", 3, 12, 12)}, {"map": ("batch", 16, 12, 12)})


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="processes cannot be pinned here")
def test_on_any_number_of_cores(tmp_path: Path) -> None:
    onnx.save(_network(), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", image=networks.images(6, 12))
    asked = ("--data", "d.npz", "--scheme", "spatial", "--rank", "4", "--output", "p.json")
    _run(tmp_path, "", {}, "plan", "m.onnx", *asked)
    core = str(min(os.sched_getaffinity(0)))
    written = set()
    for number, (pinned, threads) in enumerate([("", {}), (core, {}), ("", dict.fromkeys(_LIMITS, "1"))]):
        name = f"o{number}.onnx"
        _run(tmp_path, pinned, threads, "apply", "m.onnx", "p.json", "--bench-seconds", "0", "--output", name)
        written.add((tmp_path / name).read_bytes())
    assert len(written) == 1
