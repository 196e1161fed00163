"""Eight bits chosen together with factors, beside onnxruntime's own static int8, and factors in float.

    python benchmarks/eight_bits.py [--network NAME]... [--seed N]... [--seconds S]

Each network is compressed to one budget in float and with ``--int8``, and quantised by onnxruntime with the
best of its settings (``int8.py``), all on the same calibration images. The written files are judged on images
that decided nothing, and timed in turns with the original by the processor's clock. Rows are kept in
``results/eight_bits.json``, from which the table is made.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from int8 import Quantizer
from networks import TASKS, Exam, Feed, Task
from photographs import centred, luma_pair, paths_of
from PIL import Image
from rows import Rows, judged_and_timed, keep, kept_rows

import sepfactor

_MODELS = Path(__file__).resolve().parents[1] / "models"

NOTES = (
    "`python benchmarks/eight_bits.py`. *onnxruntime int8* is its static quantisation in the best of twelve "
    "settings, chosen on held-out calibration inputs. The other two are `sepfactor compress` to the budget, "
    "without and with `--int8`. Judged on inputs that decided nothing, ± the standard error of the paired "
    "difference; timed in turns with the original and each other, by the processor's work, with a 95 % "
    "interval. The load, where it is given, is that of the machine when they were timed: it widens "
    "intervals. ResNet-20 was timed on a machine that was busy as well, how busy was not written down.",
)
COLUMNS = ("network, budget", "by", "original", "result", "difference", "faster than the file")
COLUMNS += ("in eight bits, factored",)


def _upscaler() -> Task:
    """The ×2 super-resolution that ships with the repository."""
    with np.load(_MODELS / "upscale2x_evaluation.npz") as arrays:
        seen, wanted = arrays["luma"], arrays["target"]
    with np.load(_MODELS / "upscale2x_calibration.npz") as arrays:
        fitted: list[Feed] = [{"luma": image[None]} for image in arrays["luma"]]

    def psnr(number: int, output: Any) -> list[float]:
        return [-10 * float(np.log10(np.mean(np.square(output[0] - wanted[number], dtype=np.float64))))]

    exam = Exam([{"luma": image[None]} for image in seen], psnr, {"luma": seen[:1]})
    return Task(
        "upscale2x",
        "upscale2x",
        "dB",
        _MODELS / "upscale2x.onnx",
        lambda _: None,
        lambda: fitted,
        lambda: exam,
    )


def _on(task: Task, feed: Callable[[Path], Feed], count: int) -> Task:
    """The same, fitted to so many photographs."""
    return replace(task, calibrate=lambda: [feed(path) for path in paths_of("calibration", count)])


def _luma(path: Path) -> Feed:
    return luma_pair(path, Image.Resampling.BICUBIC)[0]


NETWORKS: dict[str, tuple[Callable[[], Task], dict[str, Any]]] = {
    "squeezenet": (lambda: _on(TASKS["squeezenet"], centred, 300), {"max_estimated_drop": "1%"}),
    "resnet20": (lambda: TASKS["resnet20"], {"max_estimated_drop": "1%"}),
    "espcn": (lambda: _on(TASKS["espcn-32-16"], _luma, 50), {"min_psnr": 45.0}),
    "upscale2x": (_upscaler, {"min_snr": 35.0}),
}
"""Network → how it is fed and judged, and its budget."""


def results(task: Task, budget: dict[str, Any], seed: int, folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Who made a file, the file, and what it is made of."""
    feeds = list(task.calibrate())
    quantizer = Quantizer(task.file, feeds, folder)
    path = folder / "int8.onnx"
    ir.save(quantizer.quantize().model, path)
    yield "onnxruntime int8", path, ""
    for by, int8 in (("sepfactor", False), ("sepfactor --int8", True)):
        path = folder / f"{int8}.onnx"
        asked = {
            **budget,
            "int8": int8,
            "seed": seed,
            "pictures": False,
            "bench_seconds": 4.0,
            "cache": False,
        }
        plan = sepfactor.compress(task.file, path, data=feeds, force=True, **asked).plan
        int8_layers = sum(layer.is_int8 for layer in plan.layers)
        made = f"{int8_layers}, {plan.replaced} of {len(plan.layers)}"
        yield by, path if path.exists() else task.file, made


def measured(name: str, seed: int, seconds: float) -> Rows:
    """Rows of the table."""
    make, budget = NETWORKS[name]
    task = make()
    said = ", ".join(f"`--{key.replace('_', '-')} {value}`" for key, value in budget.items())
    with tempfile.TemporaryDirectory() as place:
        found = [*results(task, budget, seed, Path(place))]
        load = f"load {os.getloadavg()[0]:.0f}"
        about = f"{name}, {said}, {len(task.calibrate())} inputs, seed {seed}, {load}"
        return judged_and_timed(task, about, found, seconds)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--network", action="append", choices=NETWORKS, help="only this one")
    parser.add_argument("--seed", action="append", type=int, help="of planning; 0")
    parser.add_argument("--seconds", type=float, default=4.0, help="of timing, per file")
    arguments = parser.parse_args()
    rows = kept_rows("eight_bits")
    for name in arguments.network or NETWORKS:
        for seed in arguments.seed or (0,):
            rows[f"{name} {seed}"] = measured(name, seed, arguments.seconds)
            keep("eight_bits", rows, "Eight bits", "To a budget", COLUMNS, NOTES)


if __name__ == "__main__":
    main()
