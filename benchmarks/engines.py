"""What users of each engine would do with a network, side by side: speed, and accuracy on unseen inputs.

    python benchmarks/engines.py [--network NAME]... [--row NAME]... [--seconds S] [--folder F] [--table T]

Of each network the published file in onnxruntime is 1×. Beside it run the same slimmed (onnxslim), in
onnxruntime's static int8, in OpenVINO and ncnn as it comes, in OpenVINO quantised by NNCF, and what sepfactor
makes of it for each engine, by itself and before NNCF; and in onnxruntime-web as it comes, and what sepfactor
makes of it. All are made from the same calibration inputs, judged in the engine that runs them on inputs that
decided nothing, and timed in turns by the processor's clock. Rows are kept in ``results/engines.json``, or in
a file of another name (``--table``); ``--row`` measures some of them anew. Needs ``pip install openvino nncf
onnxslim ncnn``, ``pip install --no-deps pnnx``, and ``npm install onnxruntime-web``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from eight_bits import NETWORKS
from int8 import Quantizer
from networks import TIMING, Exam, Task
from tables import RESULTS, Table, change, score

import sepfactor
from sepfactor.data import Feed
from sepfactor.measure import Engine, open_engine
from sepfactor.measure.engines import Contestant, race
from sepfactor.results import Ratio

COLUMNS = ("by", "runs in", "accuracy", "− the file", "faster than the file in onnxruntime")
COLUMNS += ("than the file in the same engine", "settings")
NOTES = (
    "`python benchmarks/engines.py`. One thread, by the processor's clock, all rows of a network that were "
    "measured together in turns, with a 95 % interval, each against the file in onnxruntime on the same "
    "processor; ± is the standard error of the paired difference. Each row is judged in the engine that runs "
    "it, on inputs that decided nothing. onnxruntime's int8 and NNCF's are the best of twelve and six "
    "settings on held-out calibration inputs. OpenVINO and ncnn run in the types they take by themselves.",
)


@dataclass(frozen=True, eq=False)
class Work:
    """What rows are made from.

    Attributes:
        task: the network.
        budget: what sepfactor may lose.
        feeds: calibration inputs.
        folder: where files lie; those that are there are not made again.
    """

    task: Task
    budget: Mapping[str, Any]
    feeds: Sequence[Feed]
    folder: Path

    def compressed(self, engine: str) -> tuple[Path, str]:
        """What sepfactor makes of it for an engine, and the plan in brief."""
        path, brief = self.folder / f"sepfactor-{engine}.onnx", self.folder / f"sepfactor-{engine}.txt"
        if not brief.exists():
            asked = {**self.budget, "engine": engine, "pictures": False, "bench_seconds": 4.0, "cache": False}
            plan = sepfactor.compress(
                self.task.file, path, data=list(self.feeds), force=True, overwrite=True, **asked
            ).plan
            brief.write_text(f"{plan.replaced} of {len(plan.layers)} factored", encoding="utf-8")
        return path if path.exists() else self.task.file, brief.read_text(encoding="utf-8")

    def nncf(self, file: Path, name: str) -> tuple[Path, str]:
        """A file quantised by NNCF."""
        from nncf_int8 import quantized

        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        kept = folder / "best.txt"
        if not kept.exists():
            path, said = quantized(file, self.feeds, self.task.file, folder)
            kept.write_text(f"{path.name}\n{said}", encoding="utf-8")
        best, said = kept.read_text(encoding="utf-8").split("\n")
        return folder / best, said

    def slimmed(self) -> tuple[Path, str]:
        """As onnxslim leaves it."""
        import onnxslim

        path = self.folder / "slim.onnx"
        onnxslim.slim(str(self.task.file), str(path))
        return path, ""

    def int8(self) -> tuple[Path, str]:
        """As onnxruntime's static quantisation leaves it."""
        path, kept = self.folder / "int8.onnx", self.folder / "int8.txt"
        if not kept.exists():
            found = Quantizer(self.task.file, self.feeds, self.folder).quantize()
            ir.save(found.model, path)
            kept.write_text(str(found.setting), encoding="utf-8")
        return path, kept.read_text(encoding="utf-8")


ROWS: dict[str, tuple[str, Callable[[Work], tuple[Path, str]]]] = {
    "onnxslim": ("onnxruntime", lambda work: work.slimmed()),
    "static int8": ("onnxruntime", lambda work: work.int8()),
    "sepfactor": ("onnxruntime", lambda work: work.compressed("onnxruntime")),
    "as it comes": ("openvino", lambda work: (work.task.file, "")),
    "NNCF int8": ("openvino", lambda work: work.nncf(work.task.file, "nncf")),
    "sepfactor, planned for onnxruntime": ("openvino", lambda work: work.compressed("onnxruntime")),
    "sepfactor --engine openvino": ("openvino", lambda work: work.compressed("openvino")),
    "sepfactor --engine openvino, then NNCF int8": (
        "openvino",
        lambda work: work.nncf(work.compressed("openvino")[0], "nncf-on-top"),
    ),
    "as it comes, in the browser's build": ("onnxruntime-web", lambda work: (work.task.file, "")),
    "sepfactor, planned for onnxruntime, in the browser's build": (
        "onnxruntime-web",
        lambda work: work.compressed("onnxruntime"),
    ),
    "sepfactor --engine onnxruntime-web": (
        "onnxruntime-web",
        lambda work: work.compressed("onnxruntime-web"),
    ),
    "as it comes in ncnn": ("ncnn", lambda work: (work.task.file, "")),
    "sepfactor, planned for onnxruntime, in ncnn": ("ncnn", lambda work: work.compressed("onnxruntime")),
    "sepfactor --engine ncnn": ("ncnn", lambda work: work.compressed("ncnn")),
}
"""By whom → the engine that runs it, and how its file is made."""

