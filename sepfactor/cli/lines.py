"""Progress where there is no terminal: now and then a line, for logs."""

from __future__ import annotations

import time
from collections.abc import Callable

from sepfactor.cli.steps import in_words, is_over
from sepfactor.progress import Progress

QUIET_S = 3.0
"""What is done by then needs no progress."""

EVERY_S = 10.0
"""At most one line in so many seconds."""

_SHARES = 100
"""Parts of a step that knows its share done; see :func:`sepfactor.progress.in_shares`."""


def line_by_line(say: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> Progress:
    """Progress that says a line when a step begins, and during long ones, but seldom.

    Args:
        say: takes a line.
        clock: seconds, rising; for tests.
    """
    start = clock()
    due = start + QUIET_S
    open_steps: dict[str, tuple[int, int]] = {}  # the last one is inside the others
    begun: dict[str, float] = {}

    def report(step: str, done: int, total: int, detail: str) -> None:
        nonlocal due
        now = clock()
        if done >= total:
            open_steps.pop(step, None)
            return
        if step not in open_steps or done == 0:
            begun[step] = now
        for other in [name for name in open_steps if is_over(name, step)]:
            del open_steps[other]
        open_steps[step] = done, total
        if now < due and step != "stop":
            return
        due = now + EVERY_S
        within = ", ".join(_part(name, *parts) for name, parts in open_steps.items() if name != step)
        where = f"{within}, {_part(step, done, total)}" if within else _part(step, done, total)
        whole = next(iter(open_steps))  # what the others are parts of
        left = _left(now - begun[whole], *open_steps[whole])
        of = "this" if whole == step else in_words(whole)
        rest = f", about {_minutes(left)} left of {of}" if left >= 1 else ""
        say(f"[{_minutes(now - start)}] {where}: {detail}{rest}")

    return report


def _left(seconds: float, done: int, total: int) -> float:
    """Seconds, if the parts to come take as long as those done; 0 where none is."""
    return seconds * (total - done) / done if done else 0.0


def _part(step: str, done: int, total: int) -> str:
    """``fitting layers, 2 of 9 done``."""
    if not done:
        return in_words(step)
    return (
        f"{in_words(step)}, {done} % done"
        if total == _SHARES
        else f"{in_words(step)}, {done} of {total} done"
    )


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
