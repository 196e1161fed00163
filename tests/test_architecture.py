"""The arrows between the rooms point one way, as CONTRIBUTING.md says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sepfactor"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 400

EVERYWHERE = {"codes", "errors", "extras", "files", "results", "text", "words"}
"""Ground floor: what everybody may know."""

_PLAIN = {
    *(
        "__init__",
        "amounts",
        "journal",
        "layout",
        "memory",
        "options",
        "progress",
        "resources",
        "scratch",
        "serialized",
        "threads",
        "user_code",
    ),
}
"""What says nothing of networks."""

_STUDY = {*_PLAIN, "factor", "graph", "data", "measure", "plans"}
_SEARCH = {*_STUDY, "budgets", "study", "fit", "tune"}
_DELIVER = {*_SEARCH, "search", "report"}

_ALONE = ("inspection", "benchmark", "comparison")
"""Ways through that share nothing with others but the steps."""

MAY_IMPORT = {
    "__init__": {*_ALONE, "pipeline", "tidying", "deliver", "options", "plans"},
    "__main__": {"cli"},
    "codes": set(),
    "errors": set(),
    "extras": set(),
    "files": set(),
    "results": set(),
    "text": set(),
    "words": set(),
    "layout": set(),
    "journal": set(),
    "progress": set(),
    "threads": set(),
    "memory": set(),
    "resources": {"memory", "threads"},
    "scratch": set(),
    "amounts": set(),
    "config": set(),
    "serialized": set(),
    "uses": set(),
    "user_code": set(),
    "visible": set(),
    "outputs": set(),
    "reads": {"graph", "options"},
    "layer_options": {"factor"},
    "contradictions": {"layer_options"},
    "choices": {"factor", "measure"},
    "options": {"amounts", "config", "contradictions", "layer_options", "uses"},
    "signatures": {"amounts", "options", "plans"},
    "factor": {"threads"},
    "graph": {"factor", "layout", "outputs", "scratch", "serialized", "threads"},
    "data": {"factor", "memory", "user_code"},
    "plans": {"factor", "layout"},
    "measure": {"__init__", "layout", "memory", "scratch", "serialized", "threads"},
    "budgets": {"amounts", "measure", "options"},
    "report": {"visible"},
    "study": _STUDY,
    "tune": {*_STUDY, "study"},
    "fit": {*_STUDY, "study", "tune"},
    "search": _SEARCH,
    "deliver": {*_DELIVER, "uses"},
    **{way: {*_DELIVER, "deliver", "signatures"} for way in _ALONE},
    "pipeline": {*_DELIVER, "deliver", "outputs", "reads", "signatures", "uses"},
    "tidying": {*_DELIVER, "deliver", "pipeline", "signatures"},
    "cli": {
        *("__init__", "benchmark", "choices", "comparison", "deliver", "inspection", "options", "outputs"),
        *("pipeline", "progress", "reads", "report", "tidying", "uses", "visible"),
    },
}
"""Room → rooms it may know; each may know itself and ``errors``. ``__init__`` holds the version."""

FOREIGN = {
    "onnx": {"graph", "deliver", "measure"},
    "onnx_ir": {"graph", "inspection", "pipeline", "tidying", "study", "tune", "fit", "search", "deliver"},
    "onnxscript": {"graph"},
    "onnxruntime": {"measure"},
    "openvino": {"measure"},
    "ncnn": {"measure"},
    "click": {"cli"},
    "rich": {"cli", "report"},
    "pydantic": {"cli", "journal", "layer_options", "options", "plans", "report", "results"},
    "tomli_w": {"config"},
    "scipy": {"factor", "measure", "data", "plans", "search"},
    "platformdirs": {"measure"},
    "PIL": {"data"},
    "jinja2": {"report"},
    "vl_convert": {"report"},
    "torch": {"tune"},
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


def module(file: Path) -> str:
    """Dotted name; of an ``__init__`` that of its folder."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def import_graph() -> dict[str, set[str]]:
    """Module → modules it imports anywhere: at the top, in functions, or for types alone.

    The package itself is left out: it hands on names of modules that take the version from it.
    """
    trees = {module(file): ast.parse(file.read_text(encoding="utf-8")) for file in FILES}
    del trees["sepfactor"]
    graph: dict[str, set[str]] = {}
    for name, tree in trees.items():
        found = set(imports(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):  # names that are modules themselves
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
                if any(f"{node.module}.{alias.name}" not in trees for alias in node.names):
                    continue
                found.discard(str(node.module))
        graph[name] = found & set(trees)
    return graph


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = import_graph()
    assert graph["sepfactor.data.sources"] >= {"sepfactor.data.images", "sepfactor.data.synthetic"}
    assert "sepfactor.report.markup" in graph["sepfactor.report"]  # inside of a function
    TopologicalSorter(graph).prepare()  # a CycleError names the circle


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
