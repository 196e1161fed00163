"""Opening and running networks in onnxruntime-web, and saying what went wrong in one sentence.

It is the build of onnxruntime for browsers, in WebAssembly. ``onnxruntime_web.mjs`` runs it in Node.js, whose
engine is Chrome's; one such process serves this one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.errors import ModelError, OptionError
from sepfactor.measure.engine import Feed, Level, NodeTime, PortInfo, Use
from sepfactor.measure.node_process import Answer, NodeFailure, NodeProcess, NodeTooLong
from sepfactor.measure.profile import DROPPED, times_of_events
from sepfactor.measure.sentences import one_line, taken_and_fed
from sepfactor.measure.time_limit import run_seconds

PACKAGE = "onnxruntime-web"

_SCRIPT = Path(__file__).with_name("onnxruntime_web.mjs")

_FLAGS = ("--no-liftoff", "--single-threaded")
"""Each function is compiled when it is called first, by the compiler that browsers come to after a few runs,
and by the only thread that works: so the process's clock is that of the run."""

_TYPES = {"float32": "float", "float64": "double"}
"""JavaScript's name of a type → ONNX's, where they differ."""

_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_TENSORS = ("float16", "float32", "float64", "bool", *_INTEGERS)
"""Types that are handed over, as JavaScript and numpy call them."""

_EXTERNAL = re.compile(rb"\n\x08location\x12([\x01-\x7f])")
"""Before the name of a file that a tensor lies in, in a ModelProto; and how long that is."""


class Opened:
    """A network in the process, which forgets it when this is collected.

    Attributes:
        process: that runs it.
        number: of the network there.
        inputs: what it takes.
        outputs: what it gives.
    """

    def __init__(self, process: NodeProcess, answer: Answer) -> None:
        self.process = process
        self.number = int(answer.head["made"])
        self.inputs = [_port(one) for one in answer.head["inputs"]]
        self.outputs = [_port(one) for one in answer.head["outputs"]]
        weakref.finalize(self, process.forget, "sessions", [self.number]).atexit = False


class Fed:
    """Inputs in the process, which forgets them when this is collected.

    Raises:
        NodeFailure: the process has ended.
        TypeError: an array is of a type that is not handed over.
    """

    def __init__(self, process: NodeProcess, feed: Feed) -> None:
        arrays = {name: np.asarray(array) for name, array in feed.items()}
        for name, array in arrays.items():
            if array.dtype.name not in _TENSORS:
                raise TypeError(f"{name} is fed {array.dtype}, which is not handed over to onnxruntime-web")
        tensors = [
            {"name": name, "type": array.dtype.name, "shape": array.shape} for name, array in arrays.items()
        ]
        data = [array.tobytes() for array in arrays.values()]
        self.number = int(process.ask({"do": "feed", "tensors": tensors}, data).head["made"])
        weakref.finalize(self, process.forget, "feeds", [self.number]).atexit = False


def node_program() -> str:
    """Where Node.js is.

    Raises:
        OptionError: it is not installed.
    """
    found = shutil.which("node") or shutil.which("nodejs")
    if found is None:
        raise OptionError(
            f"The engine {PACKAGE} needs Node.js, and there is no program node on the path. Install it, and "
            f"then: npm install {PACKAGE}, or leave --engine out for onnxruntime."
        )
    return found


