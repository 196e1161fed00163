"""Tables of figures, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as RichTable

from sepfactor.measure import Engine

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column is what a row is about."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """A heading and a pipe table."""
        lines = [self.columns, ("---", *("---:" for _ in self.columns[1:])), *self.rows]
        return "\n".join([f"## {self.title}", "", *("| " + " | ".join(line) + " |" for line in lines)])

    def show(self) -> None:
        """Print it, as wide as it is."""
        table = RichTable(title=self.title, title_justify="left")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        Console(width=320).print(table)


def machine(engine: Engine) -> str:
    """What the figures depend on, in one sentence."""
    env = engine.environment
    return (
        f"onnxruntime {env.onnxruntime}, numpy {env.numpy}; {env.processor}, {env.usable_cores} usable "
        f"cores; fitted and judged with {engine.threads} threads, timed with one."
    )


def document(title: str, engine: Engine, tables: Sequence[Table], notes: Sequence[str]) -> str:
    """A whole Markdown file."""
    parts = [f"# {title}", machine(engine), *notes, *(table.markdown() for table in tables)]
    return "\n\n".join(parts) + "\n"


def score(marks: NDArray[np.float64], unit: str) -> str:
    """The mean, such as ``36.41 dB`` or ``78.5 %``."""
    return f"{marks.mean():.{digits(unit)}f} {unit}"


def change(marks: NDArray[np.float64], base: NDArray[np.float64], unit: str) -> str:
    """Mean paired difference with its standard error: ``−0.04 ± 0.002``."""
    difference = marks - base
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    places = digits(unit) + 1
    return f"{difference.mean():+.{places}f} ± {error:.{places}f}".replace("-", "−")


def digits(unit: str) -> int:
    """Decimal places that mean something."""
    return 2 if unit == "dB" else 1
