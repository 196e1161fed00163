"""Views in notebooks and pull requests."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from sepfactor.report.markup import markdown, notebook, view
from sepfactor.results import Document
from tests.report.samples import KEPT, bench, comparison, inspection, report, rewritten, rich_report

ALL = pytest.mark.parametrize("make", [report, rich_report, inspection, bench, comparison, rewritten])


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not the last one opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@ALL
def test_a_notebook_gets_whole_html(make: Callable[[], Document]) -> None:
    page = Balanced()
    page.feed(make()._repr_html_() or "")
    page.close()
    assert page.open == []
    assert "Measured" in page.text


@pytest.mark.parametrize("way", ["benchmark", "comparison", "inspection", "pipeline", "tidying"])
def test_whoever_returns_documents_lets_notebooks_show_them(way: str) -> None:
    """Results know nothing of views: importing what makes them has to bring the two together."""
    found = f"import sepfactor.{way}; from sepfactor.results import Document; print(bool(Document.as_html))"
    done = subprocess.run([sys.executable, "-c", found], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@ALL
def test_a_short_repr(make: Callable[[], Document]) -> None:
    assert re.fullmatch(r"<\w+ .{5,300}>", repr(make()))


def test_the_verdict_comes_first() -> None:
    said = "1.84× faster (95 % interval 1.81–1.88)"
    assert notebook(rich_report()).startswith(f"<div><p><b>{said}")
    assert markdown(view(rich_report())).startswith(f"**{said}")


def test_html_is_escaped() -> None:
    hostile = report(layers=(KEPT.model_copy(update={"name": "<script>x</script>"}),))
    assert "<script>" not in notebook(hostile)
    assert "&lt;script&gt;" in notebook(hostile)


@ALL
def test_tables_of_markdown_have_the_same_cells_in_every_row(make: Callable[[], Document]) -> None:
    blocks = markdown(view(make())).split("\n\n")
    tables = [block.splitlines() for block in blocks if block.startswith("|")]
    assert tables
    for lines in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
        assert set(lines[1]) <= set("|-:")


def test_markdown_shows_names_as_they_are() -> None:
    odd = report(layers=(KEPT.model_copy(update={"name": "a|b_c*d<e>[f]"}),))
    assert r"a\|b\_c\*d&lt;e>\[f\]" in markdown(view(odd))


def test_tables_of_a_report_are_folded_away() -> None:
    text = markdown(view(rich_report()))
    facts, _, folded = text.partition("<details>")
    assert "body.first" in folded
    assert "body.first" not in facts
    assert "> ⚠ mind this" in facts
    assert text.endswith("</details>")
