"""Progress where there is no terminal."""

from __future__ import annotations

import pytest

from sepfactor.cli.lines import EVERY_S, QUIET_S, line_by_line
from sepfactor.cli.steps import in_words
from sepfactor.progress import in_shares
from tests.cli.conftest import Run
from tests.cli.test_compress import strict


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_soon_done_says_nothing() -> None:
    clock, said = Clock(), list[str]()
    report = line_by_line(said.append, clock)
    report("prepare", 0, 2, "opening the data")
    clock.now += QUIET_S / 2
    report("observe", 0, 9, "running")
    assert not said


def test_seldom_and_with_what_is_left() -> None:
    clock, said = Clock(), list[str]()
    report = line_by_line(said.append, clock)
    clock.now += 60
    for done in range(13):
        report("fit", done, 12, f"conv{done}")
        clock.now += EVERY_S / 2.5
    assert said == [
        "[1:00] fitting layers: conv0",
        "[1:12] fitting layers, 3 of 12 done: conv3, about 0:36 left of this",
        "[1:24] fitting layers, 6 of 12 done: conv6, about 0:24 left of this",
        "[1:36] fitting layers, 9 of 12 done: conv9, about 0:12 left of this",
    ]


def test_what_a_step_is_part_of_and_what_is_left_of_the_whole() -> None:
    clock, said = Clock(), list[str]()
    report = line_by_line(said.append, clock)
    report("plan", 2, 9, "again")
    report("fit", 0, 4, "conv0")
    clock.now += 20
    report("fit", 2, 4, "conv2")
    report("fit", 4, 4, "")
    clock.now += 20
    report("plan", 3, 9, "again")
    report("plan", 9, 9, "")
    clock.now += 20
    report("compare", 1, 2, "both")
    assert said == [
        "[0:20] building plans, 2 of 9 done, fitting layers, 2 of 4 done: conv2, "
        "about 1:10 left of building plans",
        "[0:40] building plans, 3 of 9 done: again, about 1:20 left of this",
        "[1:00] comparing outputs, 1 of 2 done: both",
    ]


def test_shares_are_percent() -> None:
    clock, said = Clock(), list[str]()
    watch = in_shares(line_by_line(said.append, clock), "time", "in turns")
    clock.now += 4
    watch(0.25)
    assert said == ["[0:04] timing, 25 % done: in turns, about 0:12 left of this"]


def test_a_step_that_never_said_it_was_done_is_over_once_another_begins() -> None:
    clock, said = Clock(), list[str]()
    report = line_by_line(said.append, clock)
    report("sensitivity", 4, 5, "conv4")
    clock.now += 60
    report("plan", 1, 9, "a first one")
    assert said == ["[1:00] building plans, 1 of 9 done: a first one"]


def test_that_a_search_is_broken_off_is_said_at_once() -> None:
    clock, said = Clock(), list[str]()
    report = line_by_line(said.append, clock)
    report("plan", 1, 9, "a first one")
    report("stop", 0, 1, "taking the best so far, 2.00×")
    assert said == ["[0:00] stopping: taking the best so far, 2.00×"]


def test_a_step_once_more_starts_its_clock_again() -> None:
    clock, said = Clock(), list[str]()
    report = line_by_line(said.append, clock)
    report("fit", 0, 4, "first")
    clock.now += 100
    report("fit", 0, 4, "again")
    clock.now += EVERY_S
    report("fit", 2, 4, "again")
    assert said[-1].endswith("fitting layers, 2 of 4 done: again, about 0:10 left of this")


def test_pipes_get_lines_on_stderr_and_json_stays_clean(
    sepfactor: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sepfactor.cli.lines.QUIET_S", 0.0)
    monkeypatch.setattr("sepfactor.cli.lines.EVERY_S", 0.0)
    run = sepfactor("inspect", "model.onnx", "--json", "-")
    assert strict(run.stdout)["layers"]
    for step in ("observe", "profile", "decompose"):
        assert f"] {in_words(step)}" in run.stderr
    assert "\x1b" not in run.stderr
    assert sepfactor("inspect", "model.onnx", "--json", "-", "-q").stderr == ""
