"""``sepfactor compare``, on the command line and from Python."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError
from rich.cells import cell_len

import sepfactor as package
from sepfactor.errors import DataError, ModelError
from sepfactor.report.schemas import published
from tests import networks
from tests.cli.conftest import Run, listing
from tests.cli.test_compress import outputs, strict
from tests.graph.build import model

COUNT = 40


@pytest.fixture
def pair(folder: Path) -> Path:
    """``a.onnx`` and ``b.onnx``, two classifiers that disagree on some of ``images.npz``, labelled."""
    onnx.save(networks.classifier(), "a.onnx")
    changed = networks.classifier()
    weight = onnx.numpy_helper.to_array(changed.graph.initializer[0])
    noise = np.random.default_rng(1).standard_normal(weight.shape).astype(np.float32)
    changed.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight + 0.2 * noise, "w1"))
    onnx.save(changed, "b.onnx")
    images = networks.images(COUNT) * np.random.default_rng(2).random((COUNT, 3, 1, 1), np.float32)
    labels = np.concatenate(
        [outputs(Path("a.onnx"), {"image": image[None]})[0].argmax(1) for image in images]
    )
    labels[:4] = (labels[:4] + 1) % 6
    np.savez("images.npz", image=images)
    np.save("labels.npy", labels)
    return folder


GIVEN = ("compare", "a.onnx", "b.onnx", "--data", "images.npz")


def classes(model: str) -> np.ndarray:
    with np.load("images.npz") as arrays:
        return np.array([outputs(Path(model), {"image": x[None]})[0].argmax() for x in arrays["image"]])


@pytest.mark.usefixtures("pair")
class TestCommand:
    def test_every_figure_is_what_one_counts_by_hand(self, sepfactor: Run) -> None:
        run = sepfactor(*GIVEN, "--labels", "labels.npy", "--json", "-")
        assert (run.exit_code, run.stderr) == (0, "")
        found = strict(run.stdout)
        Draft202012Validator(published("comparison")).validate(found)
        (output,) = found["accuracy"]["outputs"]
        labels, a, b = np.load("labels.npy"), classes("a.onnx"), classes("b.onnx")
        assert 0 < (a != b).sum() < COUNT  # else the fixture shows nothing
        assert output["agreement"] == np.mean(a == b)
        top = output["top1"]
        assert top["reference"]["value"] == np.mean(a == labels)
        assert top["candidate"]["value"] == np.mean(b == labels)
        assert top["lost"] == ((a == labels) & (b != labels)).sum()
        assert top["drop"] == pytest.approx(np.mean(a == labels) - np.mean(b == labels))
        assert top["drop_low"] < top["drop"] < top["drop_high"]
        assert output["top5"] is not None
        errors = output["errors"]
        assert sum(errors["counts"]) + errors["equal"] == 6 * COUNT
        assert errors["edges"][-2] <= output["max_abs"] <= errors["edges"][-1]

    def test_a_task_is_judged_as_compress_does(self, sepfactor: Run) -> None:
        assert strict(sepfactor(*GIVEN, "--json", "-").stdout)["quality"] is None
        run = sepfactor(*GIVEN, "--task", "classifier", "--json", "-")
        found = strict(run.stdout)
        Draft202012Validator(published("comparison")).validate(found)
        a, b = classes("a.onnx"), classes("b.onnx")
        assert (found["quality"]["kind"], found["quality"]["result"]) == ("agreement", np.mean(a == b))
        assert [one["task"] for one in found["tasks"]] == ["classifier"]
        shown = sepfactor(*GIVEN, "--task", "dense", env={"COLUMNS": "160"}).stdout
        (snr,) = (line for line in shown.splitlines() if line.split()[:1] == ["snr"])
        worst = strict(sepfactor(*GIVEN, "--json", "-").stdout)["accuracy"]["outputs"][0]["worst_snr_db"]
        assert f"{worst:.1f} dB" in snr
        assert "Judged as" in shown
        run = sepfactor(*GIVEN, "--task", "detector")
        assert run.exit_code == 2
        assert "can be judged as --task detector" in run.stderr
        assert set(re.findall(r"--[a-z-]+", run.stderr)) <= set(
            re.findall(r"--[a-z-]+", sepfactor("compare", "--help").stdout)
        )

    @pytest.mark.parametrize(("task", "kind", "least"), [("classifier", "agreement", 8), ("dense", "snr", 4)])
    def test_of_few_samples_a_task_claims_nothing(
        self, sepfactor: Run, task: str, kind: str, least: int
    ) -> None:
        for count, other, is_said in ((least - 1, "b", True), (least, "b", False), (least - 1, "a", False)):
            given = ("compare", "a.onnx", f"{other}.onnx", "--data", "images.npz", "--limit", str(count))
            found = strict(sepfactor(*given, "--task", task, "--json", "-").stdout)
            said = [note for note in found["notes"] if note.startswith(f"Nothing is claimed of {kind},")]
            assert len(said) == is_said
            assert all(f"{count} samples of at least {least}: give 1 more" in note for note in said)

    @pytest.mark.parametrize(("count", "is_said"), [(8, True), (9, False)])
    def test_of_few_embeddings_it_is_said_what_was_not_judged(
        self, sepfactor: Run, count: int, is_said: bool
    ) -> None:
        onnx.save(model("y = Identity (x)", "float[N, 64] x", "float[N, 64] y"), "e.onnx")
        np.savez("rows.npz", x=np.random.default_rng(0).standard_normal((count, 64), np.float32))
        command = ("compare", "e.onnx", "e.onnx", "--data", "rows.npz")
        found = strict(sepfactor(*command, "--task", "embedding", "--json", "-").stdout)
        said = [
            note for note in found["notes"] if note.startswith("Which sample is nearest to which was not")
        ]
        assert len(said) == is_said

    def test_pictures_are_of_the_images_whose_class_changed(self, sepfactor: Run) -> None:
        found = strict(sepfactor(*GIVEN, "--json", "-").stdout)
        a, b = classes("a.onnx"), classes("b.onnx")
        assert found["pictures"]
        for picture in found["pictures"]:
            at = picture["sample"]
            assert picture["classes"] == [a[at], b[at]]
            assert a[at] != b[at]

    def test_nor_are_they_shown_against_ones_will(self, sepfactor: Run) -> None:
        assert strict(sepfactor(*GIVEN, "--json", "-", "--no-pictures").stdout)["pictures"] == []

    @pytest.mark.parametrize("width", [80, 160])
    def test_the_table_fits(self, width: int, sepfactor: Run) -> None:
        run = sepfactor(*GIVEN, "--labels", "labels.npy", env={"COLUMNS": str(width)})
        assert run.exit_code == 0
        assert all(cell_len(line) <= width for line in run.stdout.splitlines())
        for words in ("logits", "top-1", "McNemar", "Errors logits", "a.onnx"):
            assert words in run.stdout

    def test_markdown(self, sepfactor: Run) -> None:
        run = sepfactor(*GIVEN, "--markdown")
        assert run.stdout.startswith("| Output | ")
        assert "\x1b" not in run.stdout

    def test_nothing_is_written_but_what_was_asked_for(self, sepfactor: Run, pair: Path) -> None:
        before = listing(pair)
        assert sepfactor(*GIVEN, "-q", "--json", "c.json").output == ""
        after = listing(pair)
        assert set(after) - set(before) == {"c.json"}
        assert before == {name: after[name] for name in before}

    def test_what_cannot_be_compared(self, refused: Callable[..., str]) -> None:
        onnx.save(networks.plain(), "map.onnx")
        onnx.save(networks.two_inputs(), "two.onnx")
        assert "no output 'logits'" in refused(1, "compare", "a.onnx", "map.onnx", "--data", "images.npz")
        assert refused(1, "compare", "map.onnx", "two.onnx", "--data", "images.npz").startswith(
            "Error: two.onnx: "
        )
        assert "used otherwise" in refused(2, *GIVEN, "--json", "b.onnx")
        refused(2, "compare", "a.onnx")
        refused(1, "compare", "a.onnx", "nowhere.onnx")

    def test_without_data_no_accuracy_is_claimed(self, sepfactor: Run) -> None:
        run = sepfactor("compare", "a.onnx", "b.onnx")
        assert run.exit_code == 0
        assert "! SYNTHETIC IMAGES" in run.stdout


@pytest.mark.usefixtures("pair")
class TestFromPython:
    def test_a_model_and_itself(self) -> None:
        found = package.compare("a.onnx", Path("a.onnx").read_bytes(), data="images.npz")
        (output,) = found.accuracy.outputs
        assert (output.relative_error, output.agreement, output.max_abs) == (0, 1, 0)
        assert output.snr_db == np.inf
        assert found.pictures == ()
        assert "off by 0 %" in repr(found)

    def test_the_result_is_typed_frozen_and_shown_by_notebooks(self) -> None:
        found = package.compare(networks.classifier(), "b.onnx", data="images.npz", labels="labels.npy")
        top1 = found.accuracy.outputs[0].top1
        assert top1 is not None
        assert top1.p_value <= 1
        with pytest.raises(ValidationError, match="frozen"):
            found.notes = ()  # type: ignore[misc]
        assert "<table>" in found._repr_html_()
        assert json.loads(found.to_json())["accuracy"]["samples"] == COUNT

    def test_trouble(self) -> None:
        with pytest.raises(ModelError):
            package.compare("a.onnx", b"nonsense")
        with pytest.raises(DataError):
            package.compare("a.onnx", "b.onnx", data="nowhere.npz")
