"""Running the command line in an empty folder."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from sepfactor.cli import main
from tests import networks

Run = Callable[..., Result]
Listing = dict[str, str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: ``model.onnx`` and ``data.npz`` for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sepfactor.cli.lines.QUIET_S", float("inf"))  # however slow the machine is
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    onnx.save(networks.plain(), "model.onnx")
    np.savez("data.npz", image=networks.images())
    return tmp_path


@pytest.fixture
def sepfactor(folder: Path) -> Run:
    """Run a command in ``folder``; a warning or an unexpected exception fails the test."""

    def run(*arguments: object, env: dict[str, str] | None = None) -> Result:
        result = CliRunner().invoke(main, [str(a) for a in arguments], prog_name="sepfactor", env=env)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


@pytest.fixture
def refused(sepfactor: Run, folder: Path) -> Callable[..., str]:
    """Run what has to fail: one sentence on stderr (returned), and not a byte changed on the disk."""

    def run(code: int, *arguments: object) -> str:
        before = listing(folder)
        result = sepfactor(*arguments)
        lines = result.stderr.strip().splitlines()
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        assert lines[-1].startswith("Error: ")
        assert len(lines) == 1 or lines[0].startswith("Usage: ")  # what click says of wrong usage
        assert lines[-1].endswith((".", "?")) or code == 2
        assert "Traceback" not in result.stderr
        assert "unexpectedly" not in result.stderr
        assert listing(folder) == before
        return lines[-1]

    return run


@pytest.fixture
def always_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every candidate counts as twice as fast, so that nothing hangs on the machine; and fits are brief."""
    # Importing it up here would pay for onnxruntime in tests that never run a network.
    from tests.timing import decide_times, fit_briefly

    decide_times(monkeypatch, 2.0)
    fit_briefly(monkeypatch)


def listing(folder: Path) -> Listing:
    """Every file, folder and link below, with what it holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"link {path.readlink()}"
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture
def python() -> str:
    return sys.executable
