"""Times measured before: on disk, by what was timed and on what machine, so that nothing is timed twice.

An unwritable or locked file costs the memory, never the run: what cannot be looked up is measured again,
and a file that failed once is not asked again. A damaged one is begun anew. SQLite keeps the file whole when
a process is killed and lets several use it at once.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import platformdirs

Entry = Mapping[str, float]

_WAIT_SECONDS = 2.0
"""For another process that is writing."""

_HEADER = b"SQLite format 3\0"

FORMAT = 2
"""What entries mean; it is part of what they are kept under, so that those of other formats are not seen.

1: by the time that passed, whatever else the machine did. 2: by the processor's work where one thread is
timed, else by the time that passed in undisturbed runs.
"""

DISTURBED = "is_disturbed"
"""Field of an entry, above 0 where it was timed while other programs took cores away."""


class TimingCache(Protocol):
    """Entries by key. One whose :data:`DISTURBED` is above 0 serves this run only."""

    def get(self, key: str) -> Entry | None:
        """What is known, or None."""

    def put(self, key: str, entry: Entry) -> None:
        """Remember."""


class MemoryCache:
    """Remembers while the process lives."""

    def __init__(self, entries: Mapping[str, Entry] | None = None) -> None:
        self.entries: dict[str, Entry] = dict(entries or {})

    def get(self, key: str) -> Entry | None:
        """What is known, or None."""
        return self.entries.get(key)

    def put(self, key: str, entry: Entry) -> None:
        """Remember."""
        self.entries[key] = entry


class RecordingCache(MemoryCache):
    """Remembers what is asked of another."""

    def __init__(self, inner: TimingCache) -> None:
        super().__init__()
        self._inner = inner

    def get(self, key: str) -> Entry | None:
        """What is known, or None."""
        found = self._inner.get(key)
        if found is not None:
            super().put(key, found)
        return found

    def put(self, key: str, entry: Entry) -> None:
        """Remember."""
        super().put(key, entry)
        self._inner.put(key, entry)


class DiskCache(MemoryCache):
    """Remembers on disk as well.

    Args:
        path: of the database, made if missing.
        machine: what times depend on beside their key; entries of other machines are not seen, nor of another
            :data:`FORMAT`.
    """

    def __init__(self, path: Path, machine: Mapping[str, object]) -> None:
        super().__init__()
        self._path = path
        self._machine = json.dumps({"format": FORMAT, **machine}, sort_keys=True)
        self._given_up = False

    def get(self, key: str) -> Entry | None:
        """What is known, or None."""
        if key not in self.entries:
            question = "SELECT entry FROM times WHERE machine = ? AND key = ?"
            row = self._ask(question, self._machine, key)
            found = None if row is None else _read(row[0])
            if found is not None:
                self.entries[key] = found
        return self.entries.get(key)

    def put(self, key: str, entry: Entry) -> None:
        """Remember; on disk if that is possible, and the machine was left alone."""
        super().put(key, entry)
        if entry.get(DISTURBED, 0.0) > 0.0:
            return
        text = json.dumps(dict(entry))
        self._ask("INSERT OR REPLACE INTO times VALUES (?, ?, ?)", self._machine, key, text)

    def _ask(self, question: str, *values: str) -> tuple[Any, ...] | None:
        """The first row of the answer; None too where the database cannot be used."""
        if self._given_up:
            return None
        try:
            with closing(self._open()) as database, database:
                row: tuple[Any, ...] | None = database.execute(question, values).fetchone()
        except (OSError, sqlite3.Error) as error:
            self._given_up = not _discard(self._path, error)
            return None
        return row

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and not self._path.is_file():  # a pipe may never answer
            raise FileExistsError(self._path)
        database = sqlite3.connect(self._path, timeout=_WAIT_SECONDS)
        try:
            database.execute("PRAGMA synchronous = OFF")  # what a power cut may cost is measured again
            database.execute(
                "CREATE TABLE IF NOT EXISTS times (machine TEXT, key TEXT, entry TEXT, "
                "PRIMARY KEY (machine, key))"
            )
        except sqlite3.Error:
            database.close()
            raise
        return database


def default_path() -> Path | None:
    """Where times are kept: ``SEPFACTOR_CACHE``, or the folder this system has for such things.

    None where neither is known: of a user without a name, who has no home.
    """
    folder = Path(os.environ.get("SEPFACTOR_CACHE") or platformdirs.user_cache_dir("sepfactor"))
    return None if folder.parts[:1] == ("~",) else folder / "times.sqlite"


def _read(text: str | bytes) -> Entry | None:
    """An entry, or None where it is not what was written."""
    try:
        entry = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not all(isinstance(v, int | float) for v in entry.values()):
        return None
    try:
        numbers = {str(name): float(value) for name, value in entry.items()}
    except OverflowError:  # whole numbers of hundreds of digits
        return None
    return numbers if all(math.isfinite(value) for value in numbers.values()) else None


def _discard(path: Path, error: Exception) -> bool:
    """Remove a database that is damaged, and nothing else; whether it is worth trying again."""
    if getattr(error, "sqlite_errorcode", None) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return False
    try:
        with path.open("rb") as stream:
            if stream.read(len(_HEADER)) != _HEADER:
                return False
        path.unlink()
    except OSError:
        return False
    return True
