"""How long work reports on itself: a callable, silent unless somebody listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Called as work goes on."""

    def __call__(self, step: str, done: int, total: int, detail: str) -> None:
        """``done`` of ``total`` parts of ``step`` are finished; ``detail`` says what comes now."""


class TakeBest(KeyboardInterrupt):
    """Raised in a search, as by a ``Progress``, breaks it off: the best plan built so far is taken.

    Where none keeps the budget yet, and outside a search, it is like any other interrupt.
    """


def in_shares(progress: Progress, step: str, detail: str) -> Callable[[float], None]:
    """For work that knows its share done, from 0 to 1: a step of a hundred parts, which begins now."""
    progress(step, 0, 100, detail)
    return lambda share: progress(step, round(100 * share), 100, detail if share < 1 else "")


def silent(step: str, done: int, total: int, detail: str) -> None:
    """Report to nobody."""
