"""What can be asked for of a layer, and which layers a pattern names."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator


def kebab(name: str) -> str:
    """An option as config files and flags spell it."""
    return name.replace("_", "-")


def _several(value: Any) -> Any:
    """One name or number, where several may stand, is a list of one."""
    return (value,) if isinstance(value, str | int | float) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_several)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_several)]


def asked(
    default: Any, text: str, *, metavar: str | None = None, shown: str | None = None, **limits: Any
) -> Any:
    """A field with what people read of it.

    Args:
        default: its value if not given.
        text: one or two sentences.
        metavar: what stands for its value in the help.
        shown: the default in words, where the value itself would say little.
        **limits: of pydantic, such as ``ge=1``.
    """
    extra: dict[str, Any] = {"metavar": metavar, "shown": shown}
    return Field(default=default, description=text, json_schema_extra=extra, **limits)


class Frozen(BaseModel):
    """A record that knows its fields with hyphens too, and no others."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=kebab,
        populate_by_name=True,
        arbitrary_types_allowed=True,
    )


class LayerOptions(Frozen):
    """How candidates of a layer are chosen; in a config file, a table ``[layers."GLOB"]``."""

    scheme: Names = asked((), "Use only these schemes, or families of schemes.", metavar="NAME")
    rank: int | None = asked(None, "Use this rank everywhere, instead of a budget.", metavar="N", ge=1)
    max_error: float | None = asked(
        None,
        "Relative output error each layer may have. Without a budget, the fastest within it.",
        metavar="X",
        ge=0,
        allow_inf_nan=False,
    )
    keep: bool = asked(False, "Leave the layer alone.")

    @model_validator(mode="after")
    def _one_rule(self) -> LayerOptions:
        if self.rank is not None and self.max_error is not None:
            raise ValueError("rank and max-error exclude each other: give one of the two")
        return self

    @field_validator("scheme")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if names:
            from sepfactor.factor import select_schemes  # slow to import, and most runs name none

            select_schemes(names)
        return names


def merged(general: LayerOptions, own: LayerOptions) -> LayerOptions:
    """What a table says of a layer, over the general rule."""
    said = {name: getattr(own, name) for name in own.model_fields_set}
    if "rank" in said:
        said.setdefault("max_error", None)
    if "max_error" in said:
        said.setdefault("rank", None)
    return general.model_copy(update=said)


def fits(pattern: str, names: Iterable[str], literal: Collection[str] = ()) -> bool:
    """Whether a pattern names a layer: as it stands, or as a glob that fits one of its names, case and all.

    Args:
        pattern: a name or a glob.
        names: those the layer goes by.
        literal: names of the network's layers; a pattern that is one of them is no glob.

    >>> fits("layer[0]", ["layer[0]"]), fits("layer[0]", ["layer0"])
    (True, True)
    >>> fits("layer[0]", ["layer0"], literal=["layer[0]", "layer0"])
    False
    """
    if pattern in literal:
        return pattern in names
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for name in names)
