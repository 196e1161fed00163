"""What a search has measured so far, on disk until it ends: one that was killed goes on from there.

A journal belongs to one network, one set of data, one set of options, and one machine. It is a file of lines,
each of what was measured and what it came to, and is only ever added to: a process that is killed leaves
whole lines and perhaps part of one, which is not read. A journal that cannot be written or read costs the
memory, never the run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")

_MOST_BYTES = 64_000_000
"""Of a journal that is read; more was not written by a search."""


class Journal:
    """What was measured by what it is of.

    Args:
        path: of the file; None to remember nothing.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, Any] = {} if path is None else dict(_read(path))

    def __len__(self) -> int:
        """How many measurements are known."""
        return len(self._known)

    def remember(
        self,
        what: object,
        kind: type[T],
        measure: Callable[[], T],
        *,
        unless: Callable[[T], bool] = lambda _: False,
    ) -> T:
        """What was measured before, or is measured now and kept.

        Args:
            what: is measured, as JSON.
            kind: of what it comes to.
            measure: does so.
            unless: whether it is not to be kept: times of a disturbed machine are not.
        """
        key, adapter = json.dumps(what), TypeAdapter[T](kind)
        if key in self._known:
            with suppress(ValidationError):  # files can be anything
                return adapter.validate_python(self._known[key])
        found = measure()
        if not unless(found):
            self._add(key, adapter.dump_python(found))
        return found

    def _add(self, key: str, value: object) -> None:
        self._known[key] = value
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, value]) + "\n")
        except OSError:
            self._path = None

    def end(self) -> None:
        """The search has come to its end: the next one measures anew."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()
            self._path = None


def _read(path: Path) -> Iterator[tuple[str, Any]]:
    """Every whole line; nothing of what cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(ValueError, TypeError, RecursionError):
            key, value = json.loads(line)
            if isinstance(key, str):
                yield key, value
