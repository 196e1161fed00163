"""What a terminal sees: colour and progress, and neither where they are not wanted."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("pty", reason="there are no pseudo-terminals here")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")

Run = Callable[..., str]


@pytest.fixture
def run(root: Path, folder: Path) -> Run:
    """Run a command with stdout and stderr on one terminal, 100 columns wide; what it shows."""

    def shown(*arguments: object, **env: str) -> str:
        import pty

        ours, theirs = pty.openpty()
        clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
        process = subprocess.Popen(
            [sys.executable, "-m", "sepfactor", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env={**clean, "PYTHONPATH": str(root), "COLUMNS": "100", "TERM": "xterm-256color", **env},
        )
        os.close(theirs)
        parts = []
        while select.select([ours], [], [], 60)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:  # how Linux says that nobody is at the other end
                break
            if not part:
                break
            parts.append(part)
        os.close(ours)
        assert process.wait(60) == 0, b"".join(parts)
        return b"".join(parts).decode()

    return shown


GIVEN = ("compare", "model.onnx", "model.onnx", "--data", "data.npz")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
SOME_COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|38;)[0-9;]*m")


def test_progress_says_what_it_does_and_what_is_left(run: Run) -> None:
    text = COLOUR.sub("", run("inspect", "model.onnx"))
    for words in ("left", "how separable layers are", "head.last"):
        assert words in text


def test_colour_on_a_terminal_unless_it_is_declined(run: Run) -> None:
    notes = ("compare", "model.onnx", "model.onnx")  # no data: a warning, in yellow
    assert SOME_COLOUR.search(run(*notes))
    assert not SOME_COLOUR.search(run(*notes, NO_COLOR="1"))


def test_quiet_means_nothing_at_all(run: Run) -> None:
    plan = ("plan", "model.onnx", "--data", "data.npz", "--scheme", "spatial", "--rank", "2")
    assert run(*plan, "-o", "plan.json", "-q") == ""


def test_quiet_leaves_a_result_that_was_asked_for_without_progress(run: Run) -> None:
    assert "SNR" in run(*GIVEN, "-q")
    assert "left" not in run("inspect", "model.onnx", "-q")


def test_markdown_is_plain_even_on_a_terminal(run: Run) -> None:
    text = run(*GIVEN, "--markdown", NO_COLOR="1")
    table = text[text.index("| Output") :]
    assert "\x1b" not in table
