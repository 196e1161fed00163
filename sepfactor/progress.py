"""How long work reports on itself: a callable, silent unless somebody listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work goes on."""

    def __call__(self, step: str, done: int, total: int, detail: str) -> None:
        """``done`` of ``total`` parts of ``step`` are finished; ``detail`` says what comes now."""


def silent(step: str, done: int, total: int, detail: str) -> None:
    """Report to nobody."""
