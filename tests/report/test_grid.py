"""Tables that fit: columns go, words stay whole."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from sepfactor.report.grid import Column, Grid, _end

NAMES = ["backbone.layer1.0.conv1.weight_and_more_of_a_name", "短い名前", "b"]
WHY = ["put back: separable-depthwise 1 measured no faster (0.95× alone)", "", "a 1-D convolution"]


def grid() -> Grid:
    macs = Column("Fewer\nMACs", ["2×", "3×", "–"], drop=2, right=True)
    return Grid(
        [
            Column("Layer", NAMES),
            Column("Kernel", ["64→64 3×3 depthwise /2", "1→1 3×3", "?"], drop=1),
            Column("MACs", ["12.2 M → 2.71 M", "291 M → 99.5 M", "7"], drop=2, right=True, short=macs),
            Column("Map", ["224×224", "224×224", ""], drop=3),
            Column("ms", ["1.25 → 0.245", "3.06 → 1.09", "–"], right=True),
            Column("Why", WHY, wraps=28),
        ]
    )


def rendered(width: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(grid())
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", range(60, 200, 7))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert all(cell_len(line) <= width for line in rendered(width))


@pytest.mark.parametrize("width", range(60, 200, 7))
def test_no_word_is_broken(width: int) -> None:
    lines = rendered(width)
    words = {word for line in lines for word in line.split()}
    for wanted in ("separable-depthwise", "measured", "convolution", "0.245", "1.09"):
        assert wanted in words


@pytest.mark.parametrize("width", range(46, 120))
def test_cells_that_may_be_cut_leave_the_others_whole(width: int) -> None:
    table = Grid(
        [
            Column("No", ["1", "29"]),
            Column("MACs", ["4.92 M", "1.06 k"], right=True),
            Column("Why", ["it is no faster than the layer that it would replace", "short"], cut=20),
            Column("Names", ["a, b, c, d, e, f, g, h, i, j, k, l, m, n, o", "p"], cut=8),
        ]
    )
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(table)
    head, rule, *rows = file.getvalue().splitlines()
    assert len(rows) == 2  # nothing wraps
    assert all(cell_len(line) <= width for line in (head, rule, *rows))
    assert rows[0].startswith("1   4.92 M  it is no faster")
    assert "p" in rows[1].split()
    assert ("…" in rows[0]) == (width < 4 + 8 + 52 + 2 + 43)


@pytest.mark.parametrize("width", [1, 5, 20, 40])
def test_absurd_widths_do_no_harm(width: int) -> None:
    assert rendered(width)


def test_wide_enough_for_everything() -> None:
    columns, left_out = grid().fitting(200)
    assert [c.header for c in columns] == ["Layer", "Kernel", "MACs", "Map", "ms", "Why"]
    assert left_out == []
    assert not any("No room" in line for line in rendered(200))


def test_columns_go_in_order_and_shrink_before_they_go() -> None:
    seen: list[set[str]] = []
    for width in range(200, 50, -1):
        columns, left_out = grid().fitting(width)
        headers = {c.header.replace("\n", " ") for c in columns}
        if not seen or seen[-1] != headers:
            seen.append(headers)
        assert len(columns) + len(left_out) == 6
    assert seen == [
        {"Layer", "Kernel", "MACs", "Map", "ms", "Why"},
        {"Layer", "Kernel", "MACs", "ms", "Why"},
        {"Layer", "Kernel", "Fewer MACs", "ms", "Why"},
        {"Layer", "Kernel", "ms", "Why"},
        {"Layer", "ms", "Why"},
    ]


def test_what_is_left_out_is_said() -> None:
    text = " ".join(rendered(70))
    assert "No room here for: Kernel, MACs, Map (--json has all of it)." in text


def test_the_end_of_a_long_name_stays() -> None:
    assert any(line.startswith("…") and "more_of_a_name " in line for line in rendered(100))


def test_cells_are_text_not_markup() -> None:
    file = io.StringIO()
    table = Grid([Column("A", ["[red]x[/blue]"]), Column("B", ["[bold]"])])
    Console(file=file, width=40, force_terminal=True).print(table)
    assert "[red]x[/blue]" in file.getvalue()
    assert "[bold]" in file.getvalue()


@pytest.mark.parametrize("letter", ["n", "字", "e\u0301"])
def test_the_end_of_a_name_of_any_length_is_shown(letter: str) -> None:
    for width in (8, 30):
        for count in (1, width // 2, width, 200_000):
            name = letter * count
            shown = _end(name, width)
            assert cell_len(shown) <= width
            assert name.endswith(shown.removeprefix("…"))
            assert shown == name or shown.startswith("…")
