"""A document as it was saved with ``--json``."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from sepfactor.errors import DataError
from sepfactor.report.base import SCHEMA_VERSION, Document
from sepfactor.report.compared import Comparison
from sepfactor.report.model import Bench, Inspection, Planning, Report

_KINDS: dict[str, type[Document]] = {
    "totals": Report,
    "operators": Inspection,
    "rows": Bench,
    "candidate": Comparison,
    "plans": Planning,
}
"""What only one kind of document has → which it is."""


def read_document(path: Path) -> Document:
    """Read what ``compress``, ``inspect``, ``bench`` or ``compare`` wrote with ``--json``.

    Raises:
        DataError: there is no such file, or it is something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
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
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        version = found.get("schema_version")
        if version != SCHEMA_VERSION:
            raise DataError(
                f"{path} has the format {version}, and this sepfactor reads {SCHEMA_VERSION}. Run it again."
            ) from None
        raise DataError(f"{path} is damaged at {where}: {first['msg']}. Run the command again.") from None
