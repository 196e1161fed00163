"""A document as it was saved with ``--json``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sepfactor.errors import DataError
from sepfactor.files import read_text
from sepfactor.results import (
    SCHEMA_VERSION,
    Bench,
    Comparison,
    Document,
    Inspection,
    Planning,
    Report,
    Tidied,
)

_KINDS: dict[str, type[Document]] = {
    "totals": Report,
    "operators": Inspection,
    "rows": Bench,
    "candidate": Comparison,
    "plans": Planning,
    "rules": Tidied,
}
"""What only one kind of document has → which it is."""


def read_document(path: Path) -> Document:
    """Read what a command wrote with ``--json``.

    Raises:
        DataError: there is no such file, or it is something else, damaged, or of another version.
    """
    try:
        found = json.loads(read_text(path))
    except FileNotFoundError:
        raise DataError(f"There is no file {path}. Write one with `compress … --json {path}`.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise DataError(
            f"{path} is not JSON, so it is no report: name a file that a command wrote with --json."
        ) from None
    kind = next((k for key, k in _KINDS.items() if isinstance(found, dict) and key in found), None)
    if kind is None:
        raise DataError(f"{path} is no report of sepfactor. Name what --json wrote.")
    version = str(found.get("schema_version"))
    if version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise DataError(
            f"{path} has the format {version[:20]}, and this sepfactor reads {SCHEMA_VERSION}. Run it again."
        )
    beyond = _not_finite(found)
    if beyond is not None:
        raise DataError(f"{path} is damaged at {beyond}: a number that is not finite. Run the command again.")
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{path} is damaged at {where}: {first['msg']}. Run the command again.") from None


def _not_finite(value: Any) -> str | None:
    """Where there is NaN or infinity, which JSON does not know, or a number too large to be held."""
    left: list[tuple[str, Any]] = [("", value)]
    while left:
        place, one = left.pop()
        if isinstance(one, float) and not math.isfinite(one):
            return place.removeprefix(".")
        parts = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        left += [(f"{place}.{key}", part) for key, part in parts]
    return None
