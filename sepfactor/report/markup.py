"""Views as HTML, for notebooks, and as Markdown, for pull requests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import singledispatch
from html import escape

from sepfactor.report.front import planning_view
from sepfactor.report.grid import Grid
from sepfactor.report.inspected import inspection_view
from sepfactor.report.text import bench_view, comparison_view, report_view
from sepfactor.report.tidied import tidied_view
from sepfactor.report.view import Facts, Notes, View
from sepfactor.results import Bench, Comparison, Document, Inspection, Planning, Report, Tidied

_LINKED = r"(@|#|\bGH-|:(?=//)|\bwww(?=\.))"
"""Where forges begin to make links of plain text: mentions, numbers of issues, addresses."""


@singledispatch
def view(document: Document) -> View:
    """What a terminal shows of a document."""
    raise TypeError(f"there is no view of {type(document).__name__}")


view.register(Report)(report_view)
view.register(Inspection)(inspection_view)
view.register(Bench)(bench_view)
view.register(Tidied)(tidied_view)
view.register(Comparison)(comparison_view)
view.register(Planning)(planning_view)


def notebook(document: Document) -> str:
    """A fragment of HTML that takes its colours from the page it stands in."""
    shown = view(document)
    title = f"<p><b>{escape(shown.title)}</b></p>" if shown.title else ""
    return f"<div>{title}{''.join(_html(shown))}</div>"


def _html(shown: View) -> Iterator[str]:
    for block in shown:
        if isinstance(block, Grid):
            yield _table(block)
        elif isinstance(block, Notes):
            yield from (f"<p><b>⚠ {escape(line)}</b></p>" for line in block.lines)
        else:
            rows = (
                f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>"
                f"{escape(fact)}</td></tr>"
                for name, fact in block.lines
            )
            yield f"<table>{''.join(rows)}</table>"


def _table(grid: Grid) -> str:
    def row(tag: str, cells: Iterator[str]) -> str:
        sides = ("right" if column.right else "left" for column in grid.columns)
        inner = (
            f"<{tag} style='text-align:{side}'>{escape(cell).replace(chr(10), '<br>')}</{tag}>"
            for side, cell in zip(sides, cells, strict=True)
        )
        return f"<tr>{''.join(inner)}</tr>"

    head = row("th", (column.header for column in grid.columns))
    body = "".join(row("td", iter(cells)) for cells in _rows(grid))
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def markdown(shown: View) -> str:
    """A summary for a pull request: the title and the facts; under a title the tables are folded away."""
    notes = [f"> ⚠ {_plain(line)}" for block in shown if isinstance(block, Notes) for line in block.lines]
    facts = [_markdown_facts(block) for block in shown if isinstance(block, Facts)]
    tables = [_markdown_table(block) for block in shown if isinstance(block, Grid)]
    if not shown.title:
        return "\n\n".join((*notes, *tables, *facts))
    folded = "\n\n".join(("<details><summary>Layer by layer</summary>", *tables, "</details>"))
    return "\n\n".join((f"**{_plain(shown.title)}**", *notes, *facts, folded))


def _markdown_facts(facts: Facts) -> str:
    rows = (f"| {_cell(name)} | {_cell(fact)} |" for name, fact in facts.lines)
    return "\n".join(("|  |  |", "|---|---|", *rows))


def _markdown_table(grid: Grid) -> str:
    head = " | ".join(_cell(column.header) for column in grid.columns)
    rule = "|".join("---:" if column.right else "---" for column in grid.columns)
    rows = (f"| {' | '.join(map(_cell, cells))} |" for cells in _rows(grid))
    return "\n".join((f"| {head} |", f"|{rule}|", *rows))


def _rows(grid: Grid) -> Iterator[tuple[str, ...]]:
    return zip(*(column.cells for column in grid.columns), strict=True)


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|").replace("\n", "<br>")


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: neither marked up nor linked to anybody or anything."""
    shown = re.sub(r"([\\`*_\[\]~])", r"\\\1", text).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(_LINKED, r"\1<!-- -->", shown, flags=re.IGNORECASE)  # a comment ends the word


__all__ = ["markdown", "notebook", "view"]
