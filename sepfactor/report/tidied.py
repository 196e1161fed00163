"""What exact rewriting made of a network, as a terminal shows it."""

from __future__ import annotations

from collections.abc import Sequence

from sepfactor.report.grid import Column, Grid
from sepfactor.report.view import Block, Facts, Notes, View
from sepfactor.results import RewriteRow, Tidied
from sepfactor.words import milliseconds, signed


def tidied_view(tidied: Tidied) -> View:
    """What was rewritten, how often, and what each was worth; then what it comes to."""
    blocks: list[Block] = [rewrites_table(tidied.rules)] if tidied.rules else []
    facts = [
        ("Speed", _speed(tidied)),
        ("Outputs", f"equal {tidied.equality}"),
        *(("Left alone" if not number else "", line) for number, line in enumerate(tidied.stayed)),
        ("Written", _written(tidied)),
        ("Timed on", f"the first of {tidied.data.description}"),
        ("Measured", tidied.environment.line),
        ("Took", f"{tidied.seconds:.1f} s"),
    ]
    if tidied.speedup is not None and tidied.speedup.caveat is not None:
        facts.insert(1, ("", tidied.speedup.caveat))
    strong = "Speed" if tidied.is_changed else ""
    return View(*blocks, Notes(tidied.notes), Facts(*facts, strong=strong))


def rewrites_table(rows: Sequence[RewriteRow]) -> Grid:
    """A row for each rule: what it does, how often, what that saves, and whether it is kept."""
    saves = ["–" if row.saves_ms is None else signed(row.saves_ms, 3) for row in rows]
    verdicts = ["–" if row.speedup is None else row.speedup.verdict.text for row in rows]
    return Grid(
        [
            Column("Rewriting", [row.rule for row in rows]),
            Column("What it does", [row.does for row in rows], drop=2, wraps=30),
            Column("Places", [str(row.times) for row in rows], right=True),
            Column("Saves ms", saves, right=True),
            Column("Network as a whole", verdicts, drop=1, wraps=24),
            Column("Kept", ["yes" if row.reason is None else f"no: {row.reason}" for row in rows], wraps=20),
        ]
    )


def _speed(tidied: Tidied) -> str:
    before = f"{milliseconds(tidied.original.median_ms)} ms"
    if tidied.result is None:
        return f"{before}, {tidied.headline}"
    return f"{tidied.headline}: {before} → {milliseconds(tidied.result.median_ms)} ms"


def _written(tidied: Tidied) -> str:
    if tidied.output is None:
        return "nothing"
    return tidied.output if tidied.is_changed else f"{tidied.output}, a copy of the network as it was"
