"""Progress where there is no terminal."""

from __future__ import annotations

import pytest

from sepfactor.cli.lines import EVERY_S, QUIET_S, line_by_line
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
        "[1:00] fit: conv0",
        "[1:12] fit 3 of 12: conv3, about 0:36 left of this",
        "[1:24] fit 6 of 12: conv6, about 0:24 left of this",
        "[1:36] fit 9 of 12: conv9, about 0:12 left of this",
    ]


def test_what_a_step_is_part_of() -> None:
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
        "[0:20] plan 2 of 9, fit 2 of 4: conv2, about 0:20 left of this",
        "[0:40] plan 3 of 9: again, about 1:20 left of this",
        "[1:00] compare 1 of 2: both",
    ]


def test_shares_are_percent() -> None:
    clock, said = Clock(), list[str]()
    watch = in_shares(line_by_line(said.append, clock), "time", "in turns")
    clock.now += 4
    watch(0.25)
    assert said == ["[0:04] time 25 %: in turns, about 0:12 left of this"]


def test_a_step_once_more_starts_its_clock_again() -> None:
    clock, said = Clock(), list[str]()
    report = line_by_line(said.append, clock)
    report("fit", 0, 4, "first")
    clock.now += 100
    report("fit", 0, 4, "again")
    clock.now += EVERY_S
    report("fit", 2, 4, "again")
    assert said[-1].endswith("fit 2 of 4: again, about 0:10 left of this")


def test_pipes_get_lines_on_stderr_and_json_stays_clean(
    sepfactor: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sepfactor.cli.lines.QUIET_S", 0.0)
    monkeypatch.setattr("sepfactor.cli.lines.EVERY_S", 0.0)
    run = sepfactor("inspect", "model.onnx", "--json", "-")
    assert strict(run.stdout)["layers"]
    for step in ("observe", "profile", "decompose"):
        assert f"] {step}" in run.stderr
    assert "\x1b" not in run.stderr
    assert sepfactor("inspect", "model.onnx", "--json", "-", "-q").stderr == ""