AS_IT_COMES = {"openvino": "as it comes", "onnxruntime-web": "as it comes, in the browser's build"}
"""Engine → the row that is the published file in it."""


def measured(name: str, wanted: Sequence[str], seconds: float, folder: Path) -> dict[str, dict[str, Any]]:
    """Figures of rows of one network, all timed in one run."""
    make, budget = NETWORKS[name]
    task = make()
    folder = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    work = Work(task, budget, list(task.calibrate()), folder)
    made = {}
    for by in wanted:
        engine, how = ROWS[by]
        made[by] = (open_engine(engine), *how(work))
        print(name, by, *made[by][1:], sep="  ", flush=True)
    contestants = [Contestant("the file", task.file, TIMING)]
    contestants += [Contestant(by, path, engine) for by, (engine, path, _) in made.items()]
    rounds = race(contestants, [task.exam.sample], seconds=seconds * len(contestants))
    found = {}
    for number, (by, (engine, path, said)) in enumerate(made.items(), 1):
        found[by] = _figures(task, engine, path, rounds.ratio(number)) | {"settings": said}
        own = AS_IT_COMES.get(engine.name)
        if own in made and own != by:
            ratio = rounds.ratio(number, 1 + [*made].index(own))
            found[by]["own"] = [ratio.ratio, ratio.low, ratio.high]
        print(name, by, found[by], sep="  ", flush=True)
    return found


def _figures(task: Task, engine: Engine, file: Path, speed: Ratio) -> dict[str, Any]:
    marks, base, about = _marks(task.exam, engine, file), task.original_scores, engine.environment
    return {
        "engine": f"{about.engine} {about.engine_version}, {about.precision}",
        "processor": about.processor,
        "load": about.load,
        "accuracy": score(marks, task.unit),
        "original": score(base, task.unit),
        "difference": change(marks, base, task.unit),
        "speed": [speed.ratio, speed.low, speed.high],
    }


def _marks(exam: Exam, engine: Engine, file: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    session = engine.open(file)
    marks = [exam.mark(number, session.run(feed)[0]) for number, feed in enumerate(exam.feeds)]
    return np.concatenate([np.asarray(m, np.float64) for m in marks])


def page(figures: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """All that is known, as Markdown."""
    machines = dict.fromkeys(str(row["processor"]) for rows in figures.values() for row in rows.values())
    tables, loads = [], list[float]()
    for name, rows in figures.items():
        cells = []
        for by in (one for one in ROWS if one in rows):
            row = rows[by]
            loads += [row["load"]] if row.get("load") is not None else []
            faster, own = (_times(row.get(key)) for key in ("speed", "own"))
            runs_in = f"{row['engine']}, {row['processor']}" if len(machines) > 1 else row["engine"]
            cells.append((by, runs_in, row["accuracy"], row["difference"], faster, own, row["settings"]))
        if cells:
            original = next(iter(rows.values()))["original"]
            budget = ", ".join(f"--{k.replace('_', '-')} {v}" for k, v in NETWORKS[name][1].items())
            tables.append(Table(f"{name}: the file {original}; `{budget}`", COLUMNS, tuple(cells)))
    parts = [
        "# Engines",
        f"Measured on {', '.join(machines)}, {_busy(loads)}.",
        *NOTES,
        *(table.markdown() for table in tables),
    ]
    return "\n\n".join(parts) + "\n"


def _times(speed: Sequence[float] | None) -> str:
    """A ratio and its interval."""
    return "" if speed is None else "{:.2f}× ({:.2f}–{:.2f})".format(*speed)


def _busy(loads: Sequence[float]) -> str:
    """How many threads wanted a core: what others do moves even the processor's clock, by shared caches."""
    return f"load up to {max(loads):.0f}" if loads else "of unknown load"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--network", action="append", choices=NETWORKS, help="only this one")
    parser.add_argument("--row", action="append", choices=ROWS, help="only this one")
    parser.add_argument("--seconds", type=float, default=4.0, help="of timing, per file")
    parser.add_argument(
        "--folder", type=Path, help="where files lie; those that are there are not made again"
    )
    parser.add_argument("--table", default="engines", help="name of the files in results/")
    arguments = parser.parse_args()
    kept = RESULTS / f"{arguments.table}.json"
    figures: dict[str, dict[str, dict[str, Any]]] = json.loads(kept.read_text()) if kept.exists() else {}
    with tempfile.TemporaryDirectory() as place:
        folder = arguments.folder or Path(place)
        for name in arguments.network or NETWORKS:
            found = measured(name, arguments.row or [*ROWS], arguments.seconds, folder)
            figures = json.loads(kept.read_text()) if kept.exists() else figures
            figures[name] = figures.get(name, {}) | found
            kept.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            kept.with_suffix(".md").write_text(page(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
