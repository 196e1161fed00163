"""``sepfactor apply``: the same plan for the same network, and for the same trained anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests import networks
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("always_faster")
QUICK = ("--bench-seconds", 0)


@pytest.fixture
def plan(sepfactor: Run, folder: Path) -> Path:
    """Rank 3 everywhere, made without fitting."""
    words = ("--rank", 3, "--scheme", "spatial-vertical", "--data", "data.npz", "--no-refit")
    assert sepfactor("plan", "model.onnx", *words, "-o", "p.json").exit_code == 0
    weights = {"w1": networks.kernel(16, 3, 5, seed=7), "w2": networks.kernel(8, 16, seed=8)}
    onnx.save(networks.plain(**weights), "retrained.onnx")
    return folder / "p.json"


def report(sepfactor: Run, *words: object) -> dict[str, Any]:
    done = sepfactor(*words, *QUICK, "--json", "r.json", "--overwrite")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(Path("r.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize(
    "words", [("apply", "model.onnx", "p.json"), ("compress", "model.onnx", "--plan", "p.json")]
)
def test_the_report_shows_what_other_ranks_would_cost(words: tuple[str, ...], sepfactor: Run) -> None:
    """Here of the scheme the plan takes."""
    layers = report(sepfactor, *words, "-o", "a.onnx")["layers"]
    assert any(layer["replaced"] for layer in layers)
    for layer in layers:
        if layer["replaced"]:
            (spectrum,) = layer["spectrum"].values()
            assert [layer["scheme"]] == list(layer["spectrum"])
            errors = [error for _, error in spectrum]
            assert errors == sorted(errors, reverse=True)


@pytest.mark.usefixtures("plan")
def test_new_weights_take_the_plan_and_are_fitted_anew(sepfactor: Run) -> None:
    bare = report(sepfactor, "apply", "retrained.onnx", "p.json", "-o", "bare.onnx")
    fitted = report(
        sepfactor, "apply", "retrained.onnx", "p.json", "--refit", "--data", "data.npz", "-o", "f.onnx"
    )
    for one in (bare, fitted):
        planned = json.loads(Path("p.json").read_text(encoding="utf-8"))["layers"]
        assert [(la["scheme"] or "keep", la["rank"]) for la in one["layers"]] == [
            (la["scheme"], la["rank"]) for la in planned
        ]
        assert any("other weights" in note for note in one["notes"])
    errors = [one["accuracy"]["outputs"][0]["relative_error"] for one in (bare, fitted)]
    assert errors[1] < 0.8 * errors[0]
    assert bare["options"]["refit"] is False
    assert fitted["options"]["refit"] is True
    assert all(layer["fitted_error"] is not None for layer in fitted["layers"] if layer["replaced"])


@pytest.mark.usefixtures("plan")
def test_the_network_it_was_made_for_is_not_warned_of(sepfactor: Run) -> None:
    notes = report(sepfactor, "apply", "model.onnx", "p.json", "-o", "a.onnx")["notes"]
    assert not any("weights" in note for note in notes)


@pytest.mark.usefixtures("plan")
def test_what_is_given_goes_before_the_plan(sepfactor: Run) -> None:
    np.savez("more.npz", image=networks.images(6, seed=3))
    options = report(sepfactor, "apply", "model.onnx", "p.json", "--data", "more.npz", "-o", "a.onnx")[
        "options"
    ]
    assert (options["data"], options["refit"]) == ("more.npz", False)


def test_other_files_of_ours_are_named_for_what_they_are(sepfactor: Run, refused: Callable[..., str]) -> None:
    sepfactor("compress", "model.onnx", "--max-error", 0, *QUICK, "-o", "o.onnx", "--json", "report.json")
    sepfactor("plan", "model.onnx", "--rank", 2, "--limit", 1, "-o", "p.json", "--json", "planning.json")
    sepfactor("profile", "model.onnx", "--scheme", "spatial", "--limit", 1, "-o", "machine.json")
    sepfactor("inspect", "model.onnx", "--limit", 1, "--json", "seen.json")
    for file, what in {
        "report.json": "a report",
        "planning.json": "the report of planning",
        "machine.json": "the profile of a machine",
        "seen.json": "what inspect saw",
    }.items():
        said = refused(1, "apply", "model.onnx", file)
        assert f"{file} is {what}" in said and "sepfactor plan" in said
