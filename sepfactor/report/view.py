"""What a command shows, before it is known whether a terminal, a notebook or a pull request shows it.

Texts become visible here (:mod:`sepfactor.visible`), so that no view obeys what a file has for a name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from sepfactor.report.grid import Grid
from sepfactor.visible import visible

_NAME_WIDTH = 24


class Facts:
    """Lines of name and fact. One name may be ``strong``: it is the good news."""

    def __init__(self, *lines: tuple[str, str], strong: str = "") -> None:
        self.lines = tuple((visible(name), visible(fact)) for name, fact in lines)
        self.strong = strong

    def __rich__(self) -> Table:
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="bold", max_width=_NAME_WIDTH, overflow="fold")
        grid.add_column(overflow="fold")
        for name, fact in self.lines:
            grid.add_row(Text(name), Text(fact, style="bold green" if name and name == self.strong else ""))
        return grid


@dataclass(frozen=True)
class Notes:
    """What a reader must not miss."""

    lines: Sequence[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", tuple(map(visible, self.lines)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from (Text(f"! {line}", style="bold yellow") for line in self.lines)


Block = Grid | Facts | Notes


@dataclass(frozen=True)
class Fold:
    """What matters, and all there is for those who ask."""

    short: Sequence[Block]
    full: Sequence[Block]


class View:
    """Blocks from top to bottom; a terminal sets tables apart by an empty line.

    Where there is a ``title``, a sentence that says it all, summaries show it and fold tables away.
    """

    def __init__(self, *blocks: Block | Fold, title: str = "") -> None:
        self.title = visible(title)
        self._blocks = blocks

    def __iter__(self) -> Iterator[Block]:
        for block in self._blocks:
            for shown in block.short if isinstance(block, Fold) else (block,):
                if not isinstance(shown, Notes) or shown.lines:
                    yield shown

    def opened(self) -> View:
        """The same with all there is."""
        blocks = (block.full if isinstance(block, Fold) else (block,) for block in self._blocks)
        return View(*(block for several in blocks for block in several), title=self.title)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        *above, last = self
        for block in above:
            yield block
            if isinstance(block, Grid):
                yield ""
        yield last
