"""``sepfactor tidy``."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from jsonschema import Draft202012Validator

from sepfactor.report.read import read_document
from sepfactor.report.schemas import published
from sepfactor.results import Tidied
from tests.cli.conftest import Run
from tests.cli.test_compress import strict
from tests.test_tidying import network
from tests.timing import decide_engine

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture(autouse=True)
def _decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PReLU takes as long as sixteen other nodes."""
    decide_engine(monkeypatch, lambda node, shapes: 16.0 if node.op_type == "PRelu" else 1.0)


def test_it_writes_beside_the_model_and_says_what_it_did(sepfactor: Run) -> None:
    onnx.save(network(), "net.onnx")
    run = sepfactor("tidy", "net.onnx")
    assert run.exit_code == 0
    assert "fold-backward" in run.stdout
    assert "Speed" in run.stdout
    onnx.checker.check_model("net.tidy.onnx", full_check=True)


def test_json_is_as_published_and_can_be_read_again(sepfactor: Run, folder: Path) -> None:
    onnx.save(network(), "net.onnx")
    assert sepfactor("tidy", "net.onnx", "--dry-run", "--json", "tidy.json", "-q").exit_code == 0
    assert not (folder / "net.tidy.onnx").exists()
    Draft202012Validator(published("tidied")).validate(strict(Path("tidy.json").read_text(encoding="utf-8")))
    assert isinstance(read_document(Path("tidy.json")), Tidied)


def test_a_network_without_anything_to_gain(sepfactor: Run) -> None:
    run = sepfactor("tidy", "model.onnx")
    assert run.exit_code == 0
    assert "nothing was found" in run.stdout


def test_it_does_not_replace_files(sepfactor: Run) -> None:
    assert sepfactor("tidy", "model.onnx", "-o", "data.npz").exit_code == 1
    assert sepfactor("tidy", "nowhere.onnx").exit_code == 1
