"""What all results have in common: they do not change, know their fields, and are strict JSON."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema

from sepfactor.errors import OptionError

SCHEMA_VERSION = "2.0"
"""Of the JSON. Documents of another first number are not read."""


class Frozen(BaseModel):
    """Immutable, of known fields only; what is not finite is null in JSON."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        ser_json_inf_nan="null",
        json_schema_serialization_defaults_required=True,  # for every field is written
    )


_OR_NULL = WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]})

Unbounded = Annotated[float, BeforeValidator(lambda value: math.inf if value is None else value), _OR_NULL]
"""A number that may be infinite, which JSON has as null."""

Unknown = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value), _OR_NULL]
"""A number that may be infinite or nan, which JSON has as null; null is read as nan."""

Count = Annotated[int, Field(ge=0)]
"""A number of things."""

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Milliseconds, or anything else that is finite and not negative."""

Probability = Annotated[float, Field(ge=0, le=1)]
"""A share of 1."""


Json = JsonValue
"""Anything JSON can hold."""


class Document(Frozen):
    """What a command puts out: as data, as JSON, and as a notebook shows it.

    Attributes:
        schema_version: of the JSON.
        sepfactor_version: that made it.
    """

    as_html: ClassVar[Callable[[Document], str] | None] = None
    """How notebooks show a document; set by the views (:mod:`sepfactor.report`)."""

    schema_version: str = SCHEMA_VERSION
    sepfactor_version: str

    def to_json(self) -> str:
        """Strict JSON; infinite values (the SNR of equal outputs) are null."""
        return self.model_dump_json(indent=2)

    def layers_frame(self) -> Any:
        """The layers as a ``pandas.DataFrame``, a row each; reasons as their code, and as ``why`` in words.

        Raises:
            OptionError: the document has no layers, or pandas is not installed.
        """
        layers = getattr(self, "layers", None)
        if layers is None:
            raise OptionError(f"A {type(self).__name__} has no layers. A Report and an Inspection have.")
        try:
            pandas: Any = importlib.import_module("pandas")
        except ImportError:
            raise OptionError("Tables need pandas, which is not installed: pip install pandas.") from None
        return pandas.DataFrame([_row(layer) for layer in layers])

    def _repr_html_(self) -> str | None:
        show: Any = Document.as_html
        return None if show is None else str(show(self))


def _row(layer: Any) -> dict[str, Any]:
    """A layer as a row of a table."""
    row: dict[str, Any] = layer.model_dump()
    if "reason" in row:
        row["reason"] = None if layer.reason is None else layer.reason.code
        row["why"] = None if layer.reason is None else str(layer.reason)
    return row


__all__ = [
    "SCHEMA_VERSION",
    "Amount",
    "Count",
    "Document",
    "Frozen",
    "Json",
    "Probability",
    "Unbounded",
    "Unknown",
]
