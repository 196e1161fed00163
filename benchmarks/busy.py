"""Plans made on a busy machine beside those made on a quiet one.

    python benchmarks/busy.py [--network NAME …] [--loops N …] [--output F]

Each network is compressed as it is and with endless loops in processes beside it, every time without layer
times remembered. When all is quiet again, all results of a network are timed in turns against the original,
and judged on data that nothing was fitted to. Start it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import csv
import functools
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from photographs import BGR_MEAN
from PIL import Image
from tables import RESULTS, Table, document
from traces import busy

import sepfactor
from sepfactor.measure import OnnxRuntime, machine_load
from sepfactor.results import Ratio

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
_PHOTOGRAPHS = SHARED / "data" / "imagenet1000"
_SECONDS = 20.0
"""All results of one network are timed for so long, for each of them."""

NOTES = (
    "`loops` is how many endless loops ran beside `sepfactor.compress`, one thread for onnxruntime. "
    "`reported` is what it said of its result, `quiet` the same file timed afterwards in turns with all "
    "others, without any loop; both with a 95 % interval. `lost` is on data that nothing was fitted to: "
    "points of top-1, or the distance to the original's answers.",
)

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Data:
    """Inputs by name, and the classes that are right where there are any."""

    inputs: Arrays
    labels: np.ndarray | None = None

    def options(self, folder: Path, name: str) -> dict[str, Any]:
        """The same as options, in files of this name."""
        np.savez(folder / f"{name}.npz", **self.inputs)
        if self.labels is None:
            return {"data": folder / f"{name}.npz"}
        np.save(folder / f"{name}_labels.npy", self.labels)
        return {"data": folder / f"{name}.npz", "labels": folder / f"{name}_labels.npy"}


@dataclass(frozen=True)
class Subject:
    """A network and what is asked of it.

    Attributes:
        file: the network. asked: the budget, as options.
        fitted, unseen: what it is fitted to, and what the results are judged on.
    """

    file: Path
    asked: Mapping[str, Any]
    fitted: Callable[[], Data]
    unseen: Callable[[], Data]


def _spread(part: str, count: int) -> list[Path]:
    """Photographs evenly spaced over the folder, for its files are sorted by class."""
    paths = sorted((_PHOTOGRAPHS / part).iterdir())
    return [paths[i * len(paths) // count] for i in range(count)]


def photographs(part: str, count: int) -> Data:
    """As SqueezeNet takes them, ``data_0: (count, 3, 224, 224)``, and their classes."""
    paths = _spread(part, count)
    with (_PHOTOGRAPHS / "labels.csv").open(newline="") as file:
        label_of = {row["filename"]: int(row["label"]) for row in csv.DictReader(file)}
    pictures = [Image.open(path).convert("RGB").crop((16, 16, 240, 240)) for path in paths]
    bgr = [np.asarray(picture, np.float32)[:, :, ::-1] - np.float32(BGR_MEAN) for picture in pictures]
    labels = [label_of[f"{path.parent.name}/{path.name}"] for path in paths]
    return Data({"data_0": np.stack(bgr).transpose(0, 3, 1, 2)}, np.array(labels))


def luma(part: str, count: int) -> Data:
    """As ESPCN takes them, ``input: (count, 1, 224, 224)``."""
    pictures = [Image.open(path).convert("YCbCr").getchannel(0) for path in _spread(part, count)]
    small = [np.asarray(picture.resize((224, 224)), np.float32) / 255 for picture in pictures]
    return Data({"input": np.stack(small)[:, None]})


def cifar(file: str, count: int) -> Data:
    """As ResNet-20 takes them, ``input: (count, 3, 32, 32)``, and their classes."""
    with np.load(SHARED / "data" / file) as arrays:
        pixels, labels = arrays["x"][:count].astype(np.float32) / 255, arrays["y"][:count].astype(np.int64)
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return Data({"input": np.ascontiguousarray(((pixels - mean) / std).transpose(0, 3, 1, 2))}, labels)


def archive(file: Path) -> Data:
    """The luma of an archive in ``models/``."""
    with np.load(file) as arrays:
        return Data({"luma": arrays["luma"]})


SUBJECTS = {
    "SqueezeNet 1.1": Subject(
        SHARED / "models" / "squeezenet11_imagenet_fp32.onnx",
        {"speedup": 1.45},
        functools.partial(photographs, "calibration", 100),
        functools.partial(photographs, "evaluation", 400),
    ),
    "ESPCN": Subject(
        SHARED / "models" / "espcn_super_resolution_10.onnx",
        {"speedup": 2.0},
        functools.partial(luma, "calibration", 25),
        functools.partial(luma, "evaluation", 50),
    ),
    "ResNet-20": Subject(
        SHARED / "models" / "cifar10_resnet20_akamaster.onnx",
        {"speedup": 1.5},
        functools.partial(cifar, "cifar10_calibration_1000.npz", 1000),
        functools.partial(cifar, "cifar10_test_5000.npz", 5000),
    ),
    "upscale2x": Subject(
        ROOT / "models" / "upscale2x.onnx",
        {"min_snr": 35.0},
        functools.partial(archive, ROOT / "models" / "upscale2x_calibration.npz"),
        functools.partial(archive, ROOT / "models" / "upscale2x_evaluation.npz"),
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What came of one run beside so many loops: the file, what was said of it, and how long it took."""

    loops: int
    file: Path
    said: Ratio
    verdict: str
    seconds: float


