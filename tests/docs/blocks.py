"""Fenced blocks of a page, and what is to be done with them.

A page is run from top to bottom in one folder, with ``models/`` in it. Blocks in ``sh`` and ``python`` are
run, ``toml`` is read as a config file, ``text`` is for reading only. A comment before a block says more::

    <!-- given: model.onnx images.npz -->      files to prepare, see ``prepare.py``
    <!-- exit: 3 -->                           the exit code it has to end with
    <!-- needs: jq -->                         a program or a package; skipped where it is absent
    <!-- sets up -->                           its sepfactor commands are run, at a fixed rank; CI runs all
    <!-- not run: why -->                      never
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"sh", "python", "toml", "text"}
WORDS = {"given", "exit", "needs", "sets up", "not run"}

_BLOCK = re.compile(r"((?:^[ ]*<!-- .*? -->\n)*)^([ ]*)```(\w*)\n(.*?)^\2```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its page and line, its language and text, and what the comments before it say."""

    page: str
    line: int
    language: str
    text: str
    said: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_run(self) -> bool:
        return "not run" not in self.said and self.language != "text"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        said = {}
        for comment in re.findall(r"<!-- (.*?) -->", found[1]):
            name, _, value = comment.partition(":")
            said[name.strip()] = value.strip()
        line = text[: found.start(3)].count("\n") + 1
        yield Block(page.name, line, found[3], found[4], said)
