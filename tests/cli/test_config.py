"""``--config`` and ``--save-config``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sepfactor.options import make_options
from sepfactor.pipeline import effective
from sepfactor.plans.document import read_plan
from tests.cli.conftest import Run

QUICK = ("--bench-seconds", 0)
WISHES = """
scheme = ["spatial"]
rank = 1

[layers."head.*"]
keep = true
"""

pytestmark = pytest.mark.usefixtures("always_faster")


@pytest.mark.parametrize("command", ["compress", "plan"])
def test_what_held_is_written_and_read_again(command: str, sepfactor: Run, folder: Path) -> None:
    Path("wishes.toml").write_text(WISHES)
    said = ("--config", "wishes.toml", "--data", "data.npz", "--seed", 3, "--no-refit")
    timing = QUICK if command == "compress" else ()
    first = sepfactor(command, "model.onnx", *said, *timing, "--save-config", "all.toml", "-o", "a")
    assert first.exit_code == 0, first.output
    saved = make_options({}, Path("all.toml"))
    assert (saved.data, saved.seed, saved.refit, saved.rank) == ("data.npz", 3, False, 1)
    assert saved.for_layer("head.last").keep
    lines = [line for line in Path("all.toml").read_text().splitlines() if "=" in line]
    names = [line.split(" = ")[0] for line in lines]
    assert set(names) <= {"data", "seed", "refit", "rank", "scheme", "bench-seconds", "keep"}  # no defaults
    again = sepfactor(command, "model.onnx", "--config", "all.toml", "--save-config", "again.toml", "-o", "b")
    assert again.exit_code == 0, again.output
    assert Path("all.toml").read_bytes() == Path("again.toml").read_bytes()
    assert Path("a").read_bytes() == Path("b").read_bytes()


def test_flags_turn_on_again_what_a_config_turns_off(sepfactor: Run) -> None:
    Path("c.toml").write_text("refit = false\ncache = false\nrank = 1\npictures = false\n")
    words = ("--config", "c.toml", "--refit", "--cache", "--save-config", "all.toml")
    assert sepfactor("plan", "model.onnx", *words).exit_code == 0
    saved = make_options({}, Path("all.toml"))
    assert (saved.refit, saved.cache, saved.rank) == (True, True, 1)
    assert saved.pictures  # which no plan hangs on, and so it is not what held


def test_a_plan_named_in_a_config_is_followed(sepfactor: Run) -> None:
    plan = ("plan", "model.onnx", "--rank", 1, "--data", "data.npz", "--held-out", 0.5)
    assert sepfactor(*plan, "-o", "p.json").exit_code == 0
    Path("c.toml").write_text('plan = "p.json"\nseed = 4\n')
    asked, found = effective({}, "c.toml")
    assert found is not None
    assert (asked.data, asked.held_out, asked.seed) == ("data.npz", 0.5, 4)
    words = ("--config", "c.toml", *QUICK)
    assert sepfactor("compress", "model.onnx", *words, "-o", "a.onnx").exit_code == 0
    assert sepfactor("apply", "model.onnx", "p.json", "--seed", 4, *QUICK, "-o", "b.onnx").exit_code == 0
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()


def test_it_replaces_nothing_unasked(refused: Callable[..., str], folder: Path) -> None:
    Path("c.toml").write_text("rank = 1")
    said = ("compress", "model.onnx", *QUICK)
    assert "c.toml" in refused(2, *said, "--config", "c.toml", "--save-config", "c.toml", "--overwrite")
    assert "--overwrite" in refused(1, *said, "--save-config", "c.toml")
    Path("d.toml").write_text('data = "data.npz"')
    assert "--json names data.npz" in refused(
        2, *said, "--config", "d.toml", "--json", "data.npz", "--overwrite"
    )


def test_a_misspelt_key(refused: Callable[..., str], folder: Path) -> None:
    Path("c.toml").write_text("min-snrr = 30")
    said = refused(2, "compress", "model.onnx", "--config", "c.toml")
    assert "'min-snrr'" in said
    assert "Did you mean min-snr?" in said


def test_a_project_keeps_its_options_in_its_own_table(sepfactor: Run, refused: Callable[..., str]) -> None:
    Path("pyproject.toml").write_text(
        '[project]\nname = "x"\n[tool.sepfactor]\nrank = 2\nscheme = ["spatial"]\n'
    )
    run = sepfactor("plan", "model.onnx", "--config", "pyproject.toml", "--limit", 1, "-o", "p.json")
    assert run.exit_code == 0, run.output
    assert {layer.rank for layer in read_plan(Path("p.json")).layers if not layer.is_kept} == {(2,)}
    Path("pyproject.toml").write_text("[tool.sepfactor]\nrnak = 2\n")
    assert "Did you mean rank" in refused(2, "plan", "model.onnx", "--config", "pyproject.toml")
    Path("pyproject.toml").write_text('tool = 1\n[project]\nname = "x"\n')
    assert "[tool.sepfactor]" in refused(2, "plan", "model.onnx", "--config", "pyproject.toml")


def test_what_is_of_one_run_is_not_saved(sepfactor: Run) -> None:
    words = ("plan", "model.onnx", "--rank", 2, "--limit", 1, "--overwrite", "-o", "p.json")
    assert sepfactor(*words, "--save-config", "c.toml").exit_code == 0
    saved = Path("c.toml").read_text(encoding="utf-8")
    assert "rank" in saved and "overwrite" not in saved
