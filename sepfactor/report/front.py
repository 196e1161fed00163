"""Plans as a terminal shows them: what each would be worth."""

from __future__ import annotations

from collections.abc import Sequence

from sepfactor.report.grid import Column, Grid
from sepfactor.report.text import tasks_facts
from sepfactor.report.tidied import rewrites_table
from sepfactor.report.view import Block, Facts, Notes, View
from sepfactor.results import FrontPoint, Planning
from sepfactor.words import signed


def front_table(points: Sequence[FrontPoint], files: Sequence[str] = ()) -> Grid:
    """A row per plan, mild ones first."""
    columns = [
        Column("", ["→" if point.chosen else "" for point in points]),
        Column("Plan", list(files) if files else [point.label for point in points]),
        Column("Faster", [_speed(point) for point in points], right=True),
        Column("95 % interval", [_interval(point) for point in points], drop=1, right=True),
    ]
    if any(point.drop is not None for point in points):
        drops = ["" if p.drop is None else signed(100 * p.drop, 2) for p in points]
        columns.append(Column("Drop expected\npoints", drops, right=True))
    if any(point.snr_db is not None for point in points):
        snr = ["" if p.snr_db is None else signed(p.snr_db, 1) for p in points]
        columns.append(Column("SNR\ndB", snr, right=True))
    return Grid(columns if any(p.chosen for p in points) else columns[1:])


def _speed(point: FrontPoint) -> str:
    return "" if point.speedup is None else f"{point.speedup:.2f}×"


def _interval(point: FrontPoint) -> str:
    return "predicted" if point.interval is None else "{:.2f}–{:.2f}".format(*point.interval)


def front_files(planning: Planning) -> Sequence[str]:
    """The files of the plans, where each point of the front is one of them."""
    is_front = planning.budget is None and len(planning.plans) == len(planning.front)
    return planning.plans if is_front else ()


def planning_view(planning: Planning) -> View:
    """The plans that were built on the way, and the verdict."""
    files = front_files(planning)
    blocks: list[Block] = [tasks_facts(planning.tasks)] if planning.tasks else []
    if planning.rewrites:
        blocks.append(rewrites_table(planning.rewrites))
    if planning.front:
        blocks.append(front_table(planning.front, files))
    facts = [("Plan", ", ".join(planning.plans))] if planning.plans and not files else []
    if planning.budget is not None:
        facts.insert(0, ("Budget", planning.budget.verdict.text))
    return View(
        *blocks,
        Notes(planning.notes),
        Facts(
            *facts,
            ("Data", planning.data.line),
            *([("Memory", planning.memory.line)] if planning.memory else []),
            ("Measured", planning.environment.line),
        ),
        title=planning.model,
    )
