"""The line that says what is done, and how long it takes still."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console
from rich.progress import Progress as Bar

from sepfactor.cli.bar import seconds_left, terminal_bar
from sepfactor.progress import in_shares


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("done", "at", "now", "left"),
    [
        (1, 2.0, 2.0, 6.0),  # three more of two seconds each
        (1, 2.0, 3.5, 4.5),  # and it counts down
        (1, 2.0, 99.0, 0.0),
        (3, 30.0, 30.0, 10.0),
        (0, 0.0, 5.0, None),
    ],
)
def test_what_is_left(done: int, at: float, now: float, left: float | None) -> None:
    clock = Clock()
    bar = Bar(get_time=clock, console=Console(file=io.StringIO()))
    bar.add_task("fit", total=4, at=0.0)
    (task,) = bar.tasks
    clock.now = at
    bar.update(task.id, completed=done, at=at)
    clock.now = now
    assert seconds_left(task) == left


def shown(file: io.StringIO) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())


def test_every_step_is_shown_with_what_comes_now() -> None:
    file = io.StringIO()
    with terminal_bar(Console(file=file, force_terminal=True, width=100, legacy_windows=False)) as report:
        report("observe", 0, 3, "running")
        report("observe", 3, 3, "")
        watch = in_shares(report, "time", "both networks")
        watch(0.5)
        report("fit", 0, 2, "body.0")
        report("fit", 2, 2, "")
        report("fit", 0, 2, "again, body.0")  # once more from the start
        report("plan", 0, 0, "")  # nothing to do at all
    text = shown(file)
    for words in ("watching what layers see", "timing", "left", "fitting layers", "again, body.0"):
        assert words in text


def rows(file: io.StringIO) -> list[str]:
    """Lines as they stand after the last time all was drawn."""
    last = re.split(r"\x1b\[2K|\x1b\[1A|\n", file.getvalue())
    return [
        row for row in (re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]", "", part) for part in last) if row.strip()
    ]


def test_only_what_is_under_way_is_shown_on_one_line_each() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, legacy_windows=False)
    with terminal_bar(console) as report:
        report("sensitivity", 4, 5, "conv4")  # which does not say that it is done
        report(
            "plan", 1, 9, "best so far 3.41×, SNR 37.5 dB (at least 36.9 dB); now about 3.9×: a milder one"
        )
        report("fit", 0, 6, "body.0.conv1 of a very long name, as exporters write them")
        file.truncate(0)
        file.seek(0)
        report("fit", 2, 6, "body.1.conv1 of a very long name, as exporters write them")
        time.sleep(0.6)
        shown = rows(file)[-2:]
    assert "building plans" in shown[0]
    assert "best so far 3.41×" in shown[0]
    assert "fitting layers" in shown[1]
    assert all(len(row) <= 80 for row in shown)
    assert not any("each layer's errors" in row for row in rows(file))


def test_shares_are_parts_of_a_hundred() -> None:
    said: list[tuple[str, int, int, str]] = []
    watch = in_shares(lambda *words: said.append(words), "time", "networks")
    for share in (0.0, 0.256, 1.0):
        watch(share)
    assert said == [
        *(("time", 0, 100, "networks"), ("time", 0, 100, "networks")),
        *(("time", 26, 100, "networks"), ("time", 100, 100, "")),
    ]
