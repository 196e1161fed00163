"""Rows of tables that several programs make alike: files judged, and timed in turns with the original."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from networks import TIMING, Task
from tables import RESULTS, Table, change, document, score

from sepfactor.measure import open_and_time

Rows = list[list[str]]
Found = tuple[str, Path, str]
"""Who made a file, the file, and what is told of it."""


def judged_and_timed(task: Task, about: str, found: Sequence[Found], seconds: float) -> Rows:
    """A row for each file: by whom, how accurate on inputs that decided nothing, and how fast.

    Args:
        task: that the files are of.
        about: network, data and budget.
        found: the files.
        seconds: of timing, per file.
    """
    files = [("the file", task.file), *((by, path) for by, path, _ in found)]
    rounds = open_and_time(TIMING, files, [task.exam.sample], seconds=seconds * len(files))
    rows = []
    for number, (by, path, told) in enumerate(found, 1):
        marks, speed = task.exam.take(path), rounds.ratio(number)
        rows.append(
            [
                about,
                by,
                score(task.original_scores, task.unit),
                score(marks, task.unit),
                change(marks, task.original_scores, task.unit),
                f"{speed.ratio:.2f}× ({speed.low:.2f}–{speed.high:.2f})",
                told,
            ]
        )
        print(*rows[-1], sep="  ", flush=True)
    return rows


def kept_rows(name: str) -> dict[str, Rows]:
    """What was measured before, by what a run is called."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Rows] = json.loads(path.read_text()) if path.exists() else {}
    return found


def keep(
    name: str, rows: Mapping[str, Rows], title: str, about: str, columns: Sequence[str], notes: Sequence[str]
) -> None:
    """Write all rows, as JSON and as a table."""
    text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")
    table = Table(about, columns, tuple(tuple(row) for own in rows.values() for row in own))
    (RESULTS / f"{name}.md").write_text(document(title, TIMING, [table], notes), encoding="utf-8")