@cache
def node_version(program: str) -> str:
    """Such as ``20.20.2``."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip().removeprefix("v")


def package_folder() -> Path:
    """The folder of onnxruntime-web: in NODE_PATH, in ``node_modules`` here or above, or among global ones.

    Raises:
        OptionError: it is in none of these, or there is no Node.js.
    """
    program = node_program()
    for modules in _places(program):
        if (modules / PACKAGE / "package.json").is_file():
            return modules / PACKAGE
    raise OptionError(
        f"The engine {PACKAGE} needs the npm package of this name, which is neither in node_modules of this "
        f"folder nor among global packages. Install it with: npm install {PACKAGE}, or leave --engine out "
        "for onnxruntime."
    )


def package_version() -> str:
    """Of onnxruntime-web.

    Raises:
        OptionError: it is not installed.
    """
    about = json.loads((package_folder() / "package.json").read_text(encoding="utf-8"))
    return str(about["version"])


def _places(program: str) -> Iterator[Path]:
    """Folders that packages may lie in."""
    yield from (Path(one) for one in os.environ.get("NODE_PATH", "").split(os.pathsep) if one)
    here = Path.cwd()
    yield from (folder / "node_modules" for folder in (here, *here.parents))
    yield _global(program)


@cache
def _global(program: str) -> Path:
    """Where npm puts what it installs globally."""
    npm = shutil.which("npm")
    if npm is None:
        return Path(program).resolve().parents[1] / "lib" / "node_modules"
    done = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False)
    return Path(done.stdout.strip() or os.devnull)


_processes: dict[tuple[int, Path], NodeProcess] = {}


def _running() -> NodeProcess:
    """The process that networks are opened in: another one only where the last has ended.

    What onnxruntime-web is compiled to, which takes seconds, it keeps for all of them.

    Raises:
        OptionError: Node.js or onnxruntime-web is not installed, or does not start.
    """
    package = package_folder()
    key = (os.getpid(), package)
    process = _processes.get(key)
    if process is None or not process.is_running:
        if process is not None:
            process.end()
        program = node_program()
        try:
            process = NodeProcess([program, *_FLAGS, str(_SCRIPT), str(package)])
        except OSError as error:
            raise OptionError(f"Node.js, {program}, cannot be started: {error.strerror}.") from error
        _processes[key] = process
    return process


def opened(
    model: Path | bytes, *, level: Level = "all", use: Use = "values", profile_clock: str | None = None
) -> Opened:
    """A network in onnxruntime-web.

    Args:
        model: path, or a serialised ModelProto; its tensors lie within, or in files of the folder that
            :class:`~sepfactor.serialized.Serialized` bytes name.
        level: onnxruntime's graph optimisation.
        use: what it is opened for; only for times memory is kept from run to run, as it is for users.
        profile_clock: it is profiled by this clock, ``cpu`` or ``wall``.

    Raises:
        ModelError: onnxruntime-web cannot load it.
        OptionError: Node.js or onnxruntime-web is not installed, or does not start.
    """
    process = _running()
    try:
        data = model.read_bytes() if isinstance(model, Path) else bytes(model)
        folder = model.parent if isinstance(model, Path) else getattr(model, "folder", None)
        files = {} if folder is None else _external(data, folder)
        request = {
            "do": "open",
            "level": level,
            "arena": use == "times",
            "clock": profile_clock,
            "external": list(files),
        }
        answer = process.ask(request, [data, *(file.read_bytes() for file in files.values())])
        return Opened(process, answer)
    except (NodeFailure, OSError) as error:
        called = str(model) if isinstance(model, Path) else "the model"
        raise ModelError(
            f"{PACKAGE} cannot load {called}: {complaint(error)} Take --engine onnxruntime, or export the "
            "network with standard operators in float32."
        ) from error


def _external(data: bytes, folder: Path) -> Mapping[str, Path]:
    """Files that tensors lie in: location in the network → path; none that leads out of the folder."""
    found = {}
    for match in _EXTERNAL.finditer(data):
        name = data[match.end() : match.end() + match[1][0]].decode(errors="replace")
        place = PurePosixPath(name)
        if not place.is_absolute() and ".." not in place.parts and (folder / place).is_file():
            found[name] = folder / place
    return found


def run_opened(network: Opened, feed: Feed) -> list[NDArray[Any]]:
    """Every output of one run, in the order of the graph.

    Raises:
        ModelError: the feed does not fit, the run fails or takes longer than
            :func:`~sepfactor.measure.time_limit.run_seconds` allows, or an output is no tensor of numbers.
    """
    process = network.process
    try:
        fed = Fed(process, feed)
        request = {"do": "run", "session": network.number, "feed": fed.number}
        answer = process.ask(request, seconds=run_seconds())
    except NodeTooLong as seconds:
        raise ModelError(
            f"One run of the model takes longer than {seconds} s: does one of its loops ever end? Feed it "
            "smaller inputs (--input-shape, --resize), or raise SEPFACTOR_RUN_SECONDS."
        ) from None
    except failures() as error:
        about = taken_and_fed(network.inputs, feed)
        raise ModelError(f"{PACKAGE} cannot run the model: {complaint(error)} {about}") from error
    return [
        np.frombuffer(data, np.dtype(about["type"])).reshape(about["shape"])
        for about, data in zip(answer.head["outputs"], answer.buffers, strict=True)
    ]


def time_of_run(network: Opened, fed: Fed) -> tuple[float, float]:
    """Seconds that one run took there, and those that its thread worked.

    Raises:
        NodeFailure: it fails, or the process has ended.
    """
    head = network.process.ask({"do": "time", "session": network.number, "feed": fed.number}).head
    return float(head["passed"]), float(head["worked"])


def profiled(
    model: Path | bytes,
    feed: Feed,
    *,
    clock: str,
    runs: int,
    watch: Callable[[float], None] | None = None,
) -> list[NodeTime]:
    """Time of every node, in the order of execution, by onnxruntime's own profile.

    Args:
        model: as for :func:`opened`.
        feed: inputs by name.
        clock: that the profile goes by.
        runs: how many the medians are over.
        watch: told which share of them is done.

    Raises:
        ModelError: the network cannot be loaded or run.
        ValueError: there is nothing to take a median of.
    """

    if runs < 1:
        raise ValueError(f"a profile needs at least one run, not {runs}")
    network, count = opened(model, use="times", profile_clock=clock), runs + DROPPED
    for number in range(count):
        run_opened(network, feed)
        if watch is not None:
            watch((number + 1) / count)
    try:
        text = network.process.ask({"do": "profile", "session": network.number}).buffers[0].decode()
    except NodeFailure as error:
        raise ModelError(f"{PACKAGE} cannot profile the model: {complaint(error)}") from error
    nodes = times_of_events(json.loads(text[text.index("[\n") : text.rindex("]") + 1]))
    return [replace(node, op_type="Conv") if node.op_type == "FusedConv" else node for node in nodes]


def failures() -> tuple[type[Exception], ...]:
    """What a run raises where it fails."""
    return (NodeFailure, TypeError)


def complaint(error: BaseException) -> str:
    """What was said, without codes and source positions: one short line."""
    said = re.sub(r"(?:Can't create a session|failed to call OrtRun\(\))\. ", "", str(error))
    said = re.sub(r"ERROR_CODE: \d+, ERROR_MESSAGE: ", "", said)
    said = re.sub(r"\S+\.(?:cc|cpp|h|hpp):\d+ (?:[\w:~<>*& ]+\([^()]*\)(?: const)? |\w+ )?", "", said)
    return one_line(said, type(error).__name__)


def _port(about: Mapping[str, Any]) -> PortInfo:
    kind = str(about["type"])
    return PortInfo(str(about["name"]), f"tensor({_TYPES.get(kind, kind)})", tuple(about["shape"]))
