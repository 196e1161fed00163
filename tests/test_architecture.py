"""The arrows between the rooms point one way, as CONTRIBUTING.md says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sepfactor"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 400

EVERYWHERE = {"errors"}
_PLAIN = {"__init__", "amounts", "layout", "options", "progress", "serialized", "threads"}
"""Ground floor beside ``errors``: what says nothing of networks."""

_STUDY = {*_PLAIN, "factor", "graph", "data", "measure", "plans"}

MAY_IMPORT = {
    "__init__": {"benchmark", "comparison", "inspection", "options", "pipeline", "planning", "plans"},
    "__main__": {"cli"},
    "errors": set(),
    "layout": set(),
    "progress": set(),
    "threads": set(),
    "amounts": set(),
    "config": set(),
    "options": {"amounts", "config"},
    "factor": set(),
    "serialized": set(),
    "graph": {"factor", "layout", "serialized"},
    "data": {"factor"},
    "plans": {"factor", "layout"},
    "measure": {"__init__", "serialized", "threads"},
    "report": set(),
    "study": {*_STUDY, "report", "fit", "search"},
    "fit": {*_STUDY, "study", "search"},
    "search": {*_STUDY, "study", "fit", "report"},
    "deliver": {*_STUDY, "study", "fit", "search", "report"},
    **{
        way: {*_STUDY, "study", "fit", "search", "deliver", "report"}
        for way in ("pipeline", "inspection", "benchmark", "comparison")
    },
    "planning": {*_STUDY, "study", "fit", "search", "deliver", "report", "pipeline"},
    "cli": {
        *("__init__", "benchmark", "comparison", "inspection", "options", "pipeline"),
        *("planning", "progress", "report"),
    },
}
"""Room → rooms it may know; each may know itself and ``errors``. ``__init__`` holds the version."""

FOREIGN = {
    "onnx": {"graph", "deliver"},
    "onnx_ir": {"graph", "inspection", "pipeline", "study", "fit", "search", "deliver"},
    "onnxscript": {"graph"},
    "onnxruntime": {"measure"},
    "click": {"cli"},
    "rich": {"cli", "report"},
    "pydantic": {"cli", "options", "plans", "report"},
    "tomli_w": {"config"},
    "scipy": {"factor", "measure", "data", "plans", "search"},
    "platformdirs": {"measure"},
    "PIL": {"data"},
    "jinja2": {"report"},
    "vl_convert": {"report"},
}
"""Library → rooms that may know it."""


def room(file: Path) -> str:
    first = file.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(tree: ast.Module) -> Iterator[str]:
    """Dotted names of modules, wherever in the file they are imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            assert node.module is not None
            if node.module == "sepfactor":  # names of rooms, or the version
                names = (alias.name for alias in node.names)
                yield from (f"sepfactor.{n}" if _is_room(n) else "sepfactor.__init__" for n in names)
            else:
                yield node.module


def _is_room(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_arrows(file: Path) -> None:
    own = room(file)
    allowed = MAY_IMPORT[own] | EVERYWHERE | {own}
    for name in imports(ast.parse(file.read_text(encoding="utf-8"))):
        library, _, inner = name.partition(".")
        if library == "sepfactor":
            assert inner.partition(".")[0] in allowed, f"{own} imports {name}"
        elif library in FOREIGN:
            assert own in FOREIGN[library], f"{own} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_files(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    named = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
    assert not named & {"print", "breakpoint", "exit", "eval", "exec"}


def test_rooms_are_described() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for folder in PACKAGE.iterdir():
        if (folder / "__init__.py").exists():
            assert f"`sepfactor/{folder.name}/`" in text
