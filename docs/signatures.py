"""The keyword arguments of the public functions, as types: written by ``python -m docs.generate``.

Options are defined once, in ``sepfactor/options.py``, and ``sepfactor/uses.py`` says who uses them. Editors
and type checkers do not run code, so what follows from both is written to ``sepfactor/signatures.py``.
"""

from __future__ import annotations

import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from sepfactor.amounts import Amount
from sepfactor.options import LayerOptions, Options, default_text
from sepfactor.uses import GROUPS, USES

_WIDTH = 110

_HEAD = '''\
"""Keyword arguments of the public functions; made by ``python -m docs.generate``, not by hand.

A key is an option: :class:`sepfactor.options.Options` defines it, and :mod:`sepfactor.uses` says who uses it.
None stands for the default, as if it were not given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from sepfactor.amounts import Amount
from sepfactor.options import LayerOptions
from sepfactor.plans.document import Plan
'''

_FREE = {
    "metric": "str | Callable[[Mapping[str, Any], Mapping[str, Any]], float]",
    "plan": "Plan | str | os.PathLike[str]",
}
"""Options that take objects of one sort, which their definition does not name."""


def signatures() -> str:
    """The module as it should be."""
    return "\n\n\n".join((_HEAD.rstrip(), *map("\n".join, _classes()))) + "\n"


def class_name(function: str) -> str:
    """Of the type of a function's keyword arguments."""
    return f"{function.capitalize()}Options"


def _classes() -> Iterator[list[str]]:
    for group in GROUPS:
        lines = [f"class _{group.name}(TypedDict, total=False):"]
        for name in group.options:
            kind = _type(name)
            lines += [f"    {name}: {kind}{'' if kind == 'Any' else ' | None'}", *_docstring(name)]
        yield lines
    for function in USES:
        groups = [f"    _{group.name}," for group in GROUPS if function in group.functions]
        yield [
            f"class {class_name(function)}(",
            *groups,
            "    total=False,",
            "):",
            f'    """Options of :func:`sepfactor.{function}`."""',
        ]


def _docstring(name: str) -> list[str]:
    text, default = Options.model_fields[name].description, default_text(name)
    said = f'"""{text}{f" Default: {default}." if default else ""}"""'
    return textwrap.wrap(
        said, _WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
    )


def _type(name: str) -> str:
    """What may be given for an option, as source text."""
    if name in _FREE:
        return _FREE[name]
    return _written(Options.model_fields[name].annotation, Options.model_fields[name].metadata)


def _written(kind: Any, metadata: list[Any]) -> str:
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = (part for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        values = ", ".join(f'"{value}"' for value in get_args(kind))
        return f"Literal[{values}]"
    if get_origin(kind) is tuple:
        part = get_args(kind)[0].__name__
        return f"{part} | Sequence[{part}]"
    if name := {Amount: "Amount | str | float", Path: "str | os.PathLike[str]", Any: "Any"}.get(kind):
        return name
    if kind is int and any(hasattr(one, "func") for one in metadata):  # read from text, such as 2GB
        return "int | str"
    if kind in (int, float, bool, str):
        return str(kind.__name__)
    value = get_args(kind)[1]
    if value is LayerOptions:
        return "Mapping[str, LayerOptions | Mapping[str, Any]]"
    return f"Mapping[str, Sequence[{get_args(value)[0].__name__}]]"