def compress(subject: Subject, fitted: Mapping[str, Any], loops: int, folder: Path) -> Outcome:
    """One run, timed, beside so many endless loops."""
    file = folder / f"beside_{loops}.onnx"
    begin = time.perf_counter()
    with busy(loops):
        found = sepfactor.compress(
            subject.file, file, cache=False, force=True, threads=1, **subject.asked, **fitted
        )
    seconds = time.perf_counter() - begin
    report = found.report
    if report.speed is None or not file.exists():
        raise SystemExit(f"Nothing was made of {subject.file.name} beside {loops} loops: {report.headline}")
    verdict = report.budget.verdict.text if report.budget is not None else ""
    return Outcome(loops, file, report.speed, verdict, seconds)


def lost(original: Path, result: Path, unseen: Mapping[str, Any]) -> str:
    """What the result loses on data that nothing was fitted to."""
    output = sepfactor.compare(original, result, **unseen).accuracy.outputs[0]
    if output.top1 is not None:
        return f"{100 * output.top1.drop:.1f} points"
    return f"{output.snr_db:.1f} dB"


def interval(found: Ratio) -> str:
    """Such as ``1.84× (1.81–1.88)``."""
    return f"{found.ratio:.2f}× ({found.low:.2f}–{found.high:.2f})"


def rows_of(name: str, subject: Subject, all_loops: Sequence[int], folder: Path) -> list[tuple[str, ...]]:
    """One row for every number of loops."""
    fitted, unseen = subject.fitted().options(folder, "fitted"), subject.unseen().options(folder, "unseen")
    outcomes = [compress(subject, fitted, loops, folder) for loops in all_loops]
    data = {"data": unseen["data"], "limit": 1}
    files = [outcome.file for outcome in outcomes]
    timed = sepfactor.bench([subject.file, *files], bench_seconds=_SECONDS * len(files), **data)
    rows = []
    for outcome, row in zip(outcomes, timed.rows[1:], strict=True):
        quiet = row.speedup
        assert quiet is not None
        holds = outcome.said.low <= quiet.ratio <= outcome.said.high
        shown = (
            *(name, str(outcome.loops), interval(outcome.said), interval(quiet), "yes" if holds else "no"),
            *(lost(subject.file, outcome.file, unseen), outcome.verdict, f"{outcome.seconds:.0f}"),
        )
        print(*shown, sep="  ", flush=True)
        rows.append(shown)
    return rows


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--network", action="append", choices=SUBJECTS, help="only this one")
    parser.add_argument("--loops", type=int, nargs="+", default=[0, 2, 4, 8], help="beside each run")
    parser.add_argument(
        "--output", type=Path, default=RESULTS / "busy.md", help="write Markdown to this file"
    )
    asked = parser.parse_args()
    engine = OnnxRuntime(threads=1)
    if (warning := machine_load().warning(engine.clock)) is not None:
        print(f"{warning} What is called quiet below is not.", file=sys.stderr)
    rows: list[tuple[str, ...]] = []
    for name in asked.network or SUBJECTS:
        with tempfile.TemporaryDirectory() as scratch:
            rows += rows_of(name, SUBJECTS[name], asked.loops, Path(scratch))
    columns = ("network", "loops", "reported", "quiet", "covered", "lost", "budget", "seconds")
    table = Table("Busy and quiet", columns, tuple(rows))
    asked.output.write_text(document("Plans of a busy machine", engine, [table], NOTES), encoding="utf-8")
    table.show()


if __name__ == "__main__":
    main()
