"""Flags made of the one definition of options: :class:`sepfactor.options.Options`."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin

import click
from pydantic import BeforeValidator

from sepfactor.cli.completion import COMPLETE
from sepfactor.options import Options, default_text
from sepfactor.uses import USES

if TYPE_CHECKING:
    _ShapeType = click.ParamType[tuple[str, tuple[int, ...]]]
    _NumbersType = click.ParamType[tuple[float, ...]]
else:
    _ShapeType = _NumbersType = click.ParamType  # which takes a type from click 8.4 on

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]

_OF_TABLES = ("layers", "keep")
"""Options of which only config files can speak."""

_BOUNDS = (("ge", "min", None), ("le", "max", None), ("gt", "min", True), ("lt", "max", True))
"""Bound of a field, the same in click, and whether it is left out itself."""

_OF_ALL_COMMANDS = ("overwrite",)
"""Options that every command has, whatever its function uses: it is the command that writes."""


class _Shape(_ShapeType):
    """``NAME:1,3,224,224``."""

    name = "NAME:N,C,H,W"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name, colon, sizes = str(value).rpartition(":")
        try:
            shape = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            shape = ()
        if not colon or not shape:
            self.fail(f"{value!r} is not of the form input:1,3,224,224.", param, ctx)
        return name, shape


class _Numbers(_NumbersType):
    """``0.485,0.456,0.406``."""

    name = "X[,X…]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            return self.fail(f"{value!r} is not a list of numbers such as 0.485,0.456,0.406.", param, ctx)


def flag(name: str, help: str | None = None, **limits: Any) -> Callable[[F], F]:
    """The click option for a field of :class:`Options`; unset it is None.

    Args:
        name: of the field.
        help: where a command means something else by it than the definition says.
        **limits: of the click type, where a command is stricter than the definition.
    """
    field = Options.model_fields[name]
    extra = field.json_schema_extra
    metavar = extra["metavar"] if isinstance(extra, dict) else None
    spelled = f"--{name.replace('_', '-')}"
    settings: dict[str, Any] = {"help": help or field.description, "default": None, "metavar": metavar}
    settings["shell_complete"] = COMPLETE.get(name)
    default = default_text(name)
    if default and field.annotation is not bool:
        settings["help"] += f"  [default: {default}]"
    kind = _bare(field.annotation)
    if kind is bool and field.default:  # on unless it is turned off; and on again, over a config file
        return click.option(f"{spelled}/--no-{name.replace('_', '-')}", **settings)
    if kind is bool:
        return click.option(spelled, is_flag=True, **settings)
    if get_origin(kind) is tuple and get_args(kind)[0] is str:
        settings["help"] += "  Repeatable."
        return click.option(spelled, multiple=True, **settings | {"default": ()})
    if name == "input_shape":
        return click.option(spelled, type=_Shape(), multiple=True, **settings | {"default": ()})
    return click.option(spelled, type=_type(kind, field.metadata, limits), **settings)


def options_of(function: str, **own: Decorator[Any]) -> Callable[[F], F]:
    """The flags of all options that a function uses, but for those of tables in a config file.

    Args:
        function: of :mod:`sepfactor`, see :data:`sepfactor.uses.USES`.
        **own: option → its flag, where the command says something else of it than the definition.
    """
    names = [name for name in USES[function] if name not in (*_OF_TABLES, *_OF_ALL_COMMANDS)]
    return decorated([own.get(name) or flag(name) for name in names])


def spelled(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Values of options as the words to type."""
    words: list[str] = []
    for name, value in said.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{name.replace('_', '-')}")
        elif name == "input_shape":
            words += (w for n, shape in value.items() for w in (flag, f"{n}:{','.join(map(str, shape))}"))
        elif isinstance(value, tuple) and all(isinstance(one, str) for one in value):
            words += (w for one in value for w in (flag, one))
        elif isinstance(value, tuple):
            words += (flag, ",".join(map(str, value)))
        else:
            words += (flag, str(value))
    return tuple(words)


def decorated(decorators: Sequence[Callable[[Any], Any]]) -> Callable[[F], F]:
    """Several decorators as one, the first the outermost."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _bare(annotation: Any) -> Any:
    """A type without ``| None``."""
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (part for part in get_args(annotation) if part is not type(None))
    return annotation


def _type(kind: Any, metadata: Sequence[Any], limits: dict[str, Any]) -> Any:
    """What click makes of a value; what the definition itself reads from text stays text."""
    if get_origin(kind) is tuple:
        return _Numbers()
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if kind is Path:
        return click.Path(path_type=Path)
    if kind not in (int, float) or any(isinstance(part, BeforeValidator) for part in metadata):
        return str
    bounds: dict[str, Any] = {}
    for part in metadata:
        for sign, bound, is_open in _BOUNDS:
            if hasattr(part, sign):
                bounds |= {bound: getattr(part, sign)} | ({f"{bound}_open": True} if is_open else {})
    bounds |= limits
    if not bounds:
        return kind
    return click.IntRange(**bounds) if kind is int else click.FloatRange(**bounds)
