"""What each choice of the fit and of the search is worth: one row per setting, all else as by default.

    python benchmarks/ablation.py [--task NAME]... [--of fit|search] [--setting LABEL]...

Writes ``results/ablation.md``, or ``results/ablation_search.md``. Run it with OPENBLAS_NUM_THREADS=1 where
cores are shared.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from networks import FITTING, TIMING, VERTICAL, Fit, Scores, Task, select
from tables import RESULTS, Table, change, document, score

from sepfactor.fit.evidence import observe
from sepfactor.fit.settings import FitSettings
from sepfactor.graph.load import load
from sepfactor.options import make_options
from sepfactor.progress import silent
from sepfactor.search.choose import choose
from sepfactor.search.settings import DEFAULT as DEFAULT_SEARCH
from sepfactor.search.settings import SearchSettings
from sepfactor.study.study import Study, open_study

SEARCH_BUDGET = {"max_macs": "50%"}
"""What plans are chosen by: no clock has a say in whether it is kept."""

NOTES = (
    "Every network is written to a file and judged as onnxruntime runs that file, on images it was not "
    "fitted to. *against default* is the mean difference to the first row on the same images, ± its "
    "standard error: less than two of them is noise. *from the original* is how far the answers are from the "
    "original's on those images, which is far less noisy: KL of the classes, or SNR in dB. ESPCN's score is "
    "by the true picture, which is smooth, so a result that is less like the original can score above it.",
)
FIT_NOTES = (
    "`ridges`: ridge towards the original weights in shares of the mean input variance; by default the "
    "held-out quarter chooses. `correct_kept`: layers that stay dense get new weights too. `residual`: "
    "the last layer before an Add is fitted to the sum. `relu_rounds`: refits to what a following ReLU lets "
    "through. `weigh_by_readers`: errors count by what the layers that read the answer make of them. "
    "`entries`: numbers read per layer. Seconds are of fitting; where the machine did other work besides "
    "they say little, and those of `reconstruction.md` are the ones to go by.",
)
SEARCH_NOTES = (
    "Plans are chosen by `--max-macs 50%`, and fitted with care. *nothing to compare with*: the plan that "
    "takes sensitivities as measured, whatever else there is. *half the images*: of those that "
    "sensitivities are measured on. *fewer ranks*: 2 to 4 looked at per scheme and layer, in place of 4 to "
    "10. Seconds are the processor's, of observing and choosing; the first row measures layer times that the "
    "others remember.",
)

DEFAULT = FitSettings()


class Variation(Protocol):
    """One row: what is done otherwise than by default."""

    @property
    def label(self) -> str:
        """What to call it."""

    def apply(self, task: Task) -> Fit:
        """Make the network of the task so."""


@dataclass(frozen=True)
class FitVariation:
    """Settings of the fit, schemes to choose from, and the share of the images."""

    label: str
    settings: FitSettings = DEFAULT
    schemes: tuple[str, ...] = VERTICAL
    share: float = 1.0

    def apply(self, task: Task) -> Fit:
        """Fit the plan of the task so."""
        feeds = task.feeds.take(range(round(self.share * len(task.feeds))))
        return task.fitted(self.settings, feeds, self.schemes)


@dataclass(frozen=True)
class SearchVariation:
    """Settings of the search."""

    label: str
    settings: SearchSettings = DEFAULT_SEARCH

    def apply(self, task: Task) -> Fit:
        """Choose a plan within the budget so."""
        study = _study(task)
        begin = time.process_time()
        chosen = choose(study, observe(study), None, self.settings)
        built = chosen.built
        assert built is not None, "there is a budget"
        return Fit(built.to_write, time.process_time() - begin, len(task.feeds))


@functools.cache
def _study(task: Task) -> Study:
    """Of a task, with the budget; what it remembers of times serves every variation."""
    asked = {"data": task.feeds, "threads": TIMING.threads, "cache": False, **SEARCH_BUDGET}
    return open_study(load(task.file), make_options(asked), silent)


def fit_variations() -> Iterator[Variation]:
    """Every row of the fit, the default first."""
    yield FitVariation("default")
    for sweeps in (0, 1, 2, 6):
        if sweeps != DEFAULT.sweeps:
            yield FitVariation(f"sweeps = {sweeps}", FitSettings(sweeps=sweeps))
    yield FitVariation("weigh_by_readers off", FitSettings(weigh_by_readers=False))
    yield FitVariation("residual off", FitSettings(residual=False))
    for rounds in (0, 1, 2, 6):
        if rounds != DEFAULT.relu_rounds:
            yield FitVariation(f"relu_rounds = {rounds}", FitSettings(relu_rounds=rounds))
    yield FitVariation("correct_kept off", FitSettings(correct_kept=False))
    yield FitVariation("sequential off", FitSettings(sequential=False))
    yield FitVariation("sequential, correct_kept off", FitSettings(sequential=False, correct_kept=False))
    for ridge in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        yield FitVariation(f"ridges = {ridge:g}", FitSettings(ridges=(ridge,)))
    for entries in (2e6, 1e7, 4e7):
        if entries != DEFAULT.entries:
            yield FitVariation(f"entries = {entries:g}", FitSettings(entries=entries))
    yield FitVariation("both spatial orders", schemes=("spatial",))
    for share in (0.25, 0.5):
        yield FitVariation(f"{share:.0%} of the images", share=share)


def search_variations() -> Iterator[Variation]:
    """Every row of the search, the default first."""
    yield SearchVariation("default")
    yield SearchVariation("nothing to compare with", SearchSettings(trusts=(), builds=1, fewest_builds=1))
    yield SearchVariation("half the images", SearchSettings(sensitivity_images=16))
    yield SearchVariation("fewer ranks", SearchSettings(ranks_per_scheme=(2, 4)))


VARIATIONS = {"fit": fit_variations, "search": search_variations}


def ablate(task: Task, of: str, labels: Sequence[str]) -> Table:
    """The table of one task: the default, and the variations of these names, or all."""
    rows = [("original file", score(task.original_scores, task.unit), "", "", "", "")]
    default: Scores | None = None
    for variation in VARIATIONS[of]():
        if default is not None and labels and variation.label not in labels:
            continue
        fitted = variation.apply(task)
        marks = task.judge(fitted.model)
        against = "" if default is None else change(marks, default, task.unit)
        default = marks if default is None else default
        lost = change(marks, task.original_scores, task.unit)
        row = score(marks, task.unit), task.distance(fitted.model), lost, against, f"{fitted.seconds:.1f}"
        rows.append((variation.label, *row))
        print(task.name, *rows[-1], sep="  ", flush=True)
    columns = ("setting", "score", "from the original", "against original", "against default", "seconds")
    plan = "" if of == "fit" else ", chosen"
    title = task.title if of == "fit" else task.title.split(",")[0]
    return Table(f"{title}{plan}, {len(task.feeds)} images", columns, tuple(rows))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--task", action="append", default=[], help="a task, or how its name begins")
    parser.add_argument("--of", choices=VARIATIONS, default="fit", help="what to vary")
    parser.add_argument("--setting", action="append", default=[], help="only this row, beside the default")
    parser.add_argument("--output", type=Path, help="the file to write")
    arguments = parser.parse_args()
    known = {variation.label for variation in VARIATIONS[arguments.of]()}
    if unknown := set(arguments.setting) - known:
        parser.error(f"there is no setting {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    tasks = [task for task in select(arguments.task) if task.name in arguments.task or not task.is_variant]
    tables = [ablate(task, arguments.of, arguments.setting) for task in tasks]
    notes = FIT_NOTES if arguments.of == "fit" else SEARCH_NOTES
    text = document(f"Ablation of the {arguments.of}", FITTING, tables, (*NOTES, *notes))
    output = arguments.output or RESULTS / f"ablation{'' if arguments.of == 'fit' else '_search'}.md"
    output.write_text(text, encoding="utf-8")
    for table in tables:
        table.show()


if __name__ == "__main__":
    main()
