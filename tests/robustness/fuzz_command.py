"""Odd options, odd values and odd environments: ``python -m tests.robustness.fuzz_command --minutes 20``.

Whatever is typed ends in a result or a sentence: never in a traceback, nor "unexpectedly", nor by a signal;
and it ends. What is found is printed with the seed that leads to it.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import onnx

from sepfactor.cli import COMMANDS, main
from tests import networks

SECONDS = 120
"""That one run may take."""

_TEXTS = (
    *("", " ", "0", "-1", "1", "2", "3.5", "nan", "inf", "-inf", "1e400", "1" + "0" * 400),
    *("1%", "150%", "-3%", "2GB", "0.1GB", "1B", "0x10", "١", "1,2,3", "true", "{}", "'", "\n"),
    *(
        "x",
        "\udcff",
        "é",
        "\u202e",
        "a" * 300,
        "../..",
        "/dev/null",
        "/dev/full",
        "/",
        ".",
        "-",
        "--",
        "*",
        "[",
    ),
    *("m.onnx", "d.npz", "none.onnx", "link", "fifo", "p.json", "c.toml", "o.onnx", "o.json"),
    *("m.onnx:1,3,8,8", "image:1,3,8,8", "image:0,0", "spatial", "auto", "cpu", "cuda"),
    *("e.py:f", "e.py:", ":f", "os:abort", "e.py:nan", "e.py:leave"),
)
"""What may be typed as a value."""

_ENVIRONMENTS = {
    "HOME": (None, "", "/nowhere", "/dev/null", "\udcff"),
    "TMPDIR": (None, "/nowhere", "/dev/null", "tmp", "tmp\udcff"),
    "SEPFACTOR_CACHE": (None, "", "/dev/null", "/dev/full", "cache", "m.onnx", "\udcff", "a" * 300),
    "SEPFACTOR_RUN_SECONDS": (None, "", "0", "-1", "nan", "1e400", "x", "0.000001"),
    "COLUMNS": (None, "0", "1", "-5", "100000", "x"),
    "LC_ALL": (None, "C", "xx", "POSIX"),
    "PYTHONIOENCODING": (None, "ascii", "latin-1"),
    "OMP_NUM_THREADS": ("1", "0", "x"),
    "TERM": (None, "dumb", "", "xterm"),
    "XDG_CACHE_HOME": (None, "", "relative", "/dev/null"),
}

_SETUP = (
    "def f():\n    import numpy as np\n    yield {'image': np.zeros((1, 3, 8, 8), np.float32)}\n"
    "def nan(a, b):\n    return float('nan')\n"
    "def leave(*a):\n    raise SystemExit(0)\n"
)


def prepared(folder: Path) -> None:
    """Files that odd values may name."""
    weights = {"w": networks.kernel(16, 3), "v": networks.kernel(16, 16)}
    nodes = [networks.conv("image", "w", "a", pads=[1] * 4), networks.conv("a", "v", "map", pads=[1] * 4)]
    shapes = {"image": ("batch", 3, 8, 8)}, {"map": ("batch", 16, 8, 8)}
    onnx.save(networks.network(nodes, weights, *shapes), folder / "m.onnx")
    np.savez(folder / "d.npz", image=networks.images(4, 8))
    (folder / "e.py").write_text(_SETUP, encoding="utf-8")
    (folder / "c.toml").write_text("rank = 2\n", encoding="utf-8")
    (folder / "p.json").write_text("{}", encoding="utf-8")
    (folder / "link").symlink_to("m.onnx")
    os.mkfifo(folder / "fifo")
    for name in ("tmp", "tmp\udcff", "cache"):
        (folder / name).mkdir()


def typed(random_: random.Random) -> list[str]:
    """A command with odd options."""
    name = random_.choice([*COMMANDS])
    command = main.get_command(click.Context(main), name)
    assert command is not None
    words = [name]
    positional = {"compare": ["m.onnx", "link"], "bench": ["m.onnx", "link"], "apply": ["m.onnx", "p.json"]}
    usual = positional.get(name, ["p.json" if name == "report" else "m.onnx"])
    words += [given if random_.random() < 0.9 else random_.choice(_TEXTS) for given in usual]
    if name not in ("report", "tidy") and random_.random() < 0.8:
        words += ["--data", "d.npz"]
    quick = {"bench_seconds": "0", "rank": "2", "limit": "2"}
    options = [param for param in command.params if isinstance(param, click.Option)]
    for param in options:
        if param.name in quick and random_.random() < 0.8:
            words += [param.opts[0], quick[param.name]]
    for param in random_.sample(options, min(len(options), random_.randrange(4))):
        flag = random_.choice([*param.opts, *param.secondary_opts])
        words += [flag] if param.is_flag or param.count else [flag, random_.choice(_TEXTS)]
    return [word.replace("\0", "") for word in words]


def environment(random_: random.Random) -> dict[str, str]:
    """Of the process, with a few odd variables."""
    variables = dict(os.environ) | {"OMP_NUM_THREADS": "1", "SEPFACTOR_CACHE": "cache"}
    for name in random_.sample([*_ENVIRONMENTS], random_.choice([0, 0, 1, 2])):
        value = random_.choice(_ENVIRONMENTS[name])
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    return variables


def fault(words: list[str], variables: dict[str, str], folder: Path) -> str | None:
    """What is wrong with how a command ends; None where nothing is."""
    begin = [sys.executable, "-m", "sepfactor"]
    path = variables | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    try:
        done = subprocess.run(
            [*begin, *words],
            cwd=folder,
            env=path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"longer than {SECONDS} s"
    said = (done.stdout + done.stderr).decode(errors="replace")
    verbose = "-v" in words or "--verbose" in words
    for sign in (
        "unexpectedly",
        "defect of sepfactor",
        "Exception ignored",
        *(() if verbose else ("Traceback",)),
    ):
        if sign in said:
            return f"{sign}: {said[-600:]}"
    if done.returncode not in (0, 1, 2, 3, 4):
        return f"exit code {done.returncode}: {said[-600:]}"
    return None


def faults(seconds: float, seed: int) -> Iterator[tuple[int, list[str], str]]:
    """Faults found: number, what was typed, what is wrong."""
    end, number = time.monotonic() + seconds, seed
    while time.monotonic() < end:
        random_ = random.Random(number)
        words, variables = typed(random_), environment(random_)
        folder = Path(tempfile.mkdtemp())
        try:
            prepared(folder)
            wrong = fault(words, variables, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if wrong is not None:
            odd = [f"{k}={v!r}" for k, v in variables.items() if os.environ.get(k) != v]
            yield number, [*odd, *words], wrong
        number += 1
    sys.stdout.write(f"{number - seed} commands, seeds {seed} to {number - 1}\n")


def hunt() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    found = 0
    for number, words, wrong in faults(60 * asked.minutes, asked.seed):
        found += 1
        sys.stdout.write(f"seed {number}: {words!a}\n    {wrong!a}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{found} faults\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    hunt()
