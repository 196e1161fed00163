"""onnxruntime-web as an engine: what it can do beside what every engine must (``test_engine.py``)."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import psutil
import pytest

from sepfactor.errors import ModelError, OptionError
from sepfactor.graph.instrument import convolution_times, with_node_names
from sepfactor.measure import Engine, OnnxRuntime, open_engine
from sepfactor.measure import onnxruntime_web_session as web
from sepfactor.measure.engines import Contestant, open_every_engine, race
from sepfactor.measure.in_turns import Runs, time_sessions
from sepfactor.measure.node_process import NodeFailure
from sepfactor.measure.timing import Elsewhere, WorkElsewhere
from sepfactor.serialized import Serialized
from tests.engines import lacks
from tests.graph.build import model, norm_of, normal
from tests.measure.models import TWO_CONVOLUTIONS

needs_web = pytest.mark.skipif(lacks("onnxruntime-web"), reason="onnxruntime-web is not installed")

FEED = {"x": normal(1, 32, 24, 24)}

ENDLESS = model(
    """n = Constant<value = int64 {1000000000000000}>()
       go = Constant<value = bool {1}>()
       y = Loop(n, go, x)<body = b (int64 i, bool c, float[4] v) => (bool d, float[4] w) {
           d = Identity(c)
           w = Add(v, v)
       }>""",
    "float[4] x",
    "float[4] y",
)


def chain(channels: int = 32) -> onnx.ModelProto:
    """Three convolutions, with a sum, Relu and normalisation between them."""
    return model(
        """a = Conv<pads = [1,1,1,1]>(x, kernel, offset)
           c = Add(a, x)
           d = Relu(c)
           e = Conv<pads = [1,1,1,1]>(d, kernel)
           n = BatchNormalization(e, s, b, m, v)
           r = Relu(n)
           y = Conv<pads = [1,1,1,1]>(r, last)""",
        f"float[N,{channels},P,Q] x",
        f"float[N,{channels},P,Q] y",
        kernel=0.05 * normal(channels, channels, 3, 3),
        last=0.05 * normal(channels, channels, 3, 3, seed=1),
        offset=normal(channels),
        **norm_of(channels),
    )


CHAIN = chain().SerializeToString()


@pytest.fixture
def engine() -> Engine:
    return open_engine("onnxruntime-web")


class TestWhatIsMissing:
    def test_node(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(OptionError, match=r"needs Node\.js.*npm install onnxruntime-web"):
            _ = open_engine("onnxruntime-web").environment
        engines, missing = open_every_engine()
        assert "onnxruntime-web" not in [one.name for one in engines]
        assert any("npm install onnxruntime-web" in said for said in missing)

    def test_the_package(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        only(monkeypatch, tmp_path)
        with pytest.raises(OptionError, match=r"npm package.*npm install onnxruntime-web"):
            open_engine("onnxruntime-web").open(CHAIN)

    def test_it_is_found_in_node_path_then_here_or_above_then_among_global_ones(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        here = only(monkeypatch, tmp_path)
        for place in (tmp_path / "global", here.parent / "node_modules", tmp_path / "named"):
            package = place / "onnxruntime-web"
            package.mkdir(parents=True)
            (package / "package.json").write_text(json.dumps({"version": place.name}), encoding="utf-8")
            if place.name == "named":
                monkeypatch.setenv("NODE_PATH", os.pathsep.join(("/nowhere", str(place))))
            assert web.package_folder() == package
            assert web.package_version() == place.name

    def test_a_package_that_does_not_start_is_told_of(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        if web.shutil.which("node") is None:
            pytest.skip("node is not installed")
        package = tmp_path / "onnxruntime-web"
        package.mkdir()
        (package / "package.json").write_text('{"version": "1", "main": "m.js"}', encoding="utf-8")
        (package / "m.js").write_text("throw new Error('worn out');", encoding="utf-8")
        monkeypatch.setenv("NODE_PATH", str(tmp_path))
        with pytest.raises(ModelError, match=r"process has ended.*Error: worn out"):
            open_engine("onnxruntime-web").open(CHAIN)


def only(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """The folder it is looked for from, where there is a program but no package."""
    here = folder / "above" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.delenv("NODE_PATH", raising=False)
    monkeypatch.setattr(web, "node_program", lambda: "node")
    monkeypatch.setattr(web, "_global", lambda _: folder / "global")
    return here


def test_importing_sepfactor_starts_nothing() -> None:
    asked = "import sepfactor, sepfactor.measure.onnxruntime_web_session as web; print(web._processes)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "{}\n"


def test_its_script_is_part_of_the_package() -> None:
    assert web._SCRIPT.is_file()


def test_it_runs_on_one_thread_and_on_wasm() -> None:
    with pytest.raises(OptionError, match="one thread"):
        open_engine("onnxruntime-web", 2)
    with pytest.raises(OptionError, match="wasm only"):
        open_engine("onnxruntime-web", 1, "webgpu")
    assert open_engine("onnxruntime-web", 0, "wasm").exact == OnnxRuntime(0)


@needs_web
class TestRunning:
    def test_it_computes_what_onnxruntime_does(self, engine: Engine) -> None:
        for level in ("all", "basic", "none"):
            wanted, found = (one.open(CHAIN, level=level).run(FEED)[0] for one in (OnnxRuntime(), engine))
            assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()

    @pytest.mark.parametrize(
        "kind", ["float", "double", "float16", "bool", "int8", "uint8", "int32", "int64", "uint64"]
    )
    def test_every_type_of_numbers_goes_there_and_back(self, engine: Engine, kind: str) -> None:
        code = onnx.TensorProto.DataType.Value(kind.upper())
        dtype = onnx.helper.tensor_dtype_to_np_dtype(code)
        x = (100 * normal(2, 3, 5)).astype(dtype)
        if dtype == np.int64:
            x[0, 0, 0] = 2**62 + 1  # more than a number of JavaScript holds
        network = model(
            "y = Transpose<perm = [2,0,1]>(x)", f"{kind}[2,P,5] x", f"{kind}[5,2,P] y"
        ).SerializeToString()
        session = engine.open(network)
        (found,) = session.run({"x": x})
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, x.transpose(2, 0, 1))
        exact = OnnxRuntime().open(network)
        described = [[(i.name, i.type, list(i.shape)) for i in s.get_inputs()] for s in (session, exact)]
        assert described[0] == described[1]

    def test_one_number_and_none_at_all(self, engine: Engine) -> None:
        session = engine.open(
            model("y = Neg(x)\nz = Neg(e)", "float x, float[N] e", "float y, float[N] z").SerializeToString()
        )
        y, z = session.run({"x": np.float32(3), "e": np.zeros(0, np.float32)})
        assert (y.shape, float(y), z.shape) == ((), -3.0, (0,))

    def test_text_is_refused(self, engine: Engine) -> None:
        session = engine.open(model("y = Identity(x)", "string[2] x", "string[2] y").SerializeToString())
        with pytest.raises(ModelError, match="x is fed"):
            session.run({"x": np.array(["a", "b"])})

    @pytest.mark.parametrize(
        ("feed", "said"),
        [
            ({}, "input 'x' is missing"),
            (FEED | {"z": FEED["x"]}, "input 'z'"),
            ({"x": FEED["x"][0]}, "Invalid rank"),
            ({"x": normal(1, 31, 8, 8)}, "invalid dimensions"),
            ({"x": FEED["x"].astype(np.float64)}, "data type"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, engine: Engine, feed: Any, said: str) -> None:
        session = engine.open(CHAIN)
        with pytest.raises(ModelError, match=said) as caught:
            session.run(feed)
        assert "It takes x: tensor(float) (N, 32, P, Q)" in str(caught.value)
        assert "\n" not in str(caught.value)
        session.run(FEED)

    def test_what_it_cannot_load_is_told_in_a_line(self, engine: Engine, tmp_path: Path) -> None:
        strange = model("y = Abs(x)", "float[4] x", "float[4] y")
        strange.graph.node[0].op_type = "Strange"
        for source, said in (
            (strange.SerializeToString(), "cannot load the model: .*Strange"),
            (b"junk", "protobuf"),
            (tmp_path / "none.onnx", r"none\.onnx: .*No such file"),
        ):
            with pytest.raises(ModelError, match=said) as caught:
                engine.open(source)
            assert "\n" not in str(caught.value)
            assert ".cc" not in str(caught.value)

    def test_tensors_may_lie_in_files_beside_it_but_nowhere_else(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        wanted = engine.open(CHAIN).run(FEED)[0]
        path = tmp_path / "in" / "m.onnx"
        path.parent.mkdir()
        onnx.save(chain(), path, save_as_external_data=True, location="m.data", size_threshold=0)
        for source in (path, Serialized(path.read_bytes(), path.parent)):
            np.testing.assert_array_equal(engine.open(source).run(FEED)[0], wanted)
        (path.parent / "m.data").rename(tmp_path / "m.data")
        for location in ("../m.data", str(tmp_path / "m.data")):
            proto = onnx.load(path, load_external_data=False)
            for tensor in proto.graph.initializer:
                for entry in (e for e in tensor.external_data if e.key == "location"):
                    entry.value = location
            with pytest.raises(ModelError, match="cannot load"):
                engine.open(Serialized(proto.SerializeToString(), path.parent))


@needs_web
class TestItsProcess:
    def test_a_run_without_end_is_broken_off(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        session = engine.open(ENDLESS.SerializeToString())
        monkeypatch.setenv("SEPFACTOR_RUN_SECONDS", "0.3")
        with pytest.raises(ModelError, match=r"longer than 0\.3 s"):
            session.run({"x": np.ones(4, np.float32)})

    def test_one_that_died_is_an_error_and_the_next_network_has_another(self, engine: Engine) -> None:
        session = engine.open(CHAIN)
        assert isinstance(session.network, web.Opened)  # type: ignore[attr-defined]
        os.kill(session.network.process.pid, signal.SIGKILL)  # type: ignore[attr-defined]
        with pytest.raises(ModelError, match="process has ended"):
            session.run(FEED)
        with pytest.raises(ModelError, match="process has ended"):
            engine.time([(session, [FEED])], seconds=0.0)
        engine.open(CHAIN).run(FEED)

    def test_it_forgets_networks_and_inputs_that_are_not_needed_any_more(self, engine: Engine) -> None:
        session = engine.open(CHAIN)
        call = engine.call(session, [FEED])
        call(0)
        network = session.network  # type: ignore[attr-defined]
        process, number = network.process, network.number
        asked = {"do": "time", "session": number, "feed": number + 1}
        process.ask(asked)
        del session, call, network
        gc.collect()
        with pytest.raises(NodeFailure):
            process.ask(asked)
        assert process.is_running

    @pytest.mark.parametrize("ends", ["by itself", "killed at rest", "killed in a run"])
    def test_it_does_not_outlive_this_one(self, ends: str, tmp_path: Path) -> None:
        (tmp_path / "m.onnx").write_bytes(ENDLESS.SerializeToString())
        script = f"""if True:
            import sys, time, numpy as np
            from pathlib import Path
            from sepfactor.measure import open_engine
            session = open_engine("onnxruntime-web").open(Path({str(tmp_path / "m.onnx")!r}))
            print(session.network.process.pid, flush=True)
            if {ends!r} == "killed at rest":
                time.sleep(600)
            if {ends!r} == "killed in a run":
                session.run({{"x": np.ones(4, np.float32)}})
            """
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            other = int(parent.stdout.readline())
            if ends != "by itself":
                time.sleep(1.0)
                assert psutil.pid_exists(other)
                parent.kill()
            parent.wait(60)
        until = time.monotonic() + 60
        while psutil.pid_exists(other) and time.monotonic() < until:
            time.sleep(0.1)
        assert not psutil.pid_exists(other)


def test_what_runs_take_elsewhere_is_counted_and_what_it_takes_to_ask_is_not() -> None:
    elsewhere = Elsewhere()
    meter = WorkElsewhere(elsewhere)
    before, spent = meter.read(), meter.start()
    elsewhere.passed, elsewhere.worked = 30.0, 20.0
    passed, worked = (then - now for then, now in zip(meter.read(), before, strict=True))
    assert 30 <= passed < 31
    assert 20 <= worked < 21
    assert 20 <= spent() < 21  # work wherever it is done, but not what passed there: timing ends by it


@needs_web
class TestTiming:
    def test_what_is_counted_is_the_work_of_the_other_process(self, engine: Engine) -> None:
        session = engine.open(chain(64).SerializeToString(), use="times")
        feed = {"x": normal(1, 64, 64, 64)}
        session.run(feed)
        process = psutil.Process(session.network.process.pid)  # type: ignore[attr-defined]
        before = process.cpu_times()
        rounds = engine.time([(session, [feed])], seconds=0.0, min_rounds=40)
        used = process.cpu_times()
        assert rounds.cpu is not None
        whole = used.user + used.system - before.user - before.system
        counted = 1e-3 * rounds.cpu.sum()
        assert 0.6 * whole - 0.05 < counted < whole + 0.05
        assert (rounds.wall > 0).all()

    def test_beside_another_engine_both_are_by_the_processor(self, engine: Engine) -> None:
        two = [Contestant(one.name, CHAIN, one) for one in (OnnxRuntime(), engine)]
        rounds = race(two, [FEED], seconds=0.0)
        assert rounds.wall.shape == (2, 9)
        assert rounds.clock == engine.clock == OnnxRuntime().clock
        assert (rounds.samples[~np.isnan(rounds.samples)] > 0).all()

    def test_a_run_that_fails_is_told_of_in_words(self, engine: Engine) -> None:
        feeds = [FEED, {"x": np.zeros((3, 3), np.float32)}]
        with pytest.raises(ModelError, match="cannot run the model"):
            time_sessions([Runs(engine, engine.open(CHAIN), feeds)], seconds=0.0)

    def test_only_its_own_sessions(self, engine: Engine) -> None:
        with pytest.raises(TypeError, match="its own"):
            engine.call(OnnxRuntime().open(CHAIN), [FEED])


@needs_web
def test_a_profile_is_traced_back_to_the_convolutions(engine: Engine) -> None:
    network, told = ir.from_proto(chain()), list[float]()
    nodes = engine.profile(with_node_names(network), FEED, runs=2, watch=told.append)
    times = {node.name: node.median_ms for node in nodes if node.op_type == "Conv"}
    assert set(convolution_times(network, times)) == {"a", "e", "y"}
    assert all(node.median_ms >= 0 for node in nodes)
    assert told == sorted(told)
    assert told[-1] == 1.0
    with pytest.raises(ValueError, match="at least one"):
        engine.profile(TWO_CONVOLUTIONS, FEED, runs=0)
