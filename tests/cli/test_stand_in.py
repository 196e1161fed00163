"""Networks that onnxruntime cannot run, on the command line: loud, and all the same done."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from tests.cli.conftest import Run
from tests.robustness.test_stand_in import in_the_middle
from tests.robustness.way import pretend_faster

DATA = ("--data", "data.npz")
LOUD = "! onnxruntime CANNOT RUN THIS NETWORK: it does not know Strange (domain my.own)."


@pytest.fixture(autouse=True)
def _model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_faster(monkeypatch.setattr)
    onnx.save(in_the_middle(), "strange.onnx")


def test_every_way(sepfactor: Run) -> None:
    plan = ("plan", "strange.onnx", *DATA, "--rank", 2, "-o", "plan.json")
    compress = ("compress", "strange.onnx", *DATA, "--rank", 2, "-o", "one.onnx")
    apply = ("apply", "strange.onnx", "plan.json", "-o", "other.onnx")
    profile = ("profile", "strange.onnx", *DATA, "-o", "machine.json")
    for command in (plan, (*compress, "--bench-seconds", 0), (*apply, "--bench-seconds", 0), profile):
        result = sepfactor(*command, env={"COLUMNS": "300"})
        assert result.exit_code == 0, result.output
        assert LOUD in result.stdout, command
    result = sepfactor("inspect", "strange.onnx", *DATA, env={"COLUMNS": "300"})
    assert result.exit_code == 0
    assert LOUD in result.stdout
    assert Path("one.onnx").read_bytes() == Path("other.onnx").read_bytes()
    assert "Strange" in {node.op_type for node in onnx.load("one.onnx").graph.node}


def test_in_json_and_on_the_page(sepfactor: Run) -> None:
    out = ("-o", "out.onnx", "--json", "report.json", "--html", "report.html", "--bench-seconds", 0)
    result = sepfactor("compress", "strange.onnx", *DATA, "--rank", 2, *out, env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.output
    assert "behind Strange" in result.stdout
    (note,) = json.loads(Path("report.json").read_text())["notes"]
    assert note == next(line[2:].rstrip() for line in result.stdout.splitlines() if line.startswith(LOUD))
    assert "CANNOT RUN THIS NETWORK" in Path("report.html").read_text()


@pytest.mark.parametrize("command", ["bench", "compare"])
def test_where_networks_are_only_run(command: str, sepfactor: Run) -> None:
    result = sepfactor(command, "strange.onnx", *["model.onnx"] * (command == "compare"), *DATA)
    assert result.exit_code == 1
    assert "my.own:Strange" in result.stderr
    assert "sepfactor compress can work on convolutions that come before them" in result.stderr
