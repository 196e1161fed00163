"""Write the parts of these pages that are made of the code: ``python -m docs.generate``.

The tests compare them with what this would write, so that they cannot go stale.
"""

from __future__ import annotations

import ast
import importlib
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import sepfactor
from docs.signatures import signatures
from sepfactor.cli import COMMANDS
from sepfactor.cli.headings import HEADINGS
from sepfactor.options import LayerOptions, Options, default_text
from sepfactor.uses import USES, users_of

DOCS = Path(__file__).resolve().parent
PACKAGE = Path(sepfactor.__file__).parent
GAP = "…"
"""Stands for what differs from layer to layer."""

BEGIN, END = "<!-- made by generate.py: {} -->", "<!-- end -->"

_REWRITING = PACKAGE / "study" / "rewriting.py"
"""Where the reasons are why ``tidy`` leaves a rewriting out; all others are of layers."""

_CARRY = {"Reason", "Skip", "Broken"}
"""What is called with a code, a text and perhaps a detail of a reason."""


def main() -> None:
    """Write every page that has a generated part, and the keyword arguments of the public functions."""
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
    (PACKAGE / "signatures.py").write_text(signatures(), encoding="utf-8")


def pages() -> dict[str, str]:
    """File name → the page as it should be."""
    parts = {
        "options.md": {"options": options(), "commands": flags()},
        "skipped.md": {"reasons": reasons_page()},
        "tidy.md": {"reasons": rewriting_reasons()},
    }
    return {name: _filled((DOCS / name).read_text(encoding="utf-8"), part) for name, part in parts.items()}


def _filled(page: str, parts: dict[str, str]) -> str:
    for name, text in parts.items():
        begin = BEGIN.format(name)
        head, rest = page.split(begin)
        page = f"{head}{begin}\n\n{text.strip()}\n\n{rest[rest.index(END) :]}"
    return page


def options() -> str:
    """Every field of :class:`Options`, by group."""
    lines = []
    for title, names in HEADINGS.items():
        lines += [f"### {title}", "", "| Option | Value | Default | Of | |", "|---|---|---|---|---|"]
        for name in names:
            row = (
                f"`{_kebab(name)}`",
                _values(name),
                default_text(name),
                _users(name),
                Options.model_fields[name].description,
            )
            lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |")
        lines.append("")
    missing = set(Options.model_fields) - {name for names in HEADINGS.values() for name in names}
    if missing:
        raise AssertionError(f"put {sorted(missing)} under a heading of sepfactor/cli/headings.py")
    return "\n".join(lines)


def _users(name: str) -> str:
    """The functions, and commands, that use an option."""
    users = users_of(name)
    return "all" if len(users) == len(USES) else ", ".join(users)


def _values(name: str) -> str:
    kind = Options.model_fields[name].annotation
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    if name == "layers":
        return "tables of " + ", ".join(f"`{_kebab(field)}`" for field in LayerOptions.model_fields)
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if kind is bool:
        return "yes or no"
    if "Amount" in str(kind):
        return "number, or share such as `1%`"
    if get_origin(kind) is tuple:
        return "names" if get_args(kind)[0] is str else "numbers"
    if name == "input_shape":
        return "`NAME:1,3,224,224`"
    extra: Any = Options.model_fields[name].json_schema_extra
    metavar = extra["metavar"] or ""
    return {int: "whole number", float: "number"}.get(kind, f"`{metavar}`" if metavar else "")  # type: ignore[arg-type]


def flags() -> str:
    """The flags of every command."""
    lines = []
    for name, text in COMMANDS.items():
        command = importlib.import_module(f"sepfactor.cli.{name}").command
        arguments = " ".join(
            p.make_metavar(_context(command)) for p in command.params if p.param_type_name == "argument"
        )
        shown = []
        for parameter in command.params:
            if parameter.param_type_name == "option":
                names = [*parameter.opts, *parameter.secondary_opts]
                shown.append("/".join(f"`{flag}`" for flag in names))
        lines += [f"### sepfactor {name} {arguments}", "", text, "", ", ".join(shown) + ".", ""]
        for parameter in command.params:
            own = parameter.param_type_name == "option" and parameter.name not in Options.model_fields
            if own and parameter.name not in _SHARED:
                lines.append(f"- `{parameter.opts[-1]}`: {parameter.help.rstrip('.')}.")
        lines.append("")
    return "\n".join(lines)


_SHARED = {"json_to", "markdown", "verbose", "quiet", "help"}
"""Flags of all commands, told of once."""


def _context(command: Any) -> Any:
    import click

    return click.Context(command)


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def reasons_page() -> str:
    """Every reason in the code, by where it is found."""
    lines = []
    for title, found in reasons().items():
        lines += [f"### {title}", "", *(f"- `{code}`: {text}" for text, code in found.items()), ""]
    return "\n".join(lines)


def rewriting_reasons() -> str:
    """Why a rewriting is left out."""
    return "\n".join(f"- `{code}`: {text}" for code, text in _in_file(_REWRITING, _constants()))


def reasons() -> dict[str, dict[str, str]]:
    """Reasons for which a layer stays as it is, as templates, with their codes; ``…`` is what differs."""
    rooms = {
        "Found while the network is read": ("graph", "study"),
        "No scheme fits": ("factor",),
        "Nothing cheaper, or nothing faster": ("fit", "search", "plans"),
    }
    by_title = {t: [f for one in names for f in PACKAGE.glob(f"{one}/*.py")] for t, names in rooms.items()}
    words = _constants()
    found = {}
    for title, files in by_title.items():
        layers = sorted({*files} - {_REWRITING})
        texts = {text: code for file in layers for code, text in _in_file(file, words)}
        if texts:
            found[title] = dict(sorted(texts.items(), key=lambda item: item[0].casefold()))
    return found


def _constants() -> dict[str, str]:
    """Module constants that are text, wherever they are."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                found |= {
                    target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)
                }
    return found


def _in_file(file: Path, words: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Code and whole text of each reason in a file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in _CARRY and len(node.args) >= 2:
            code, text, *rest = node.args
            if not isinstance(code, ast.Constant):
                continue
            for said in _texts(text, words):
                details = list(_texts(rest[0], words)) or [GAP] if rest else [""]
                for detail in details:
                    yield str(code.value), f"{said} ({detail})" if detail else said


def _texts(node: ast.expr, words: dict[str, str]) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.BoolOp(values=values):
            for value in values:
                yield from _texts(value, words)
        case ast.IfExp(body=body, orelse=orelse):
            yield from _texts(body, words)
            yield from _texts(orelse, words)
        case ast.JoinedStr(values=values):
            yield re.sub(f"{GAP}+", GAP, "".join(_part(value, words) for value in values))


def _part(value: ast.expr, words: dict[str, str]) -> str:
    match value:
        case ast.Constant(value=text):
            return str(text)
        case ast.FormattedValue(value=ast.Name(id=name)) if name in words:
            return words[name]
    return GAP


if __name__ == "__main__":
    main()
