"""JSON Schemas of what the commands write with ``--json``, as published beside this file.

They are made from the types in :mod:`sepfactor.results`; ``python -m sepfactor.report.schemas`` writes them
anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from sepfactor.results import Bench, Comparison, Document, Inspection, Planning, Report, Tidied

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_KINDS: dict[str, type[Document]] = {
    "report": Report,
    "planning": Planning,
    "inspection": Inspection,
    "bench": Bench,
    "comparison": Comparison,
    "tidied": Tidied,
}


def names() -> tuple[str, ...]:
    """The kinds of documents there are schemas of."""
    return tuple(_KINDS)


def make(name: str) -> dict[str, Any]:
    """The schema as the types have it."""
    return {"$schema": DIALECT, **_strict(_KINDS[name].model_json_schema(mode="serialization"))}


def _strict(part: Any) -> Any:
    """With null for defaults that are not finite, as the documents have it: strict JSON knows neither."""
    if isinstance(part, dict):
        return {key: _strict(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_strict(value) for value in part]
    return None if isinstance(part, float) and not math.isfinite(part) else part


def published(name: str) -> dict[str, Any]:
    """The schema as it ships."""
    found: dict[str, Any] = json.loads((files(__name__) / f"{name}.json").read_text(encoding="utf-8"))
    return found


def text(schema: Mapping[str, Any]) -> str:
    """A schema as it stands in its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
