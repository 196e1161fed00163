"""OpenVINO as an engine: what it can do beside what every engine must (``test_engine.py``)."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sepfactor.errors import ModelError, OptionError
from sepfactor.graph.instrument import convolution_times, with_node_names
from sepfactor.measure import OnnxRuntime, open_engine
from sepfactor.measure import openvino_session as ov
from sepfactor.measure.engines import Contestant, open_every_engine, race
from sepfactor.measure.in_turns import Runs, time_sessions
from sepfactor.serialized import Serialized
from tests.graph.build import model, norm_of, normal
from tests.measure.models import scaled

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")

FEED = {"x": normal(1, 32, 24, 24)}


def chain(channels: int = 32) -> onnx.ModelProto:
    """Four convolutions; sum, Relu and normalisation become part of them."""
    return model(
        """p = Conv<pads = [1,1,1,1]>(x, last)
           a = Conv<pads = [1,1,1,1]>(p, kernel, offset)
           c = Add(a, p)
           d = Relu(c)
           e = Conv<pads = [1,1,1,1]>(d, kernel)
           n = BatchNormalization(e, s, b, m, v)
           y = Conv<pads = [1,1,1,1]>(n, last)""",
        f"float[N,{channels},P,Q] x",
        f"float[N,{channels},P,Q] y",
        kernel=0.05 * normal(channels, channels, 3, 3),
        last=0.05 * normal(channels, channels, 3, 3, seed=1),
        offset=normal(channels),
        **norm_of(channels),
    )


def test_importing_sepfactor_leaves_it_alone() -> None:
    loaded = "import sys, sepfactor, sepfactor.measure, sepfactor.benchmark; print('openvino' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_where_it_is_missing_a_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    ov._core.cache_clear()
    try:
        with pytest.raises(OptionError, match="pip install openvino"):
            _ = open_engine("openvino").clock
        engines, missing = open_every_engine()
        assert engines[0] == OnnxRuntime()
        assert "openvino" not in [engine.name for engine in engines]
        assert sum("pip install openvino" in said for said in missing) == 1
    finally:
        ov._core.cache_clear()


@needs_openvino
class TestRunning:
    def test_it_computes_what_onnxruntime_does_but_for_its_precision(self) -> None:
        network = chain().SerializeToString()
        wanted, found = (open_engine(n).open(network).run(FEED)[0] for n in ("onnxruntime", "openvino"))
        exact = open_engine("openvino").environment.precision == "float32"
        error = np.linalg.norm(wanted - found) / np.linalg.norm(wanted)
        assert error < (1e-5 if exact else 2e-2)

    def test_outputs_go_by_the_names_of_the_graph_in_its_order(self) -> None:
        session = open_engine("openvino").open(scaled(2.0))
        assert [(o.name, o.type) for o in session.get_outputs()] == [
            ("map", "tensor(float)"),
            ("scores", "tensor(float)"),
            ("best", "tensor(int64)"),
        ]
        assert [(i.name, list(i.shape)) for i in session.get_inputs()] == [
            ("x", [None, 6]),
            ("image", [None, 1, None, None]),
        ]

    @pytest.mark.parametrize(
        ("feed", "said"),
        [
            ({}, "not fed x"),
            (FEED | {"z": FEED["x"]}, "no input z"),
            ({"x": FEED["x"][0]}, "incompatible"),
            ({"x": normal(1, 31, 8, 8)}, "incompatible"),
        ],
    )
    def test_what_does_not_fit_is_refused_though_openvino_would_take_it(
        self, feed: dict[str, np.ndarray], said: str
    ) -> None:
        session = open_engine("openvino").open(chain().SerializeToString())
        with pytest.raises(ModelError, match=said) as caught:
            session.run(feed)
        assert "It takes x: tensor(float) (?, 32, ?, ?)" in str(caught.value)

    def test_what_it_cannot_read_is_told_by_name(self) -> None:
        strange = onnx.helper.make_graph(
            [onnx.helper.make_node("Strange", ["x"], ["y"], domain="of.mine")],
            "g",
            *([onnx.helper.make_tensor_value_info(name, 1, [1, 4])] for name in "xy"),
        )
        imports = [onnx.helper.make_opsetid(*pair) for pair in (("", 17), ("of.mine", 1))]
        network = onnx.helper.make_model(strange, opset_imports=imports).SerializeToString()
        with pytest.raises(
            ModelError, match=r"OpenVINO cannot load the model: .*of\.mine\.Strange"
        ) as caught:
            open_engine("openvino").open(network)
        assert "\n" not in str(caught.value)
        assert ".cpp" not in str(caught.value)

    def test_bytes_may_have_their_tensors_in_a_file(self, tmp_path: Path) -> None:
        wanted = open_engine("openvino").open(chain().SerializeToString()).run(FEED)[0]
        onnx.save(
            chain(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0
        )
        network = Serialized((tmp_path / "m.onnx").read_bytes(), tmp_path)
        np.testing.assert_array_equal(open_engine("openvino").open(network).run(FEED)[0], wanted)
        np.testing.assert_array_equal(open_engine("openvino").open(tmp_path / "m.onnx").run(FEED)[0], wanted)
        assert sorted(file.name for file in tmp_path.iterdir()) == ["m.data", "m.onnx"]

    def test_a_run_without_end_is_broken_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SEPFACTOR_RUN_SECONDS", "0.1")
        deep = model(
            "\n".join(
                f"{chr(97 + i)} = Conv<pads = [3,3,3,3]>({chr(96 + i) if i else 'x'}, w)" for i in range(9)
            ),
            "float[N,64,P,Q] x",
            "float[N,64,P,Q] i",
            w=normal(64, 64, 7, 7),
        )
        session = open_engine("openvino").open(deep.SerializeToString())
        begin = time.perf_counter()
        with pytest.raises(ModelError, match=r"longer than 0\.1 s"):
            session.run({"x": normal(1, 64, 768, 768)})
        assert time.perf_counter() - begin < 30

    def test_there_is_no_such_device(self) -> None:
        with pytest.raises(OptionError, match=r"There are: cpu"):
            _ = open_engine("openvino", 1, "abacus").environment


@needs_openvino
class TestTiming:
    def test_the_clock_that_is_read_sees_the_work(self) -> None:
        """With one thread the caller does all of it: no other thread of the process works meanwhile."""
        engine = open_engine("openvino")
        run = engine.call(engine.open(chain(64).SerializeToString()), [{"x": normal(1, 64, 96, 96)}])
        own, whole = worked(run)
        assert own > 0.9 * whole
        assert whole > 0

    def test_where_another_thread_works_it_would_not(self) -> None:
        """As it does for runs that are waited for, which are never timed."""
        session = open_engine("openvino").open(chain(64).SerializeToString())
        feed = {"x": normal(1, 64, 96, 96)}
        own, whole = worked(lambda _: session.run(feed))
        assert own < 0.9 * whole

    def test_several_threads_have_no_clock_of_their_own(self) -> None:
        engine = open_engine("openvino", 2)
        assert engine.clock == "wall"
        rounds = engine.time([(engine.open(chain().SerializeToString()), [FEED])], seconds=0.0)
        assert rounds.cpu is None

    def test_engines_run_in_turns(self) -> None:
        network = chain().SerializeToString()
        told: list[tuple[int, str]] = []
        two = [Contestant(name, network, open_engine(name)) for name in ("onnxruntime", "openvino")]
        rounds = race(two, [FEED], seconds=0.0, opened=lambda *words: told.append(words))
        assert told == [(0, "onnxruntime"), (1, "openvino"), (2, "")]
        assert rounds.wall.shape == (2, 9)
        assert rounds.clock == two[0].engine.clock
        assert (rounds.samples[~np.isnan(rounds.samples)] > 0).all()

    @pytest.mark.parametrize("names", [("openvino",), ("onnxruntime", "openvino")])
    def test_a_run_that_fails_is_told_of_in_words(self, names: tuple[str, ...]) -> None:
        engines = [open_engine(name) for name in names]
        feeds = [FEED, {"x": np.zeros((3, 3), np.float32)}]
        runs = [Runs(engine, engine.open(chain().SerializeToString()), feeds) for engine in engines]
        with pytest.raises(ModelError, match="cannot run the model"):
            time_sessions(runs, seconds=0.0)

    def test_only_its_own_sessions(self) -> None:
        with pytest.raises(TypeError, match="its own"):
            open_engine("openvino").call(OnnxRuntime().open(chain().SerializeToString()), [FEED])

    def test_a_read_only_array_is_no_slower_way(self) -> None:
        """OpenVINO copies what cannot be written to, each time."""
        fixed = FEED["x"].copy()
        fixed.setflags(write=False)
        engine = open_engine("openvino")
        engine.call(engine.open(chain().SerializeToString()), [{"x": fixed}])(0)
        assert not fixed.flags.writeable


def test_what_the_last_run_took_is_told_from_means() -> None:
    """OpenVINO's profile is of all runs so far: one that others disturb would be in all that follow it."""
    took = np.array([9.0, 1.0, 2.0, 50.0, 2.0])
    means = [{"a": mean} for mean in np.cumsum(took) / np.arange(1, 6)]
    found = [ov.last_run(means[n], means[n - 1], n + 1)["a"] for n in range(1, 5)]
    np.testing.assert_allclose(found, took[1:])


@needs_openvino
def test_a_profile_is_traced_back_to_the_convolutions() -> None:
    network = ir.from_proto(chain())
    nodes = open_engine("openvino").profile(with_node_names(network), FEED, runs=2)
    kinds = [node.op_type for node in nodes]
    assert kinds.count("Conv") == 4
    assert "Relu" not in kinds  # it is part of what is before it
    assert all(node.median_ms >= 0 for node in nodes)
    times = {node.name: node.median_ms for node in nodes if node.op_type == "Conv"}
    assert set(convolution_times(network, times)) == {"p", "a", "e", "y"}
    with pytest.raises(ValueError, match="at least one"):
        open_engine("openvino").profile(with_node_names(network), FEED, runs=0)


def worked(run: Callable[[int], Any]) -> tuple[float, float]:
    """Processor time of this thread, and of the whole process, while something runs a few times."""
    for number in range(3):
        run(number)
    own, whole = time.thread_time(), time.process_time()
    for number in range(20):
        run(number)
    return time.thread_time() - own, time.process_time() - whole
