"""A search that was killed goes on from what it measured; one that came to its end leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sepfactor
from sepfactor.journal import Journal
from sepfactor.search import planner
from tests.fit.small import residual_network, smooth
from tests.timing import fit_briefly, times_by_macs

ASKED: dict[str, Any] = {"data": "data.npz", "min_snr": 15.0, "bench_seconds": 0, "overwrite": True}


class Killed(BaseException):
    """As a signal that nobody handles."""


@pytest.fixture(autouse=True)
def searches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where journals are kept."""
    times_by_macs(monkeypatch)
    fit_briefly(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEPFACTOR_CACHE", str(tmp_path / "cache"))
    np.savez("data.npz", x=smooth(16))
    return tmp_path / "cache" / "searches"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every network that the search builds; with "killed" in it the third entry ends the run."""
    made: list[str] = []
    build = planner.build

    def noted(*arguments: Any) -> Any:
        if made[:1] == ["killed"] and len(made) == 3:
            raise Killed
        made.append(arguments[2].effort)
        return build(*arguments)

    monkeypatch.setattr(planner, "build", noted)
    return made


def killed(made: list[str]) -> None:
    made[:] = ["killed"]
    with pytest.raises(Killed):
        sepfactor.compress(residual_network(), "out.onnx", **ASKED)
    made.clear()


def test_what_was_built_is_not_built_again_and_the_result_is_the_same(
    searches: Path, built: list[str]
) -> None:
    sepfactor.compress(residual_network(), "whole.onnx", **ASKED)
    whole = len(built)
    assert whole > 3
    assert not list(searches.glob("*"))
    killed(built)
    assert len(list(searches.glob("*.jsonl"))) == 1
    told: list[str] = []
    sepfactor.compress(
        residual_network(), "out.onnx", progress=lambda *step: told.append(str(step[3])), **ASKED
    )
    assert len(built) == whole - 2
    assert any("going on from" in text for text in told)
    assert Path("out.onnx").read_bytes() == Path("whole.onnx").read_bytes()
    assert not list(searches.glob("*"))


@pytest.mark.parametrize(
    "other", [{"min_snr": 14.0}, {"limit": 12}, {"seed": 1}, {"refit": False}, {"ignore": ["c"]}], ids=str
)
def test_another_search_begins_anew(other: dict[str, Any], searches: Path, built: list[str]) -> None:
    killed(built)
    told: list[str] = []
    sepfactor.compress(
        residual_network(), "o.onnx", progress=lambda *step: told.append(str(step[3])), **ASKED | other
    )
    assert not any("going on from" in text for text in told)
    assert len(list(searches.glob("*.jsonl"))) == 1, "what is left is of the one that was killed"


def test_other_data_of_the_same_name_begin_anew(searches: Path, built: list[str]) -> None:
    killed(built)
    np.savez("data.npz", x=smooth(16)[::-1])
    sepfactor.compress(residual_network(), "out.onnx", **ASKED)
    assert len(built) > 3


@pytest.mark.parametrize("more", [{"cache": False}, {"metric": lambda _, __: 1.0}], ids=["cache", "metric"])
def test_nothing_is_kept(more: dict[str, Any], searches: Path, built: list[str]) -> None:
    built[:] = ["killed", "once"]
    budget = {"min_snr": None, "max_drop": 0.5} if "metric" in more else {}
    with pytest.raises(Killed):
        sepfactor.compress(residual_network(), "out.onnx", **ASKED | budget | more)
    assert not list(searches.glob("*"))


class TestJournal:
    def test_it_is_measured_once(self, tmp_path: Path) -> None:
        asked: list[int] = []
        for _ in range(2):
            journal = Journal(tmp_path / "a" / "j.jsonl")
            for _ in range(2):
                found = journal.remember(["x", 1], list[float], lambda: asked.append(1) or [1.5, np.inf])
                assert found == [1.5, np.inf]
        assert asked == [1]

    def test_what_is_not_to_be_kept_is_measured_again(self, tmp_path: Path) -> None:
        asked: list[int] = []
        for number in range(2):
            journal = Journal(tmp_path / "j.jsonl")
            journal.remember("x", int, lambda: asked.append(1) or 3, unless=lambda value: value == 3)
            assert len(asked) == number + 1

    @pytest.mark.parametrize(
        "damage",
        [
            b"",
            b"\xff\xfe\x00",
            b'["\\"x\\"", "no number"]\n',
            b'["\\"x\\"", [1]',
            b"[" * 99999,
            b"{}\n1\nnull\n",
        ],
    )
    def test_a_damaged_one_is_not_believed(self, tmp_path: Path, damage: bytes) -> None:
        path = tmp_path / "j.jsonl"
        path.write_bytes(damage)
        assert Journal(path).remember("x", int, lambda: 7) == 7

    def test_the_whole_lines_of_one_that_was_cut_off_are_read(self, tmp_path: Path) -> None:
        path = tmp_path / "j.jsonl"
        for number in range(3):
            Journal(path).remember(number, int, lambda: 5)
        path.write_bytes(path.read_bytes()[:-3])
        assert len(Journal(path)) == 2

    def test_where_it_cannot_be_written_the_run_goes_on(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        journal = Journal(tmp_path / "file" / "j.jsonl")
        assert journal.remember("x", int, lambda: 7) == 7
        journal.end()
        assert (tmp_path / "file").read_text() == "x"

    def test_lines_are_json(self, tmp_path: Path) -> None:
        Journal(tmp_path / "j.jsonl").remember({"a": [1]}, tuple[int, ...], lambda: (1, 2))
        (line,) = (tmp_path / "j.jsonl").read_text().splitlines()
        assert json.loads(line) == ['{"a": [1]}', [1, 2]]
