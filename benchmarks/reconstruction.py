"""What is left of a network at a given plan: weight-space SVD, with the best bias, and fitted.

    python benchmarks/reconstruction.py [--task NAME]... [--markdown] [--json FILE] [--output FILE]

All columns of a row have the same ranks in the same layers, so the same cost. Accuracy is that of
the written file in onnxruntime. Run it with OPENBLAS_NUM_THREADS=1 where cores are shared.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from networks import FITTING, VERTICAL, Fit, Scores, Task, select
from tables import Table, change, document, machine, score

from sepfactor.fit.settings import FitSettings
from sepfactor.results import Ratio

BEST_BIAS = FitSettings(ridges=(), correct_kept=False)
"""No fit to choose from: weight-space factors, each with the best bias for the inputs it gets by then."""

CAUTIOUS = FitSettings(sequential=False, correct_kept=False, ridges=(0.3,))
"""For made-up images: layer by layer on the original's inputs, pulled hard towards the weights."""

NOTES = (
    "All columns of a row have the same ranks in the same layers. Every figure is of a written file run "
    "by onnxruntime on images that were not fitted to; ± is the standard error of the mean difference "
    "to the original on the same images. Speedups are medians of interleaved runs of one image, with "
    "95 % intervals. *lost / gained*: images only the original, and only the result, gets right (McNemar).",
    "ESPCN: luma PSNR, mean over 100 pictures. A 256×256 photograph is enlarged to 672×672 (bicubic; "
    "*coarse*: nearest neighbour), which is what is to be found, and that reduced to 224×224 (bicubic), "
    "which is the input; clipped to 0…1, 8 pixels of border left out. Bicubic enlarging of the same "
    "inputs gets about as much as the network. *from the original*: KL of the classes, or SNR against the "
    "original's own answers. *better order*: vertical or horizontal first, as held-out images prefer it "
    "layer by layer, at the same rank and cost. The absolute figures depend on this choice, the loss is "
    "what matters; it weighs most where PSNR is high.",
    "*3×3 halved*: each 3×3 layer but the first at the largest rank, a multiple of 4, of at most half its "
    "weights, which is half the MACs at stride 1; ResNet-20's two layers of stride 2 keep 2/3 of theirs, "
    "but half in the row *MACs of strided too*. SqueezeNet's ranks need no multiple of 4 in the row "
    "*ranks off the grid*.",
)


@dataclass(frozen=True)
class Row:
    """Everything measured of one task and one kind of data; scores are means."""

    task: str
    title: str
    unit: str
    data: str
    images: int
    judged_on: int
    original: float
    plain: float
    best_bias: float
    fitted: float
    difference: float
    standard_error: float
    lost: int | None
    gained: int | None
    seconds: float
    speedup: Ratio
    speedup_over_prepared: Ratio
    cells: tuple[str, ...]

    def figures(self) -> dict[str, Any]:
        """All of it, for JSON."""
        speedups = {"speedup": self.speedup, "speedup_over_prepared": self.speedup_over_prepared}
        return asdict(self) | {name: speed.model_dump(mode="json") for name, speed in speedups.items()}


def measure(task: Task, seconds: float) -> list[Row]:
    """One row for real images, and for made-up ones where the task asks for them."""
    plain = task.judge(task.plain())
    ways = [("photographs", task.feeds, FitSettings(), VERTICAL)]
    if not task.is_variant:
        ways.append(("photographs, better order", task.feeds, FitSettings(), ("spatial",)))
    if task.synthetic and not task.is_variant:
        made_up = task.made_up()
        ways.append(("synthetic", made_up, FitSettings(), VERTICAL))
        ways.append(("synthetic, cautious", made_up, CAUTIOUS, VERTICAL))
    rows = []
    for data, feeds, settings, schemes in ways:
        biased = task.judge(task.fitted(BEST_BIAS, feeds).model)
        fitted = task.fitted(settings, feeds, schemes)
        marks = task.judge(fitted.model)
        rows.append(_row(task, data, (plain, biased, marks), fitted, task.speedups(fitted.model, seconds)))
        print(*rows[-1].cells, sep="  ", flush=True)
    return rows


def _row(
    task: Task,
    data: str,
    marks: tuple[Scores, Scores, Scores],
    fitted: Fit,
    speedups: tuple[Ratio, Ratio],
) -> Row:
    original, (plain, biased, result) = task.original_scores, marks
    lost = gained = None
    if task.is_classifier:
        lost, gained = int(np.sum(original > result)), int(np.sum(original < result))
    difference = result - original
    cells = (
        task.title,
        f"{data}, {fitted.images}",
        *(score(m, task.unit) for m in (original, plain, biased, result)),
        change(result, original, task.unit),
        task.distance(fitted.model),
        "" if lost is None else f"{lost} / {gained}",
        *(f"{s.ratio:.2f}× ({s.low:.2f}–{s.high:.2f})" for s in speedups),
        f"{fitted.seconds:.1f}",
    )
    return Row(
        task=task.name,
        title=task.title,
        unit=task.unit,
        data=data,
        images=fitted.images,
        judged_on=len(original),
        original=float(original.mean()),
        plain=float(plain.mean()),
        best_bias=float(biased.mean()),
        fitted=float(result.mean()),
        difference=float(difference.mean()),
        standard_error=float(difference.std(ddof=1) / np.sqrt(len(difference))),
        lost=lost,
        gained=gained,
        seconds=fitted.seconds,
        speedup=speedups[0],
        speedup_over_prepared=speedups[1],
        cells=cells,
    )


COLUMNS = (
    "network, plan",
    "fitted on",
    "original",
    "plain SVD",
    "+ best bias",
    "fitted",
    "fitted − original",
    "from the original",
    "lost / gained",
    "faster than the file",
    "than the prepared",
    "fit, s",
)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--task", action="append", default=[], help="a task, or how its name begins")
    parser.add_argument("--seconds", type=float, default=20.0, help="of timing, per row")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--output", type=Path, help="write Markdown to this file")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    arguments = parser.parse_args()
    rows = [row for task in select(arguments.task) for row in measure(task, arguments.seconds)]
    table = Table("Reconstruction at a given plan", COLUMNS, tuple(row.cells for row in rows))
    text = document("What is left of a network", FITTING, [table], NOTES)
    if arguments.json:
        figures = {"machine": machine(FITTING), "rows": [row.figures() for row in rows]}
        arguments.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    if arguments.markdown:
        print(text)
    else:
        table.show()


if __name__ == "__main__":
    main()
