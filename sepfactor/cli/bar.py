"""Progress on a terminal: the step at hand, and how much longer it takes. Slow to import."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column
from rich.text import Text

from sepfactor.cli.steps import in_words, is_over
from sepfactor.progress import Progress

_REDRAWN = 4
"""Times a second, and no more: each takes time from what is being timed."""

_NARROW = 100
"""Columns of a terminal below which the bar makes room for words."""


class _Left(ProgressColumn):
    """Time left: what the parts done took goes for those to come, and counts down between them."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        seconds = seconds_left(task)
        shown = "–:––" if seconds is None else str(timedelta(seconds=round(seconds)))
        return Text.assemble(("left ", "dim"), (shown, "progress.remaining"))


class _Since(ProgressColumn):
    """Time since the command began."""

    max_refresh = 0.5

    def __init__(self, start: float) -> None:
        super().__init__(Column(no_wrap=True))
        self._start = start

    def render(self, task: Task) -> Text:
        return Text(str(timedelta(seconds=int(task.get_time() - self._start))), style="progress.elapsed")


def seconds_left(task: Task) -> float | None:
    """Of a task whose field ``at`` holds the elapsed time of its last part; None before the first."""
    if not task.completed or task.total is None or task.elapsed is None:
        return None
    at: float = task.fields["at"]
    return max(at * (task.total - task.completed) / task.completed - (task.elapsed - at), 0.0)


@contextmanager
def terminal_bar(console: Console) -> Iterator[Progress]:
    """A line on ``console`` for each step that is under way, gone when it is done."""
    with Bar(console=console, transient=True, expand=True, refresh_per_second=_REDRAWN) as bar:
        bar.columns = _columns(console, bar.get_time())
        tasks: dict[str, TaskID] = {}

        def report(step: str, done: int, total: int, detail: str) -> None:
            for other in [name for name in tasks if is_over(name, step)]:
                bar.update(tasks[other], visible=False)
            if step not in tasks:
                tasks[step] = bar.add_task(in_words(step), total=total, detail="", at=0.0)
            task = bar.tasks[bar.task_ids.index(tasks[step])]
            again = task.finished or done < task.completed
            if again:
                bar.reset(task.id)
            at = task.elapsed or 0.0
            if done != task.completed:
                task.fields["at"] = at
            shown = done < total
            bar.update(task.id, completed=done, total=total, detail=detail, visible=shown, refresh=again)

        yield report


def _columns(console: Console, start: float) -> tuple[ProgressColumn, ...]:
    """All on one line, however narrow: what comes last is cut off."""
    return (
        _Since(start),
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(24 if console.width >= _NARROW else 8),
        _Left(Column(no_wrap=True)),
        TextColumn(
            "{task.fields[detail]}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
    )
