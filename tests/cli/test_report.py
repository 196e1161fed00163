"""``sepfactor report``: what was saved, shown again."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from rich.cells import cell_len

from sepfactor import __version__
from sepfactor.report.schemas import published
from tests.cli.conftest import Run, listing
from tests.report.samples import bench, comparison, inspection, planning, rich_report


@pytest.fixture(autouse=True)
def saved(folder: Path) -> Path:
    for make in (rich_report, bench, comparison, inspection, planning):
        (folder / f"{make.__name__}.json").write_text(make().to_json(), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["rich_report", "bench", "comparison", "inspection", "planning"])
@pytest.mark.parametrize("width", [80, 160])
def test_as_tables(name: str, width: int, sepfactor: Run) -> None:
    run = sepfactor("report", f"{name}.json", env={"COLUMNS": str(width)})
    assert (run.exit_code, run.stderr) == (0, "")
    assert "Measured" in run.stdout
    assert all(cell_len(line) <= width for line in run.stdout.splitlines())


@pytest.mark.parametrize("name", ["rich_report", "bench", "comparison", "inspection", "planning"])
def test_as_markdown(name: str, sepfactor: Run) -> None:
    run = sepfactor("report", f"{name}.json", "--markdown")
    assert run.exit_code == 0
    assert "| Measured |" in run.stdout


@pytest.mark.parametrize("name", ["rich_report", "planning"])
def test_as_a_page(name: str, sepfactor: Run, folder: Path) -> None:
    before = listing(folder)
    run = sepfactor("report", f"{name}.json", "-o", "run.html")
    assert (run.exit_code, run.output) == (0, "")
    assert set(listing(folder)) - set(before) == {"run.html"}
    assert (folder / "run.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert sepfactor("report", f"{name}.json", "-o", "run.html", "--overwrite").exit_code == 0


def test_what_is_refused(refused: Callable[..., str], folder: Path) -> None:
    (folder / "mine.html").write_text("mine")
    assert "--overwrite" in refused(1, "report", "rich_report.json", "-o", "mine.html")
    assert "used otherwise" in refused(
        2, "report", "rich_report.json", "-o", "rich_report.json", "--overwrite"
    )
    assert "no report of compress" in refused(2, "report", "bench.json", "-o", "x.html")
    assert "There is no file" in refused(1, "report", "nowhere.json")
    assert "is not JSON" in refused(1, "report", "mine.html")
    assert "cannot be written" in refused(1, "report", "rich_report.json", "-o", "nowhere/x.html")


def test_a_page_on_stdout(sepfactor: Run, folder: Path) -> None:
    before = listing(folder)
    run = sepfactor("report", "rich_report.json", "-o", "-")
    assert run.stdout.startswith("<!doctype html>")
    assert run.stdout.rstrip().endswith("</html>")
    assert listing(folder) == before


def test_colour_is_for_terminals(sepfactor: Run) -> None:
    assert "\x1b" not in sepfactor("report", "rich_report.json").stdout


@pytest.mark.usefixtures("always_faster")
class TestPageOfCompress:
    GIVEN = ("compress", "model.onnx", "--data", "data.npz", "--max-error", 0.5, "--bench-seconds", 0.05)

    def test_beside_the_model(self, sepfactor: Run, folder: Path) -> None:
        run = sepfactor(*self.GIVEN, "--html", "run.html", "--json", "run.json")
        assert run.exit_code == 0, run.output
        page = (folder / "run.html").read_text(encoding="utf-8")
        assert "body.first" in page
        saved = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        Draft202012Validator(published("report")).validate(saved)
        assert any(layer["spectrum"] for layer in saved["layers"])
        assert saved["pictures"] == []  # eight channels are no image
        embedded = page.partition('<script type="application/json" id="report">')[2].partition("</script>")[0]
        assert json.loads(embedded) == saved

    def test_nothing_is_done_if_it_cannot_be_written(self, refused: Callable[..., str], folder: Path) -> None:
        (folder / "mine.html").write_text("mine")
        assert "--overwrite" in refused(1, *self.GIVEN, "--html", "mine.html")
        assert "--html names" in refused(2, *self.GIVEN, "--html", "data.npz")
        assert "--html names" in refused(2, *self.GIVEN, "--html", "r.json", "--json", "r.json")

    def test_nothing_is_done_without_the_extra(
        self, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "jinja2", None)
        assert "pip install jinja2 vl-convert-python" in refused(2, *self.GIVEN, "--html", "run.html")

    def test_errors_by_rank_fall(self, sepfactor: Run, folder: Path) -> None:
        sepfactor(*self.GIVEN, "--json", "run.json", "-q")
        saved = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        for layer in saved["layers"]:
            for points in layer["spectrum"].values():
                ranks, errors = zip(*points, strict=True)
                assert sorted(set(ranks)) == list(ranks)
                assert sorted(errors, reverse=True) == list(errors)
                assert errors[-1] < 1e-3


def test_a_network_says_where_it_comes_from(
    sepfactor: Run, refused: Callable[..., str], folder: Path
) -> None:
    words = ("--rank", 2, "--scheme", "spatial", "--data", "data.npz", "-o", "p.json")
    assert sepfactor("plan", "model.onnx", *words).exit_code == 0
    done = sepfactor("apply", "model.onnx", "p.json", "--bench-seconds", 0, "-o", "out.onnx")
    assert done.exit_code == 0, done.output
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    shown = sepfactor("report", "out.onnx").stdout
    assert digest in shown and "rank 2, scheme spatial" in shown and f"sepfactor {__version__}" in shown
    summary = sepfactor("report", "out.onnx", "--markdown").stdout
    assert f"of the network {digest[:12]}, by the plan" in summary
    assert "does not say where it comes from" in refused(1, "report", "model.onnx")
    assert "Leave out -o" in refused(2, "report", "out.onnx", "-o", "page.html")
