"""The command line as a process of its own: what is imported, what a pipe gets."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from sepfactor import __version__
from sepfactor.cli import main
from sepfactor.cli.headings import HEADINGS

SLOW = {
    "google.protobuf",
    "jinja2",
    "numpy",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "pydantic",
    "rich",
    "scipy",
    "sympy",
}
COMMANDS = ("compress", "plan", "apply", "profile", "inspect", "bench", "compare", "report")


def run(root: Path, *arguments: str, env: Mapping[str, str] = {}) -> subprocess.CompletedProcess[bytes]:
    clean = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        check=False,
        env={**clean, "PYTHONPATH": str(root), **env},
        timeout=300,
    )


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), *((c, "--help") for c in COMMANDS)])
def test_help_imports_nothing_slow(arguments: tuple[str, ...], root: Path) -> None:
    script = (
        "import json, sys\n"
        "from sepfactor.cli import main\n"
        f"try: main({list(arguments)!r}, prog_name='sepfactor')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    done = run(root, "-c", script)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    allowed = {"pydantic"} if len(arguments) > 1 else set()  # flags are made of the definition of options
    assert not loaded & (SLOW - allowed)


def test_help_names_every_command() -> None:
    shown = CliRunner().invoke(main, ["--help"])
    assert shown.exit_code == 0
    assert all(f"\n  {command} " in shown.stdout for command in COMMANDS)
    for command in COMMANDS:
        shown = CliRunner().invoke(main, [command, "-h"])
        assert shown.exit_code == 0
        assert shown.stdout.startswith(f"Usage: main {command}")


def test_as_a_module(root: Path) -> None:
    done = run(root, "-m", "sepfactor", "--version")
    assert done.stdout.decode().split() == ["sepfactor,", "version", __version__]


def test_the_whole_way_in_a_process(root: Path, tmp_path: Path) -> None:
    """No colour in pipes, exit code 0, and nothing from onnxruntime between the lines of progress."""
    out = tmp_path / "out.onnx"
    model = root / "models" / "fixed_filters.onnx"
    done = run(
        root,
        *("-m", "sepfactor", "compress", str(model), "-o", str(out), "--limit", "1"),
        *("--bench-seconds", "0", "--ignore", "normalise.*", "--ignore", "scale_space.*"),
        env={"COLUMNS": "80", "PYTHONIOENCODING": "ascii", "PYTHONWARNINGS": "error"},
    )
    assert done.returncode == 0, done.stderr
    assert out.is_file()
    assert all(re.match(rb"\[\d+:\d\d\] \w+.*: ", line) for line in done.stderr.splitlines())
    assert b"\x1b" not in done.stdout
    assert b"smooth.blur9" in done.stdout


@pytest.mark.parametrize("encoding", ["latin-1", "cp437"])  # of ASCII click makes UTF-8
def test_signs_that_an_encoding_lacks_are_written_plainly(root: Path, tmp_path: Path, encoding: str) -> None:
    """Also where errors are asked to be strict."""
    model = str(tmp_path / "a→b×c.onnx")
    missing = run(root, "-m", "sepfactor", "inspect", model, env={"PYTHONIOENCODING": f"{encoding}:strict"})
    assert (missing.returncode, missing.stdout) == (1, b"")
    times = "×".encode(encoding, "replace").replace(b"?", b"x")
    assert b"a->b" + times + b"c.onnx." in missing.stderr


def test_an_error_in_a_process(root: Path) -> None:
    done = run(root, "-m", "sepfactor", "inspect", "nowhere.onnx")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"Error: There is no file nowhere.onnx. Check the path of the model.\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_in_a_process(root: Path, tmp_path: Path) -> None:
    feeds = tmp_path / "feeds.py"
    feeds.write_text(
        "import os, signal, time\ndef feeds():\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(60)\n"
    )
    model, out = root / "models" / "fixed_filters.onnx", tmp_path / "out.onnx"
    done = run(root, "-m", "sepfactor", "compress", str(model), "-o", str(out), "--data", f"{feeds}:feeds")
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr == b"Error: Interrupted. No file was left half-written.\n"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["feeds.py"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes")
def test_a_reader_that_goes_away(root: Path) -> None:
    """As in ``sepfactor inspect … | head -1``: no traceback, and no error."""
    model = root / "models" / "fixed_filters.onnx"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "sepfactor", "inspect", str(model), "--limit", "1", "--json", "-"],
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
            env={**os.environ, "PYTHONPATH": str(root)},
            timeout=300,
        )
    assert b"Traceback" not in done.stderr
    assert b"unexpectedly" not in done.stderr
    assert done.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="pipes")
@pytest.mark.parametrize(("arguments", "code"), [("--help", 0), ("inspect nowhere.onnx", 1)])
def test_whoever_reads_the_exit_code_is_of_what_was_done(arguments: str, code: int, root: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        words = [sys.executable, "-m", "sepfactor", *arguments.split()]
        env = {**os.environ, "PYTHONPATH": str(root)}
        done = subprocess.run(words, stdout=closed, stderr=closed, check=False, env=env, timeout=300)
    assert done.returncode == code


def test_help_has_headings() -> None:
    """Every flag stands under one of them, and those of options under the heading that the manual has."""
    for name in COMMANDS:
        command = importlib.import_module(f"sepfactor.cli.{name}").command
        shown = CliRunner().invoke(main, [name, "--help"]).stdout
        sections = dict(re.findall(r"^(\S[^\n]*):\n((?:  .*\n|\n)+)", shown, re.MULTILINE))
        assert "Options" not in sections
        assert not re.search(r"^  [A-Z]", sections["Output"], re.MULTILINE)  # arguments are no options
        for param in command.params:
            if param.param_type_name == "option":
                title = next((t for t, names in HEADINGS.items() if param.name in names), "Output")
                assert param.opts[-1] in sections[title], (name, param.name)
