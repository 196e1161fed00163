"""What comes of a budget: accuracy on images nobody calibrated on, speed, and what planning took.

    python benchmarks/budgets.py [--row N]... [--output F] [--keep FOLDER] [--code FOLDER]

Each row is ``sepfactor compress`` as typed, with one thread, in a process of its own. The file it wrote is
then judged, and timed in turns with the original. Rows of the same network share the layer times that the
first of them measures. ``--code`` runs the command of another checkout, to compare with.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from child import Run, compress
from networks import FITTING, TASKS, TIMING, Task, squeezenet_labels
from tables import Table, change, document, score

from sepfactor.measure import open_and_time

NOTES = (
    "Each row is `sepfactor compress` as typed, `--threads 1`, with the calibration images of `networks.py`. "
    "What is judged and timed is the file it wrote: on images that nothing "
    "was fitted to or chosen by, ± the standard error of the paired difference; in turns with the original, "
    "by the processor's work, with a 95 % interval. *CPU s* is what processors worked for the whole command, "
    "all threads together, where rows of one network share the layer times that the first of them measured; "
    "*seconds* that passed depend on what else the machine did. Exit code 3: the "
    "budget cannot be kept, 4: nothing was worth replacing.",
)
COLUMNS = ("network, budget", "original", "result", "difference", "faster than the file")
COLUMNS += ("exit code", "CPU s", "seconds", "peak memory")


@dataclass(frozen=True)
class Row:
    """A network and a budget.

    Attributes:
        task: says how the network is fed and judged.
        asked: the budget, as typed.
        labels: true classes of the calibration images, where they are given.
    """

    task: str
    asked: tuple[str, ...]
    labels: Callable[[], list[int]] | None = None

    def __str__(self) -> str:
        name = TASKS[self.task].title.split(",")[0]
        return f"{name}, `{' '.join(self.asked)}`" + (", labels" if self.labels else "")


ROWS = (
    Row("espcn-32-16", ("--min-psnr", "45")),
    Row("resnet20", ("--max-macs", "50%")),
    Row("squeezenet", ("--max-drop", "1%"), squeezenet_labels),
    Row("squeezenet", ("--max-estimated-drop", "1%")),
    Row("resnet20", ("--max-estimated-drop", "1%")),
    Row("squeezenet", ("--speedup", "1.2")),
    Row("squeezenet", ("--speedup", "1.45")),
)


def arguments_of(row: Row, folder: Path) -> list[str]:
    """As typed; the data lie in ``folder`` then."""
    feeds = TASKS[row.task].feeds
    (name,) = feeds[0]
    np.savez(folder / "images.npz", **{name: np.concatenate([feed[name] for feed in feeds])})
    found = ["--data", str(folder / "images.npz"), *row.asked, "--threads", "1"]
    if row.labels is not None:
        np.save(folder / "labels.npy", row.labels())
        found += ["--labels", str(folder / "labels.npy")]
    return found


def judged(row: Row, run: Run, result: Path, seconds: float) -> tuple[str, ...]:
    """The cells of a row."""
    task: Task = TASKS[row.task]
    if not result.exists():
        return str(row), score(task.original_scores, task.unit), "", "", "", *_costs(run)
    marks = task.exam.take(result)
    timed = [("the file", task.file), ("result", result)]
    speed = open_and_time(TIMING, timed, [task.exam.sample], seconds=seconds).ratio(1)
    return (
        str(row),
        score(task.original_scores, task.unit),
        score(marks, task.unit),
        change(marks, task.original_scores, task.unit),
        f"{speed.ratio:.2f}× ({speed.low:.2f}–{speed.high:.2f})",
        *_costs(run),
    )


def _costs(run: Run) -> tuple[str, ...]:
    return str(run.exit_code), f"{run.cpu_seconds:.0f}", f"{run.seconds:.0f}", f"{run.peak_gib:.1f} GiB"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    numbers = range(1, len(ROWS) + 1)
    listed = "; ".join(f"{number}: {row}" for number, row in zip(numbers, ROWS, strict=True))
    parser.add_argument(
        "--row",
        action="append",
        type=int,
        choices=numbers,
        help=f"only this one. {listed}".replace("%", "%%"),
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of timing, per row")
    parser.add_argument("--output", type=Path, help="write Markdown to this file")
    parser.add_argument("--keep", type=Path, help="folder to keep results, reports and data in")
    parser.add_argument("--code", type=Path, help="checkout of another version to run")
    parser.add_argument("--cache", type=Path, help="folder of layer times to begin with")
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in asked.row or numbers:
            row = ROWS[number - 1]
            folder = (asked.keep or Path(scratch)) / f"row{number}"
            folder.mkdir(parents=True, exist_ok=True)
            result = folder / "result.onnx"
            result.unlink(missing_ok=True)
            cache = asked.cache or Path(scratch, "cache")
            run = compress(
                TASKS[row.task].file, arguments_of(row, folder), result, cache=cache, code=asked.code
            )
            rows.append(judged(row, run, result, asked.seconds))
            print(*rows[-1], sep="  ", flush=True)
    table = Table("Budgets", COLUMNS, tuple(rows))
    if asked.output:
        asked.output.write_text(document("What comes of a budget", FITTING, [table], NOTES), encoding="utf-8")
    table.show()


if __name__ == "__main__":
    main()
