"""What each choice in the engine is worth: one row per setting, all else as by default.

    python benchmarks/ablation.py [--task NAME]...

Writes ``results/ablation.md``. Run it with OPENBLAS_NUM_THREADS=1 where cores are shared.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from networks import FITTING, VERTICAL, Fit, Scores, Task, select
from tables import RESULTS, Table, change, document, score

from sepfactor.fit.sequential import FitSettings

NOTES = (
    "Every network is written to a file and judged as onnxruntime runs that file, on images it was not "
    "fitted to. *against default* is the mean difference to the first row on the same images, ± its "
    "standard error: less than two of them is noise. *from the original* is how far the answers are from the "
    "original's on those images, which is far less noisy: KL of the classes, or SNR in dB. Seconds are of "
    "fitting; where the machine did other work besides they say little, and those of `reconstruction.md` are "
    "the ones to go by.",
    "`ridges`: ridge towards the original weights in shares of the mean input variance; by default the "
    "held-out quarter chooses. `correct_kept`: layers that stay dense get new weights too. `residual`: "
    "the last layer before an Add is fitted to the sum. `relu_rounds`: refits to what a following ReLU lets "
    "through. `weigh_by_readers`: errors count by what the layers that read the answer make of them. "
    "`entries`: numbers read per layer.",
    "ESPCN's score is by the true picture, which is smooth, so a result that is less like the original can "
    "score above it.",
)


DEFAULT = FitSettings()


@dataclass(frozen=True)
class Setting:
    """One row: engine settings, schemes to choose from, and the share of the images."""

    label: str
    settings: FitSettings = DEFAULT
    schemes: tuple[str, ...] = VERTICAL
    share: float = 1.0

    def apply(self, task: Task) -> Fit:
        """Fit the task so."""
        feeds = task.feeds.take(range(round(self.share * len(task.feeds))))
        return task.fitted(self.settings, feeds, self.schemes)


def settings() -> Iterator[Setting]:
    """Every row, the default first."""
    yield Setting("default")
    for sweeps in (0, 1, 2, 6):
        if sweeps != DEFAULT.sweeps:
            yield Setting(f"sweeps = {sweeps}", FitSettings(sweeps=sweeps))
    yield Setting("weigh_by_readers off", FitSettings(weigh_by_readers=False))
    yield Setting("residual off", FitSettings(residual=False))
    for rounds in (0, 1, 2, 6):
        if rounds != DEFAULT.relu_rounds:
            yield Setting(f"relu_rounds = {rounds}", FitSettings(relu_rounds=rounds))
    yield Setting("correct_kept off", FitSettings(correct_kept=False))
    yield Setting("sequential off", FitSettings(sequential=False))
    yield Setting("sequential, correct_kept off", FitSettings(sequential=False, correct_kept=False))
    for ridge in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        yield Setting(f"ridges = {ridge:g}", FitSettings(ridges=(ridge,)))
    for entries in (2e6, 1e7, 4e7):
        if entries != DEFAULT.entries:
            yield Setting(f"entries = {entries:g}", FitSettings(entries=entries))
    yield Setting("both spatial orders", schemes=("spatial",))
    for share in (0.25, 0.5):
        yield Setting(f"{share:.0%} of the images", share=share)


def ablate(task: Task) -> Table:
    """The table of one task."""
    rows = [("original file", score(task.original_scores, task.unit), "", "", "", "")]
    default: Scores | None = None
    for setting in settings():
        fitted = setting.apply(task)
        marks = task.judge(fitted.model)
        against = "" if default is None else change(marks, default, task.unit)
        default = marks if default is None else default
        lost = change(marks, task.original_scores, task.unit)
        row = score(marks, task.unit), task.distance(fitted.model), lost, against, f"{fitted.seconds:.1f}"
        rows.append((setting.label, *row))
        print(task.name, *rows[-1], sep="  ", flush=True)
    columns = ("setting", "score", "from the original", "against original", "against default", "seconds")
    return Table(f"{task.title}, {len(task.feeds)} images", columns, tuple(rows))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--task", action="append", default=[], help="a task, or how its name begins")
    parser.add_argument("--output", default=str(RESULTS / "ablation.md"), help="the file to write")
    arguments = parser.parse_args()
    tasks = [task for task in select(arguments.task) if task.name in arguments.task or not task.is_variant]
    tables = [ablate(task) for task in tasks]
    text = document("Ablation of the engine", FITTING, tables, NOTES)
    Path(arguments.output).write_text(text, encoding="utf-8")
    for table in tables:
        table.show()


if __name__ == "__main__":
    main()
