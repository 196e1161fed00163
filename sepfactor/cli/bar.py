"""Progress on a terminal: the step at hand, and how much longer it takes. Slow to import."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Column
from rich.text import Text

from sepfactor.progress import Progress

_REDRAWN = 4
"""Times a second, and no more: each takes time from what is being timed."""


class _Left(ProgressColumn):
    """Time left: what the parts done took goes for those to come, and counts down between them."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        if task.finished:
            return Text("done", style="dim")
        seconds = seconds_left(task)
        shown = "–:––" if seconds is None else str(timedelta(seconds=round(seconds)))
        return Text.assemble(("left ", "dim"), (shown, "progress.remaining"))


def seconds_left(task: Task) -> float | None:
    """Of a task whose field ``at`` holds the elapsed time of its last part; None before the first."""
    if not task.completed or task.total is None or task.elapsed is None:
        return None
    at: float = task.fields["at"]
    return max(at * (task.total - task.completed) / task.completed - (task.elapsed - at), 0.0)


@contextmanager
def terminal_bar(console: Console) -> Iterator[Progress]:
    """A line for each step on ``console``, gone when all is done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(24),
        TimeElapsedColumn(),
        _Left(),
        TextColumn(
            "{task.fields[detail]}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
    )
    with Bar(*columns, console=console, transient=True, refresh_per_second=_REDRAWN) as bar:
        tasks: dict[str, TaskID] = {}

        def report(step: str, done: int, total: int, detail: str) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total, detail="", at=0.0)
            task = bar.tasks[bar.task_ids.index(tasks[step])]
            if task.finished or done < task.completed:  # the same once more
                bar.reset(task.id)
            at = task.elapsed or 0.0
            if done != task.completed:
                task.fields["at"] = at
            bar.update(task.id, completed=done, total=total, detail=detail if done < total else "")

        yield report
