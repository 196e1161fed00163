"""The README and every page of the manual are run as they are written, but with little timing and fitting."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner

from sepfactor.cli import main
from sepfactor.measure import ENGINES
from sepfactor.options import make_options
from tests.docs.blocks import LANGUAGES, PAGES, ROOT, WORDS, Block, blocks
from tests.docs.briefly import time_briefly
from tests.docs.prepare import PREPARED, prepare
from tests.engines import lacks

_WITHOUT_SEARCH = ("--limit", "8", "--scheme", "spatial-vertical", "--rank", "32")
"""Searching for a plan takes long; CI does it once, as it stands in the README."""

ALL = [block for page in PAGES for block in blocks(page)]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory like a fresh clone, with a ``sepfactor`` that does not take long."""
    (tmp_path / "models").symlink_to(ROOT / "models", target_is_directory=True)
    bin_folder = tmp_path / ".bin"
    bin_folder.mkdir()
    command = bin_folder / "sepfactor"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tests.docs.briefly "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_folder), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    time_briefly(monkeypatch)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, checkout: Path) -> None:
    """From top to bottom; names of Python hold on, and so do files."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if not block.is_run or not _has(block.said.get("needs", "")):
            continue
        prepare(block.said.get("given", ""))
        if block.language == "python":
            exec(compile("\n" * block.line + block.text, str(block), "exec"), names)
        elif block.language == "toml":
            Path("config.toml").write_text(block.text, encoding="utf-8")
            assert make_options({}, Path("config.toml")) != make_options({}), block
        else:
            _shell(block)
    for written in checkout.glob("*.onnx"):
        onnx.checker.check_model(str(written), full_check=True)


def _shell(block: Block) -> None:
    wanted = int(block.said.get("exit", 0))
    lines = [line for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]
    if "sets up" in block.said:
        lines = list(_commands(block.text))
    if not all(re.match(r"sepfactor [^|>$&;]*$", line.partition("#")[0].strip()) for line in lines):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text], capture_output=True, check=False
        )
        assert done.returncode == wanted, f"{block}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        return
    for line in lines:  # here, which is quicker
        result = CliRunner().invoke(main, shlex.split(line, comments=True)[1:], prog_name="sepfactor")
        assert result.exit_code == wanted, f"{block}: {line}\n{result.output}\n{result.exception!r}"


def _commands(text: str) -> Iterator[str]:
    """Every ``sepfactor`` of a block, without the search; what sets up comes before it, joined by ``&&``."""
    for step in re.split(r"&&|\n", text):
        words = shlex.split(step, comments=True)
        if words and Path(words[0]).name == "sepfactor":
            yield shlex.join(["sepfactor", *words[1:], *_WITHOUT_SEARCH])


def _has(name: str) -> bool:
    if name in ENGINES:
        return not lacks(name)
    return not name or shutil.which(name) is not None or importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("block", ALL, ids=str)
def test_block_is_marked_by_the_rules(block: Block) -> None:
    assert block.language in LANGUAGES
    assert set(block.said) <= WORDS
    assert set(block.said.get("given", "").split()) <= set(PREPARED)
    assert block.said.get("not run", "why") != "", "say why it is not run"
    if block.language == "text":
        assert "$ " not in block.text, "commands belong into sh blocks, which are run"


def test_every_fence_is_a_block() -> None:
    for page in PAGES:
        fences = re.findall(r"^ *```", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len([block for block in ALL if block.page == page.name]), page


def test_there_is_something_to_run() -> None:
    for page in ("README.md", "index.md", "recipes.md", "python.md"):
        assert sum(block.page == page and block.is_run for block in ALL) > 1, page
