"""The files that a run reads, and so may not write to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from sepfactor.graph.external import files_beside
from sepfactor.options import Options

_SOURCES = ("data", "eval_data", "labels", "targets", "metric", "plan", "profile")
"""Options that name files."""


def files_read(
    options: Options, models: Iterable[object] = (), others: Iterable[Path | None] = ()
) -> Iterator[Path]:
    """Files that are read, where they are named by paths; what does not exist may be among them.

    Args:
        options: that hold for the run.
        models: networks, those given as paths with the files in which they keep weights.
        others: further files, such as the config.
    """
    for model in models:
        if isinstance(model, str | os.PathLike):
            yield Path(model)
            yield from files_beside(Path(model))
    for name in _SOURCES:
        source = getattr(options, name)
        if isinstance(source, str | os.PathLike):
            yield from _named(os.fspath(source))
    yield from (other for other in others if other is not None)


def _named(source: str) -> Iterator[Path]:
    """The file of this name, those in and below a folder, or that which holds ``file.py:function``."""
    yield Path(source)
    for folder, _, names in os.walk(source):  # nothing, if that is no folder
        yield from (Path(folder, name) for name in names)
    place, colon, _ = source.rpartition(":")
    if colon and place.endswith(".py"):
        yield Path(place)
    elif colon and place:
        path = Path(*place.split("."))
        yield from (path.with_suffix(".py"), path / "__init__.py")
