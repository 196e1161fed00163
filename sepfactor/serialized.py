"""A model as bytes, of which some may lie in files."""

from __future__ import annotations

from pathlib import Path


class Serialized(bytes):
    """A serialised ModelProto.

    Attributes:
        folder: where the files are that hold its external tensors; None if it has none.
    """

    folder: Path | None

    def __new__(cls, data: bytes, folder: Path | None = None) -> Serialized:
        """Of these bytes."""
        made = super().__new__(cls, data)
        made.folder = folder
        return made
