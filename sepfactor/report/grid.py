"""A table that leaves columns out where the terminal is narrow, rather than breaking words in two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from sepfactor.visible import visible

_GAP = 2
_NAME_WIDTHS = 18, 40
_NAME_AT_WORST = 8
"""A longer first column loses its beginning: the end of a layer's name says more."""


@dataclass(frozen=True)
class Column:
    """One column, top to bottom; what is not seen of its texts but does something is shown as an escape.

    Attributes:
        header: may have two lines.
        cells: one per row; lines are kept.
        drop: which go first where room is short, the highest before the others; 0 stays.
        right: aligned to the right.
        wraps: to so many characters if need be, between words; 0 never.
        cut: to so many characters if need be, with … for the rest; 0 never.
        short: a narrower column to take the place of this one before it is left out.
    """

    header: str
    cells: Sequence[str]
    drop: int = 0
    right: bool = False
    wraps: int = 0
    cut: int = 0
    short: Column | None = None

    def __post_init__(self) -> None:
        shown = [visible(cell, lines=True) for cell in self.cells]
        object.__setattr__(self, "cells", shown)
        object.__setattr__(self, "header", visible(self.header, lines=True))

    @property
    def width(self) -> int:
        """That of its longest line."""
        return max(cell_len(line) for text in (self.header, *self.cells) for line in text.split("\n"))

    @property
    def least(self) -> int:
        """What it can do with."""
        return min(self.width, self.wraps or self.cut or self.width)


@dataclass(frozen=True)
class Grid:
    """Columns side by side; the first holds names, whose beginnings may be cut."""

    columns: Sequence[Column]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table at the width there is, and a line that says what was left out of it."""
        columns, left_out = self.fitting(options.max_width)
        widths = _widths(columns, options.max_width)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
        for column, width in zip(columns, widths, strict=True):
            table.add_column(column.header, justify="right" if column.right else "left", width=width)
        names, *rest = columns
        for name, *cells in zip(names.cells, *(column.cells for column in rest), strict=True):
            shown = (
                Text("\n".join(_start(line, width) for line in cell.split("\n")) if column.cut else cell)
                for cell, column, width in zip(cells, columns[1:], widths[1:], strict=True)
            )
            table.add_row(Text(_end(name, widths[0])), *shown)
        yield table
        if left_out:
            yield Text(f"No room here for: {', '.join(left_out)} (--json has all of it).", style="dim")

    def fitting(self, width: int) -> tuple[list[Column], list[str]]:
        """The columns there is room for, and the headers of the others."""
        kept = dict(enumerate(self.columns))
        while _least([*kept.values()]) > width:
            at = max(kept, key=lambda i: kept[i].drop)
            if not kept[at].drop:
                break
            short = kept.pop(at).short
            if short is not None:
                kept[at] = short
        left_out = [c.header.replace("\n", " ") for i, c in enumerate(self.columns) if i not in kept]
        return [kept[i] for i in sorted(kept)], left_out


def _least(columns: Sequence[Column]) -> int:
    name, *rest = columns
    fixed = sum(column.least for column in rest)
    return min(name.width, _NAME_WIDTHS[0]) + fixed + _GAP * len(rest)


def _widths(columns: Sequence[Column], room: int) -> list[int]:
    """Names get what they need, and columns that wrap or are cut what is left, the first of them first."""
    name, *rest = columns
    spare = room - _least(columns)
    least = max(min(name.width, _NAME_WIDTHS[0]) + min(spare, 0), min(name.width, _NAME_AT_WORST))
    spare = max(spare, 0)
    first = min(name.width, _NAME_WIDTHS[1], least + spare)
    spare -= first - least
    widths = [first]
    for column in rest:
        more = min(spare, column.width - column.least)
        spare -= more
        widths.append(column.least + more)
    return widths


def _start(text: str, width: int) -> str:
    while cell_len(text) > width:
        text = text[:-2].rstrip(" ,;:") + "…"
    return text


def _end(name: str, width: int) -> str:
    if len(name) <= 2 * width and cell_len(name) <= width:
        return name
    kept = 0
    while kept < min(len(name), 4 * width) and cell_len("…" + name[len(name) - kept - 1 :]) <= width:
        kept += 1
    return "…" + name[len(name) - kept :]
