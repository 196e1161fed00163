"""--memory is kept: each run in a process of its own, by what the system says of its height."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests import networks

BESIDE = 400e6
"""Bytes beside what is stated and the model: the interpreter, the libraries, and onnxruntime's own."""

CHILD = """
import hashlib, json, sys
import onnx_ir, sepfactor
model, options = sys.argv[1], json.loads(sys.argv[2])
result = sepfactor.compress(model, **options)
kept = result.report.memory
print(json.dumps({
    "peak": 1024 * int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]),
    "said": kept.peak, "allowed": kept.allowed, "put_away": kept.put_away,
    "model": hashlib.sha256(onnx_ir.to_proto(result.model).SerializeToString()).hexdigest(),
    "plan": [[layer.scheme, list(layer.rank)] for layer in result.plan.layers],
}))
"""


def chain(count: int, channels: int, size: int) -> onnx.ModelProto:
    """Convolutions in a row."""
    nodes, weights = [], {"w0": networks.kernel(channels, 3), "w": networks.kernel(channels, channels)}
    for i in range(count):
        x, y = f"y{i - 1}" if i else "image", f"y{i}" if i < count - 1 else "map"
        nodes.append(networks.conv(x, "w" if i else "w0", y, name=f"c{i}", pads=[1] * 4))
    shapes = {"image": ("batch", 3, size, size)}, {"map": ("batch", channels, size, size)}
    return networks.network(nodes, weights, *shapes)


def upscaler(factor: int) -> onnx.ModelProto:
    """Two convolutions, and the picture so many times as large."""
    outs = 3 * factor**2
    weights = {"w0": networks.kernel(16, 3), "w1": networks.kernel(16, 16), "w2": networks.kernel(outs, 16)}
    nodes = [networks.conv("image", "w0", "a", pads=[1] * 4), networks.conv("a", "w1", "b", pads=[1] * 4)]
    nodes += [networks.conv("b", "w2", "c", pads=[1] * 4)]
    nodes += [helper.make_node("DepthToSpace", ["c"], ["map"], blocksize=factor)]
    shapes = {"image": ("batch", 3, "h", "w")}, {"map": ("batch", 3, "H", "W")}
    return networks.network(nodes, weights, *shapes)


def child(folder: Path, model: onnx.ModelProto, images: np.ndarray, **options: Any) -> dict[str, Any]:
    onnx.save(model, folder / "model.onnx")
    np.savez(folder / "images.npz", image=images)
    asked = {"data": str(folder / "images.npz"), "bench_seconds": 0, "cache": False, **options}
    command = [sys.executable, "-c", CHILD, str(folder / "model.onnx"), json.dumps(asked)]
    variables = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    found["size"] = (folder / "model.onnx").stat().st_size
    return found


ONE_SCHEME = {"scheme": ["spatial-vertical"], "rank": 16}

CASES = {
    # Patches and inputs of all layers at once were 1.9 GB.
    "many-layers": (lambda: chain(100, 64, 32), (4, 32), {**ONE_SCHEME, "refit": False, "memory": "50MB"}),
    # What all layers read in three runs is 0.6 GB, with both networks.
    "large-maps": (lambda: chain(12, 32, 256), (3, 256), {**ONE_SCHEME, "memory": "64MB"}),
    # The original's answers to all images judged on are 0.5 GB.
    "large-answers": (
        lambda: upscaler(8),
        (240, 48),
        {
            "max_macs": "70%",
            "memory": "100MB",
            "scheme": ["spatial-vertical"],
            "held_out": 0.95,
            "refit": False,
        },
    ),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems count memory otherwise")
@pytest.mark.parametrize("case", CASES)
def test_the_height_is_what_is_stated_and_the_model_and_a_little(case: str, tmp_path: Path) -> None:
    model, (count, size), options = CASES[case]
    found = child(tmp_path, model(), networks.images(count, size), **options)
    assert found["peak"] <= found["allowed"] + found["size"] + BESIDE
    assert found["said"] <= found["peak"] <= 1.1 * found["said"]
    assert found["put_away"] > 0, "the case is too small to tell anything"


def test_what_is_put_away_changes_no_bit(tmp_path: Path) -> None:
    options = {"scheme": ["spatial"], "rank": 8}
    model, images = chain(4, 16, 64), networks.images(6, 64)
    little, much = (child(tmp_path, model, images, memory=m, **options) for m in ("4MB", "2GB"))
    assert little["put_away"] > 0 == much["put_away"]
    assert little["plan"] == much["plan"]
    assert little["model"] == much["model"]
