"""Measured speed against accuracy: sepfactor beside every baseline, on the same network in the same run.

    python benchmarks/pareto.py [--network NAME]... [--rule NAME]... [--output F] [--json F] [--picture F]

Every point is a written file: judged on images nobody calibrated on, timed against the original file,
interleaved, one thread. Needs the extra ``html`` for the picture.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from baselines import BASELINES
from int8 import SPARED, Quantizer
from networks import FITTING, TASKS, TIMING, Task
from subject import Subject
from tables import Table, change, document, machine, score

from sepfactor.fit.evidence import observe
from sepfactor.graph.load import load
from sepfactor.options import make_options
from sepfactor.progress import silent
from sepfactor.search.front import explore
from sepfactor.search.settings import DEFAULT
from sepfactor.study.study import open_study

OURS, JOINT, ON_TOP = "sepfactor", "sepfactor --int8", "sepfactor, then int8"
NETWORKS = {"espcn": "espcn-32-16", "squeezenet": "squeezenet", "resnet20": "resnet20"}
"""Networks, and tasks that say how each is fed and judged; their plans do not matter here."""

_COLOURS = {
    OURS: "#0b6e4f",
    JOINT: "#111111",
    ON_TOP: "#6ab187",
    "int8": "#d1495b",
    "BALF": "#8d6a9f",
    "PCA energy": "#edae49",
    "PCA energy, asymmetric": "#c98f1b",
    "Network Decoupling": "#9aa0a6",
    "plain SVD": "#30638e",
}
_LEAST_SPEED = 0.95
_MOST_LOST, _UNITS = {"%": 15.0, "dB": 3.0}, {"%": "points", "dB": "dB"}

_MILD = 3
"""Plans that int8 is put on top of: the mild half of the front."""

_SPARED_ON_TOP = ("whole", "last float")
COLUMNS = ("by", "point", "score", "− original", "faster than the file")
NOTES = (
    "Baselines are what their papers say of choosing, without retraining; what was simplified is said in "
    "`baselines.py`. Ranks of all are on the grid onnxruntime runs fastest. int8 is onnxruntime's static "
    "quantisation, the best setting on held-out calibration images. ± is the standard error of the paired "
    "difference. Drawn images are the same for all.",
)


@dataclass(frozen=True)
class Point:
    """One network that was judged and timed."""

    task: str
    by: str
    label: str
    score: float
    drop: float
    speedup: float
    interval: tuple[float, float]


def ours(task: Task) -> Iterator[tuple[str, str, ir.Model]]:
    """The fronts of ``sepfactor plan --pareto`` in float and in eight bits, and int8 on top of the former."""
    for name, int8 in ((JOINT, True), (OURS, False)):
        options = make_options({"data": task.feeds, "threads": TIMING.threads, "cache": False, "int8": int8})
        study = open_study(load(task.file), options, silent)
        outcomes = explore(study, observe(study), DEFAULT)
        for number, outcome in enumerate(outcomes, 1):
            yield name, f"plan {number}", outcome.built.to_write
    for number in range(min(_MILD, len(outcomes))):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "factored.onnx")
            ir.save(outcomes[number].built.to_write, path)
            quantizer = Quantizer(path, task.feeds, Path(folder))
            for name in _SPARED_ON_TOP:
                yield ON_TOP, f"plan {number + 1}, {name}", quantizer.quantize(SPARED[name]).model


def theirs(task: Task, rules: list[str]) -> Iterator[tuple[str, str, ir.Model]]:
    """Every point of every baseline."""
    subject = Subject(task.file, task.prepared, task.sites, task.feeds, FITTING)
    for name, baseline in BASELINES.items():
        if not rules or name in rules:
            for label, model in baseline.points(subject):
                yield name, label, model


def measure(task: Task, rules: list[str], seconds: float) -> tuple[list[Point], Table]:
    """Judge and time everything of one network."""
    points, rows = [], []
    base = task.original_scores
    for by, label, model in (*ours(task), *theirs(task, rules)):
        marks = task.judge(model)
        speed, _ = task.speedups(model, seconds)
        interval = (speed.low, speed.high)
        drop = float(np.mean(base - marks))
        points.append(Point(task.name, by, label, float(marks.mean()), drop, speed.ratio, interval))
        faster = f"{speed.ratio:.2f}× ({speed.low:.2f}–{speed.high:.2f})"
        rows.append((by, label, score(marks, task.unit), change(marks, base, task.unit), faster))
        print(task.name, *rows[-1], sep="  ", flush=True)
    title = f"{task.title.split(',')[0]}: original {score(base, task.unit)}"
    return points, Table(title, COLUMNS, tuple(rows))


def picture(points: list[Point]) -> str:
    """An SVG: a panel per network, what is lost over speed, as far as anybody would go.

    Of each rule only what none of its own other points beats.
    """
    import vl_convert

    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "hconcat": [_panel(name, points) for name in NETWORKS],
        "config": {"view": {"stroke": "#ccc"}, "axis": {"gridColor": "#eee"}, "background": "white"},
    }
    return str(vl_convert.vegalite_to_svg(spec))


def _panel(name: str, points: list[Point]) -> dict[str, Any]:
    task = TASKS[NETWORKS[name]]
    own = [p for p in points if p.task == task.name]
    front = [p for p in own if not any(_beats(other, p) for other in own)]
    near = [p for p in front if p.drop <= _MOST_LOST[task.unit] and p.speedup >= _LEAST_SPEED]
    return {
        "title": task.title.split(",")[0],
        "width": 240,
        "height": 240,
        "data": {"values": [asdict(p) | {"lost": -p.drop} for p in near]},
        "mark": {"type": "line", "point": {"size": 45, "filled": True}, "interpolate": "linear"},
        "encoding": {
            "x": {
                "field": "speedup",
                "type": "quantitative",
                "title": "times as fast",
                "scale": {"zero": False},
            },
            "y": {"field": "lost", "type": "quantitative", "title": f"− original, {_UNITS[task.unit]}"},
            "order": {"field": "speedup"},
            "color": {
                "field": "by",
                "type": "nominal",
                "title": None,
                "scale": {"domain": [*_COLOURS], "range": [*_COLOURS.values()]},
                "legend": {"orient": "bottom", "columns": 7},
            },
        },
    }


def _beats(one: Point, other: Point) -> bool:
    better = one.speedup >= other.speedup and one.drop <= other.drop
    return one.by == other.by and better and (one.speedup, one.drop) != (other.speedup, other.drop)


def write(arguments: argparse.Namespace, points: list[Point], tables: list[Table]) -> None:
    """What there is so far, as asked for."""
    if arguments.output:
        text = document("Speed against accuracy", FITTING, tables, NOTES)
        arguments.output.write_text(text, encoding="utf-8")
    if arguments.json:
        figures = {"machine": machine(FITTING), "points": [asdict(point) for point in points]}
        arguments.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if arguments.picture:
        arguments.picture.write_text(picture(points), encoding="utf-8")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--network", action="append", choices=NETWORKS, help="only this one")
    parser.add_argument("--rule", action="append", default=[], help="only this baseline")
    parser.add_argument("--seconds", type=float, default=8.0, help="of timing, per point")
    parser.add_argument("--output", type=Path, help="write Markdown to this file")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--picture", type=Path, help="write an SVG to this file")
    arguments = parser.parse_args()
    points: list[Point] = []
    tables: list[Table] = []
    for name in arguments.network or NETWORKS:
        found, table = measure(TASKS[NETWORKS[name]], arguments.rule, arguments.seconds)
        points += found
        tables.append(table)
        write(arguments, points, tables)
    for table in tables:
        table.show()


if __name__ == "__main__":
    main()
