"""What other projects use of this repository: the container file, the action, and the hook for pre-commit."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests import networks

pytestmark = pytest.mark.skipif(importlib.util.find_spec("yaml") is None, reason="PyYAML is not installed")

COMPRESS = {"DATA": "", "OUTPUT": "faster.onnx", "OPTIONS": "--max-error=0\n--bench-seconds=0\n\n"}


def _yaml(file: Path) -> Any:
    import yaml

    return yaml.safe_load(file.read_text(encoding="utf-8"))


@pytest.fixture
def elsewhere(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own with a network in it, where ``sepfactor`` is a command."""
    place = tmp_path / "a project"
    (place / "bin").mkdir(parents=True)
    command = place / "bin" / "sepfactor"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m sepfactor "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.chdir(place)
    onnx.save(networks.plain(), place / "plain.onnx")
    onnx.save(networks.inseparable(), place / "inseparable.onnx")
    return place


def _acted(place: Path, root: Path, **values: str) -> tuple[int, dict[str, str], str]:
    """Run the second step of the action: its exit code, its outputs, and its summary."""
    step = next(s for s in _yaml(root / "action.yml")["runs"]["steps"] if s.get("id") == "compress")
    assert set(step["env"]) == {"MODEL", "REPORT", *COMPRESS}
    runner = {
        "REPORT": str(place / "report.json"),
        "GITHUB_OUTPUT": str(place / "outputs"),
        "GITHUB_STEP_SUMMARY": str(place / "summary"),
    }
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    done = subprocess.run(shell, cwd=place, env={**os.environ, **runner, **COMPRESS, **values}, check=False)
    said = (place / "outputs").read_text().splitlines() if (place / "outputs").exists() else []
    return done.returncode, dict(line.split("=", 1) for line in said), (place / "summary").read_text()


def test_action_compresses(elsewhere: Path, root: Path) -> None:
    model = root / "models" / "fixed_filters.onnx"
    options = "--max-error=0\n--limit=2\n--force\n--bench-seconds=0.1"
    code, outputs, summary = _acted(elsewhere, root, MODEL=str(model), OPTIONS=options)
    assert code == 0
    assert outputs["result"] == "faster"
    assert outputs["model"] == "faster.onnx"
    onnx.checker.check_model(str(elsewhere / "faster.onnx"))
    measured = json.loads(Path(outputs["report"]).read_text(encoding="utf-8"))["speed"]["ratio"]
    assert outputs["speedup"] == f"{measured:.2f}"
    assert summary.startswith(f"**{measured:.2f}× ")


def test_action_ships_the_original_where_nothing_is_worth_replacing(elsewhere: Path, root: Path) -> None:
    code, outputs, _ = _acted(elsewhere, root, MODEL="inseparable.onnx")
    assert code == 0
    assert (outputs["result"], outputs["model"], outputs["speedup"]) == ("unchanged", "inseparable.onnx", "")


def test_action_fails_where_compressing_does(elsewhere: Path, root: Path) -> None:
    code, outputs, _ = _acted(elsewhere, root, MODEL="absent.onnx")
    assert code == 1
    assert not outputs


def test_action_gives_nothing_of_a_user_to_the_shell(root: Path) -> None:
    action = _yaml(root / "action.yml")
    assert not [step["run"] for step in action["runs"]["steps"] if "${{" in step["run"]]
    used = set(re.findall(r"inputs\.(\w+)", (root / "action.yml").read_text(encoding="utf-8")))
    assert used == set(action["inputs"])


@pytest.mark.parametrize("number", [0, 1])
def test_hook(elsewhere: Path, root: Path, number: int) -> None:
    hook = _yaml(root / ".pre-commit-hooks.yaml")[number]
    assert re.search(hook["files"], "models/plain.onnx")
    entry = shlex.split(hook["entry"])
    fine = subprocess.run([*entry, "plain.onnx", "plain.onnx"], capture_output=True, text=True, check=False)
    assert fine.returncode == 0, fine.stderr
    before = sorted(elsewhere.iterdir())
    (elsewhere / "cut off.onnx").write_bytes((elsewhere / "plain.onnx").read_bytes()[:100])
    wrong = subprocess.run(
        [*entry, "cut off.onnx", "plain.onnx"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 1
    assert "cut off.onnx" in wrong.stderr
    assert sorted(elsewhere.iterdir()) == sorted([*before, elsewhere / "cut off.onnx"])


def test_container_copies_what_there_is(root: Path) -> None:
    """No image is built here, but what it is built of exists, is let through, and suffices for a wheel."""
    lines = (root / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    copied = {name for names in copies for name in names}
    assert all((root / name).exists() for name in copied)
    context = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied == {line[1:] for line in context if line.startswith("!")}
    assert 'ENTRYPOINT ["sepfactor"]' in lines
