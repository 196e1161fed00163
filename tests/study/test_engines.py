"""The engine that is asked for times and judges; another answers what factors are fitted to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import sepfactor
from sepfactor.errors import OptionError, PlanError
from sepfactor.measure import ENGINES, open_engine
from sepfactor.options import Options, make_options
from sepfactor.results import Environment
from sepfactor.results.context import ENGINE_TITLES
from sepfactor.study import study
from tests import networks
from tests.engines import lacks
from tests.timing import decide_times

OTHERS = [name for name in ENGINES if name != "onnxruntime" and not lacks(name)]
needs_openvino = pytest.mark.skipif(lacks("openvino"), reason="openvino is not installed")

QUICK: dict[str, Any] = {"bench_seconds": 0, "limit": 8, "max_error": 0.5, "overwrite": True}
DATA, UNSEEN = ({"image": networks.images(16, seed=seed)} for seed in (0, 1))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(networks.plain(w1=networks.kernel(16, 3, 5)), "model.onnx")


@pytest.mark.parametrize("engine", OTHERS)
class TestPlanning:
    @pytest.fixture(autouse=True)
    def decided(self, monkeypatch: pytest.MonkeyPatch) -> None:
        decide_times(monkeypatch, 2.0)

    def test_the_result_is_judged_in_the_engine_and_the_original_is_not(self, engine: str) -> None:
        asked = {"data": DATA, "eval_data": UNSEEN, "engine": engine}
        result = sepfactor.compress("model.onnx", "out.onnx", **asked, **QUICK | {"limit": 16})
        about, title = result.report.environment, ENGINE_TITLES.get(engine, engine)
        assert about.engine == engine
        assert about.line.startswith(f"{title} {about.engine_version}, {about.provider}")
        assert any(f"The result runs in {title} in" in note for note in result.report.notes)
        session = {name: open_engine(name) for name in ("onnxruntime", engine)}
        files = {"onnxruntime": "model.onnx", engine: "out.onnx"}
        first, second = (
            np.concatenate(
                [session[name].open(Path(file)).run({"image": x[None]})[0] for x in UNSEEN["image"]]
            )
            for name, file in files.items()
        )
        compared = sepfactor.compare("model.onnx", "out.onnx", data=UNSEEN, engine=engine).accuracy
        wanted = 10 * np.log10(np.sum(first.astype(float) ** 2) / np.sum((first - second).astype(float) ** 2))
        for seen in (compared, result.report.accuracy):
            assert seen is not None
            assert seen.outputs[0].snr_db == pytest.approx(wanted, abs=0.01)

    def test_what_its_precision_loses_by_itself_is_counted(self, engine: str) -> None:
        found = sepfactor.compare("model.onnx", "model.onnx", data=DATA, engine=engine)
        alike = sepfactor.compare("model.onnx", "model.onnx", data=DATA)
        assert alike.accuracy.outputs[0].snr_db == float("inf")
        assert not alike.notes
        most = 70 if found.environment.precision == "bfloat16" else float("inf")
        assert 20 < found.accuracy.outputs[0].snr_db <= most

    def test_a_plan_makes_the_same_file_whichever_engine_times_it(self, engine: str) -> None:
        plan = sepfactor.compress("model.onnx", "a.onnx", data=DATA, **QUICK).plan
        asked = {"bench_seconds": 0, "data": DATA, "limit": 8, "overwrite": True}
        for name in ("onnxruntime", engine):
            sepfactor.apply("model.onnx", plan, f"{name}.onnx", engine=name, **asked)
        assert Path("onnxruntime.onnx").read_bytes() == Path(f"{engine}.onnx").read_bytes()

    def test_a_profile_is_of_one_engine(self, engine: str) -> None:
        asked = {"data": DATA, "limit": 8}
        for name, other in ((engine, "onnxruntime"), ("onnxruntime", engine)):
            profile = sepfactor.profile("model.onnx", engine=name, max_error=0.5, **asked)
            Path("times.json").write_text(profile.to_json(), encoding="utf-8")
            sepfactor.plan("model.onnx", profile="times.json", engine=name, min_snr=10, **asked)
            with pytest.raises(PlanError, match=f"Say --engine {name}"):
                sepfactor.plan("model.onnx", profile="times.json", engine=other, min_snr=10, **asked)

    def test_inspect(self, engine: str) -> None:
        found = sepfactor.inspect("model.onnx", data=DATA, engine=engine)
        assert found.layouts is None
        assert all(layer.milliseconds is not None for layer in found.layers)


@pytest.mark.parametrize("field", ["engine", "engine_version", "precision"])
def test_what_another_engine_took_is_not_known(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEPFACTOR_CACHE", str(tmp_path))
    here: Environment = open_engine("onnxruntime").environment
    entry = {"ms": 1.0}
    study._timing_cache(Options(), here, None).put("key", entry)
    assert study._timing_cache(Options(), here, None).get("key") == entry
    other = here.model_copy(update={field: "another"})
    assert study._timing_cache(Options(), other, None).get("key") is None


@pytest.mark.skipif("ncnn" not in OTHERS, reason="ncnn is not installed")
def test_ncnn_is_planned_for(monkeypatch: pytest.MonkeyPatch) -> None:
    decide_times(monkeypatch, 2.0)
    result = sepfactor.compress("model.onnx", "out.onnx", data=DATA, engine="ncnn", **QUICK)
    about = result.report.environment
    assert about.engine == "ncnn"
    assert about.line.startswith(f"ncnn {about.engine_version}, CPU in float32 with float16 weights, ")
    assert any("The result runs in ncnn in float32" in note for note in result.report.notes)
    image = {"image": UNSEEN["image"][:1]}
    wanted, found = (
        open_engine(name).open(Path("out.onnx")).run(image)[0] for name in ("onnxruntime", "ncnn")
    )
    assert np.linalg.norm(wanted - found) < 2e-3 * np.linalg.norm(wanted)


def test_eight_bits_are_refused_in_another_engine() -> None:
    with pytest.raises(OptionError, match="int8 and engine openvino exclude each other"):
        make_options({"int8": True, "engine": "openvino"})
    make_options({"int8": True, "engine": "onnxruntime"})


def test_only_bench_takes_all() -> None:
    for call in (sepfactor.inspect, sepfactor.compress):
        with pytest.raises(OptionError, match="Only bench compares engines"):
            call("model.onnx", data=DATA, engine="all")


@pytest.mark.skipif(not OTHERS, reason="no other engine is installed")
class TestEveryEngine:
    def test_every_file_in_every_engine(self) -> None:
        onnx.save(networks.plain(), "other.onnx")
        found = sepfactor.bench(["model.onnx", "other.onnx"], data=DATA, engine="all", bench_seconds=0.1)
        here = ["onnxruntime", *OTHERS]
        assert [(row.model, row.engine) for row in found.rows] == [
            (name, engine) for name in ("model.onnx", "other.onnx") for engine in here
        ]
        assert [row.speedup is None for row in found.rows] == [True] + [False] * (2 * len(here) - 1)
        assert found.environment.engine == "onnxruntime"
        assert [other.engine for other in found.others] == OTHERS
        assert found.advice.startswith(("Deploy ", "Stay with model.onnx in onnxruntime"))

    def test_what_one_cannot_read_is_left_out_with_its_reason(self) -> None:
        nodes = [onnx.helper.make_node("SampleOp", ["image"], ["map"], domain="com.microsoft")]
        opsets = {"": 17, "com.microsoft": 1}
        own = networks.network(nodes, {}, {"image": networks.MAP}, {"map": networks.MAP}, opsets=opsets)
        onnx.save(own, "own.onnx")
        found = sepfactor.bench(["model.onnx", "own.onnx"], data=DATA, engine="all", bench_seconds=0.05)
        with_it = [name for name in ("onnxruntime", *OTHERS) if name.startswith("onnxruntime")]
        assert [(row.model, row.engine) for row in found.rows][1 + len(OTHERS) :] == [
            ("own.onnx", engine) for engine in with_it
        ]
        for engine in [name for name in OTHERS if name not in with_it]:
            title = ENGINE_TITLES.get(engine, engine)
            assert any(
                re.match(f"own.onnx was not timed in {engine}\\. ({title}|pnnx) cannot", note)
                for note in found.notes
            )
