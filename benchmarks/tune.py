"""What tuning without labels gives back, at the same speed.

    python benchmarks/tune.py [--network NAME]... [--speedup X]... [--tune SECONDS]... [--images N] [--seed N]

Each network is compressed to each speed, and the plan that comes of it is applied again with ``--tune``: the
same schemes and ranks, fitted to the same images, and tuned on those. The written files are judged on images
that decided nothing, and timed in turns with the original by the processor's clock. Rows are kept in
``results/tune.json``, from which the table is made.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from eight_bits import NETWORKS
from networks import Task
from rows import Rows, judged_and_timed, keep, kept_rows

import sepfactor
from sepfactor.plans.document import Plan

NOTES = (
    "`python benchmarks/tune.py`. Plans are of `--speedup`; *tuned* is `apply --tune` of the same plan, in "
    "seconds of one core. Judged on inputs that decided nothing, ± the standard error of the paired "
    "difference; timed in turns with the original, by the processor's work, with a 95 % interval.",
)
COLUMNS = (
    "network, inputs",
    "tuned for",
    "original",
    "result",
    "difference",
    "faster than the file",
    "tuning",
)


def results(
    task: Task, speedup: float, tunings: list[float], seed: int, folder: Path
) -> Iterator[tuple[str, Path, str]]:
    """For how long a plan was tuned, the file, and what the report says of that."""
    feeds: list[Any] = list(task.calibrate())
    asked: dict[str, Any] = {"data": feeds, "seed": seed, "pictures": False, "bench_seconds": 2.0}
    first = folder / "plain.onnx"
    plan: Plan = sepfactor.compress(task.file, first, speedup=speedup, force=True, **asked).plan
    yield "–", first, ""
    for seconds in tunings:
        path = folder / f"{seconds:g}.onnx"
        found = sepfactor.apply(task.file, plan, path, tune=seconds, **asked)
        told = found.report.tuning
        yield f"{seconds:g} s", path, "" if told is None else told.line


def measured(
    name: str, speedup: float, tunings: list[float], images: int | None, seed: int, seconds: float
) -> Rows:
    """Rows of the table."""
    task = NETWORKS[name][0]()
    feeds = list(task.calibrate())
    if images is not None:
        feeds = [feeds[i * len(feeds) // images] for i in range(images)]
        task = replace(task, calibrate=lambda: feeds)
    with tempfile.TemporaryDirectory() as place:
        about = f"{name}, {len(feeds)} inputs, seed {seed}, `--speedup {speedup:g}`"
        return judged_and_timed(task, about, [*results(task, speedup, tunings, seed, Path(place))], seconds)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--network", action="append", choices=NETWORKS, help="only this one")
    parser.add_argument("--speedup", action="append", type=float, help="1.45, 1.8 and 2.2")
    parser.add_argument("--tune", action="append", type=float, help="seconds; 30, 120 and 600")
    parser.add_argument("--images", type=int, help="to calibrate on; else all")
    parser.add_argument("--seed", type=int, default=0, help="of planning and tuning")
    parser.add_argument("--seconds", type=float, default=4.0, help="of timing, per file")
    asked = parser.parse_args()
    rows = kept_rows("tune")
    tunings = asked.tune or [30.0, 120.0, 600.0]
    for name in asked.network or NETWORKS:
        for speedup in asked.speedup or (1.45, 1.8, 2.2):
            key = f"{name} {speedup:g} {asked.images} {asked.seed}"
            rows[key] = measured(name, speedup, tunings, asked.images, asked.seed, asked.seconds)
            keep("tune", rows, "Tuning without labels", "At a speed", COLUMNS, NOTES)


if __name__ == "__main__":
    main()
