"""A network that is written says by which version, of which network, by which plan and why it was made."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import sepfactor
from sepfactor.deliver.provenance import budget_text, read_provenance
from sepfactor.errors import ModelError
from sepfactor.options import make_options
from tests import networks

QUICK: dict[str, Any] = {"limit": 2, "bench_seconds": 0}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(networks.plain(), "model.onnx")
    np.savez("data.npz", image=networks.images())


def test_says_what_it_was_made_of() -> None:
    result = sepfactor.compress("model.onnx", "out.onnx", rank=2, scheme="spatial", force=True, **QUICK)
    made = read_provenance(Path("out.onnx"))
    assert made.version == sepfactor.__version__
    assert made.source == hashlib.sha256(Path("model.onnx").read_bytes()).hexdigest()
    assert made.plan == result.plan.digest()
    assert made.budget == "rank 2, scheme spatial" == result.plan.budget
    assert result.model.metadata_props["sepfactor.plan"] == made.plan


def test_external_data_belong_to_the_source() -> None:
    onnx.save(networks.plain(), "far.onnx", save_as_external_data=True, location="far.bin", size_threshold=0)
    sepfactor.compress("far.onnx", "out.onnx", max_error=0.5, force=True, **QUICK)
    together = Path("far.onnx").read_bytes() + Path("far.bin").read_bytes()
    assert read_provenance(Path("out.onnx")).source == hashlib.sha256(together).hexdigest()


def test_of_a_plan_that_is_applied_it_says_what_was_asked_for() -> None:
    _, (plan,) = sepfactor.plan("model.onnx", max_macs="50%", data="data.npz", limit=4)
    again = sepfactor.Plan.model_validate_json(plan.to_json())
    assert again.digest() == plan.digest()
    sepfactor.apply("model.onnx", again, "out.onnx", bench_seconds=0)
    made = read_provenance(Path("out.onnx"))
    assert (made.budget, made.plan) == ("max-macs 50%", plan.digest())


def test_digest_is_of_what_is_built() -> None:
    _, (plan,) = sepfactor.plan("model.onnx", rank=2, data="data.npz")
    elsewhere = {"model": "x", "environment": {}, "expected": {"speedup": 9}, "budget": "", "data": "others"}
    assert plan.model_copy(update=elsewhere).digest() == plan.digest()
    moved = {**plan.options, "data": "elsewhere.npz", "memory": 10**6}
    assert plan.model_copy(update={"options": moved}).digest() == plan.digest()
    for changed in (
        {"effort": "search"},
        {"rewrites": ("x",)},
        {"options": {**plan.options, "seed": 5}},
        {"layers": plan.layers[:0]},
        {"layers": tuple(one.model_copy(update={"rank": (3,)}) for one in plan.layers)},
    ):
        assert plan.model_copy(update=changed).digest() != plan.digest()


def test_what_the_source_said_of_itself_is_replaced_and_the_rest_stays() -> None:
    proto = networks.plain()
    for key, value in {"sepfactor.budget": "old", "sepfactor.plan": "old", "author": "somebody"}.items():
        proto.metadata_props.add(key=key, value=value)
    sepfactor.compress(proto, "out.onnx", max_error=0.5, force=True, **QUICK)
    said = {entry.key: entry.value for entry in onnx.load("out.onnx").metadata_props}
    assert said["author"] == "somebody"
    assert said["sepfactor.budget"] == "max-error 0.5"
    assert "old" not in said.values()
    assert {entry.value for entry in proto.metadata_props} == {"old", "somebody"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "the default"),
        ({"max_drop": "1%", "speedup": 2}, "max-drop 1%, speedup 2.0"),
        ({"metric": "/home/somebody/mine.py:score"}, "metric"),
        ({"scheme": ["spatial", "tucker2"], "threads": 2, "data": "/home/x.npz"}, "scheme spatial+tucker2"),
    ],
)
def test_what_was_asked_for(asked: dict[str, Any], said: str) -> None:
    assert budget_text(make_options(asked)) == said


def test_tidied_networks_have_no_plan(root: Path) -> None:
    source = root / "models" / "fixed_filters.onnx"
    if sepfactor.tidy(source, "out.onnx", bench_seconds=0.5).is_changed:
        made = read_provenance(Path("out.onnx"))
        assert made.plan is None
        assert "rewritten exactly" in made.line
    else:
        with pytest.raises(ModelError, match="does not say"):
            read_provenance(Path("out.onnx"))
