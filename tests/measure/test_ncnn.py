"""ncnn as an engine: what it can do beside what every engine must (``test_engine.py``)."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sepfactor.errors import ModelError, OptionError
from sepfactor.graph.instrument import convolution_times, product_times, with_node_names
from sepfactor.measure import OnnxRuntime, ncnn_convert, open_engine
from sepfactor.measure.engines import Contestant, open_every_engine, race
from sepfactor.measure.ncnn_convert import converted, pnnx_program, takes
from sepfactor.measure.ncnn_writer import Unwritable, written
from sepfactor.serialized import Serialized
from tests.graph.build import model, normal
from tests.measure.models import scaled

needs_ncnn = pytest.mark.skipif(find_spec("ncnn") is None, reason="ncnn is not installed")
needs_pnnx = pytest.mark.skipif(find_spec("pnnx") is None, reason="pnnx is not installed")

FEED = {"x": normal(1, 8, 16, 12)}
MAP = "float[1,8,16,12] x"
SAME = "float[1,8,16,12] y"

CONV: dict[str, np.ndarray] = {"w": 0.1 * normal(8, 8, 3, 3), "b": normal(8)}
TURNED: dict[str, np.ndarray] = {"w": 0.1 * normal(8, 5, 4, 4), "b": normal(5)}

WRITTEN: Mapping[str, onnx.ModelProto] = {
    "conv": model("y = Conv<pads = [1,1,1,1]>(x, w, b)", MAP, SAME, **CONV),
    "pair": model(
        "a = Conv<pads = [1,0,1,0]>(x, w) y = Conv<pads = [0,1,0,1]>(a, v, b)",
        MAP,
        SAME,
        w=normal(5, 8, 3, 1),
        v=normal(8, 5, 1, 3),
        b=normal(8),
    ),
    "branches": model(
        "a = Conv<pads = [1,0,1,0]>(x, w) c = Conv<pads = [0,1,0,1]>(x, v) d = Add(a, c) y = Relu(d)",
        MAP,
        SAME,
        w=normal(8, 8, 3, 1),
        v=normal(8, 8, 1, 3),
    ),
    "residual": model(
        "a = Conv<pads = [1,1,1,1]>(x, w, b) c = Relu(a) d = Conv<pads = [1,1,1,1]>(c, w, b) y = Add(d, c)",
        MAP,
        SAME,
        **CONV,
    ),
    "uneven": model("y = Conv<pads = [1,0,1,2]>(x, w, b)", MAP, SAME, **CONV),
    "strided": model(
        "y = Conv<pads = [1,2,1,2], strides = [2,1], dilations = [1,2]>(x, w)",
        MAP,
        "float[1,8,8,12] y",
        **CONV,
    ),
    "grouped": model("y = Conv<pads = [1,1,1,1], group = 2>(x, w)", MAP, SAME, w=0.1 * normal(8, 4, 3, 3)),
    "depthwise": model("y = Conv<pads = [1,1,1,1], group = 8>(x, w)", MAP, SAME, w=normal(8, 1, 3, 3)),
    "leaky": model("a = Conv<pads = [1,1,1,1]>(x, w, b) y = LeakyRelu<alpha = 0.1>(a)", MAP, SAME, **CONV),
    "valid": model('y = Conv<auto_pad = "VALID">(x, w)', MAP, "float[1,8,14,10] y", **CONV),
    "transposed": model(
        "y = ConvTranspose<pads = [1,1,1,1], strides = [2,2]>(x, w, b)", MAP, "float[1,5,32,24] y", **TURNED
    ),
    "transposed, grouped": model(
        "y = ConvTranspose<pads = [1,0,1,0], strides = [2,1], output_padding = [1,0], group = 4>(x, w)",
        MAP,
        "float[1,20,33,15] y",
        w=normal(8, 5, 4, 4),
    ),
}
"""Networks that are written without pnnx."""

BEHIND: Mapping[str, tuple[str, dict[str, np.ndarray]]] = {
    "shuffled": ("y = DepthToSpace<blocksize = 2>(a)", {}),
    "shuffled, columns first": ('y = DepthToSpace<blocksize = 2, mode = "CRD">(a)', {}),
    "joined": ("c = Relu(a) y = Concat<axis = 1>(a, c)", {}),
    "pooled": ("y = MaxPool<kernel_shape = [3,3], strides = [2,2], ceil_mode = 1>(a)", {}),
    "averaged": ("y = AveragePool<kernel_shape = [2,2], strides = [2,2]>(a)", {}),
    "averaged, more at the ends": (
        "y = AveragePool<kernel_shape = [3,5], strides = [3,5], pads = [0,0,2,3]>(a)",
        {},
    ),
    "larger": (
        'y = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'
        "(a, , s)",
        {"s": np.array([1, 1, 2, 2], np.float32)},
    ),
    "PRelu": ("y = PRelu(a, s)", {"s": np.abs(normal(8, 1, 1))}),
    "normalised": ("y = BatchNormalization(a, v, b, b, v)", {"v": 0.5 + np.abs(normal(8))}),
    "weighed": ("c = GlobalAveragePool(a) d = Sigmoid(c) y = Mul(a, d)", {}),
    "classes": (
        "c = GlobalAveragePool(a) d = Flatten(c) e = Gemm<transB = 1>(d, v, u) y = Softmax(e)",
        {"v": normal(10, 8), "u": normal(10)},
    ),
    "classes of maps": ("c = GlobalAveragePool(a) y = Softmax<axis = 1>(c)", {}),
}
"""What pnnx converts behind a convolution."""


def behind(name: str) -> onnx.ModelProto:
    body, tensors = BEHIND[name]
    return model(f"a = Conv<pads = [1,1,1,1]>(x, w, b) {body}", MAP, "float[] y", **CONV | tensors)


def error(wanted: np.ndarray, found: np.ndarray) -> float:
    assert wanted.shape == found.shape
    return float(np.linalg.norm(wanted - found) / np.linalg.norm(wanted))


def in_both(network: bytes | Path, feed: Mapping[str, np.ndarray]) -> float:
    """How far ncnn's answer is from onnxruntime's."""
    wanted, found = (open_engine(name).open(network).run(feed)[0] for name in ("onnxruntime", "ncnn"))
    return error(wanted, found)


def layers(param: str) -> list[tuple[Any, ...]]:
    """Kind, number of blobs and what it is told, of every layer: names of layers and blobs are free.

    Upper padding that is that of the left may be said or not.
    """
    alike = re.compile(r"(?<= )4=(\d+)( .*)? 14=\1\b|(?<= )14=(\d+)( .*)? 4=\3\b")
    lines = [alike.sub(r"4=\1\3\2\4", line).split() for line in param.splitlines()[2:]]
    return [(words[0], words[2], words[3], sorted(word for word in words if "=" in word)) for words in lines]


def test_nobody_needs_it_who_does_not_ask() -> None:
    loaded = "import sys, sepfactor.measure; print(not {'ncnn', 'pnnx'}.isdisjoint(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_where_it_is_missing_a_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    for asked in (lambda e: e.environment, lambda e: e.open(WRITTEN["conv"].SerializeToString())):
        with pytest.raises(OptionError, match="pip install ncnn pnnx"):
            asked(open_engine("ncnn"))
    assert any("pip install ncnn pnnx" in said for said in open_every_engine()[1])


def test_where_the_converter_is_missing_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ncnn_convert, "find_spec", lambda name: None)
    monkeypatch.setattr(ncnn_convert.shutil, "which", lambda name: None)
    with pytest.raises(OptionError, match="pip install --no-deps pnnx"):
        converted(behind("joined"), {"x": (1, 8, 16, 12)})


def test_what_protobuf_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ncnn_convert, "_MOST_BYTES", 100)
    with pytest.raises(ModelError, match="more than 2 GB"):
        converted(behind("joined"), {"x": (1, 8, 16, 12)})


def test_nothing_else_is_written_without_the_converter() -> None:
    negative = model("y = Conv<pads = [-1,0,0,0]>(x, w)", MAP, "float[] y", **CONV)
    computed = model("v = Relu(w) y = Conv(x, v)", MAP, "float[] y", **CONV)
    constant = model("y = Add(x, b)", MAP, "float[] y", b=normal(8, 1, 1))
    for network in (*map(behind, BEHIND), negative, computed, constant):
        with pytest.raises(Unwritable):
            written(network.graph)


@needs_pnnx
@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_directly_is_what_the_converter_makes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = WRITTEN[name]
    direct = written(network.graph)

    def refuse(graph: Any) -> Any:
        raise Unwritable("on purpose")

    monkeypatch.setattr(ncnn_convert, "written", refuse)
    made = converted(network, {port.name: tuple(port.shape) for port in takes(network.graph)})
    assert layers(direct.param) == layers(made.param)
    assert len(direct.weights) == len(made.weights)
    assert np.mean(np.frombuffer(direct.weights, "u1") == np.frombuffer(made.weights, "u1")) > 0.98
    own = [origin for origin in direct.origins.values() if "Conv" in origin[1]]
    assert sorted(own) == sorted(made.origins.values())


@needs_ncnn
class TestRunning:
    @pytest.mark.parametrize("name", WRITTEN)
    def test_it_computes_what_onnxruntime_does(self, name: str) -> None:
        assert in_both(WRITTEN[name].SerializeToString(), FEED) < 2e-3

    @needs_pnnx
    @pytest.mark.parametrize("name", BEHIND)
    def test_so_it_does_what_is_converted(self, name: str) -> None:
        assert in_both(behind(name).SerializeToString(), FEED) < 2e-3

    def test_a_batch_runs_one_by_one_in_any_size(self) -> None:
        free = model("y = Conv<pads = [1,1,1,1]>(x, w, b)", "float[N,8,P,Q] x", "float[N,8,P,Q] y", **CONV)
        fixed = model("y = Conv<pads = [1,1,1,1]>(x, w)", "float[3,8,9,7] x", "float[3,8,9,7] y", **CONV)
        for network, shape in ((free, (2, 8, 16, 12)), (free, (1, 8, 5, 6)), (fixed, (3, 8, 9, 7))):
            assert in_both(network.SerializeToString(), {"x": normal(*shape)}) < 2e-3

    @needs_pnnx
    def test_a_batch_that_was_fixed_runs_one_by_one_too(self) -> None:
        body = "a = Conv<pads = [1,1,1,1]>(x, w, b) y = MaxPool<kernel_shape = [2,2], strides = [2,2]>(a)"
        network = model(body, "float[3,8,16,12] x", "float[3,8,8,6] y", **CONV)
        assert in_both(network.SerializeToString(), {"x": normal(3, 8, 16, 12)}) < 2e-3

    def test_what_is_fed_stays_as_it_is(self) -> None:
        """A Relu that ncnn computes in place."""
        feed = {"x": FEED["x"].copy()}
        session = open_engine("ncnn").open(model("y = Relu(x)", MAP, SAME).SerializeToString())
        for _ in range(2):
            np.testing.assert_array_equal(session.run(feed)[0], np.maximum(FEED["x"], 0))
        open_engine("ncnn").call(session, [feed])(0)
        np.testing.assert_array_equal(feed["x"], FEED["x"])

    @pytest.mark.parametrize(
        ("feed", "said"),
        [
            ({}, "not fed x"),
            (FEED | {"z": FEED["x"]}, "no input z"),
            ({"x": FEED["x"][0]}, "incompatible"),
            ({"x": normal(1, 31, 16, 12)}, "incompatible"),
            ({"x": FEED["x"].astype(np.float64)}, "not float32"),
            ({"x": np.float32(1)}, "axes"),
            ({"x": FEED["x"][:0]}, "first axis"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, feed: dict[str, np.ndarray], said: str) -> None:
        free = model("y = Conv(x, w)", "float[N,8,P,Q] x", "float[N,8,P,Q] y", **CONV)
        session = open_engine("ncnn").open(free.SerializeToString())
        feed = {name: np.asarray(array) for name, array in feed.items()}
        for run in (session.run, lambda fed: open_engine("ncnn").call(session, [fed])):
            with pytest.raises(ModelError, match=f"ncnn cannot run the model: .*{said}") as caught:
                run(feed)
            assert "It takes x: tensor(float) (N, 8, P, Q)" in str(caught.value)

    def test_only_float32_goes_in_and_out(self) -> None:
        with pytest.raises(ModelError, match=r"float32 only, and best is tensor\(int64\)"):
            open_engine("ncnn").open(scaled(2.0))

    @needs_pnnx
    def test_an_operator_that_it_does_not_have_is_named(self) -> None:
        network = model("a = Conv(x, w) y = Det(a)", "float[1,8,5,5] x", "float[1,8] y", **CONV)
        with pytest.raises(ModelError, match=r"no layer for (\w+\.)?Det") as caught:
            open_engine("ncnn").open(network.SerializeToString())
        assert "\n" not in str(caught.value)

    @needs_pnnx
    def test_what_the_converter_gets_wrong_is_not_run(self) -> None:
        """Without a convolution pnnx does not see which axis is that of samples."""
        network = model("a = Relu(x) y = Concat<axis = 1>(a, x)", MAP, "float[1,16,16,12] y")
        session = open_engine("ncnn").open(network.SerializeToString())
        with pytest.raises(ModelError, match="pnnx converts it into another network, whose y is off by"):
            session.run(FEED)

    def test_bytes_may_have_their_tensors_in_a_file(self, tmp_path: Path) -> None:
        network = WRITTEN["conv"]
        wanted = open_engine("ncnn").open(network.SerializeToString()).run(FEED)[0]
        saved = onnx.ModelProto()
        saved.CopyFrom(network)
        onnx.save(saved, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
        of_bytes = Serialized((tmp_path / "m.onnx").read_bytes(), tmp_path)
        for source in (of_bytes, tmp_path / "m.onnx"):
            np.testing.assert_array_equal(open_engine("ncnn").open(source).run(FEED)[0], wanted)

    def test_weights_that_float16_cannot_hold_stay_in_float32(self) -> None:
        network = model("y = Conv(x, w)", MAP, "float[1,8,14,10] y", w=1e6 * CONV["w"])
        assert in_both(network.SerializeToString(), FEED) < 2e-3

    def test_there_is_no_other_device(self) -> None:
        with pytest.raises(OptionError, match="on the cpu only"):
            _ = open_engine("ncnn", 1, "abacus").environment


@needs_ncnn
class TestTiming:
    def test_the_clock_that_is_read_sees_the_work(self) -> None:
        """With one thread the caller does all of it."""
        wide = model(
            "y = Conv<pads = [3,3,3,3]>(x, w)", "float[1,64,96,96] x", "float[] y", w=normal(64, 64, 7, 7)
        )
        engine = open_engine("ncnn")
        run = engine.call(engine.open(wide.SerializeToString()), [{"x": normal(1, 64, 96, 96)}])
        run(0)
        own, whole = time.thread_time(), time.process_time()
        for number in range(5):
            run(number)
        own, whole = time.thread_time() - own, time.process_time() - whole
        assert own > 0.9 * whole > 0

    def test_several_threads_have_no_clock_of_their_own(self) -> None:
        engine = open_engine("ncnn", 2)
        assert engine.clock == "wall"
        session = engine.open(WRITTEN["conv"].SerializeToString())
        assert engine.time([(session, [FEED])], seconds=0.0).cpu is None

    def test_engines_run_in_turns(self) -> None:
        network = WRITTEN["conv"].SerializeToString()
        two = [Contestant(name, network, open_engine(name)) for name in ("onnxruntime", "ncnn")]
        rounds = race(two, [FEED], seconds=0.0)
        assert rounds.wall.shape == (2, 9)
        assert rounds.clock == two[0].engine.clock

    def test_only_its_own_sessions(self) -> None:
        with pytest.raises(TypeError, match="its own"):
            open_engine("ncnn").call(OnnxRuntime().open(WRITTEN["conv"].SerializeToString()), [FEED])


@needs_ncnn
@needs_pnnx
def test_a_profile_is_traced_back_to_the_nodes() -> None:
    """What pnnx makes goes by other names, and takes in activations and normalisations."""
    network = ir.from_proto(
        model(
            """a = Conv<pads = [1,1,1,1]>(x, w, b)
               n = BatchNormalization(a, s, b, b, s)
               r = Relu(n)
               c = Conv<pads = [1,1,1,1]>(r, w)
               d = Add(c, r)
               e = Conv(d, v)
               g = GlobalAveragePool(e)
               f = Flatten(g)
               y = Gemm<transB = 1>(f, u)""",
            MAP,
            "float[1,7] y",
            s=0.5 + np.abs(normal(8)),
            v=normal(5, 8, 1, 1),
            u=normal(7, 5),
            **CONV,
        )
    )
    nodes = open_engine("ncnn").profile(with_node_names(network), FEED, runs=2)
    times = {node.name: node.median_ms for node in nodes if node.op_type == "Conv"}
    assert set(convolution_times(network, times)) == {"a", "c", "e"}
    assert set(product_times(network, {node.name: node.median_ms for node in nodes})) == {"y"}
    assert all(node.median_ms >= 0 for node in nodes)
    with pytest.raises(ValueError, match="at least one"):
        open_engine("ncnn").profile(with_node_names(network), FEED, runs=0)


@needs_pnnx
def test_the_converter_is_found_without_its_package_being_imported() -> None:
    assert pnnx_program().is_file()
    assert "pnnx" not in sys.modules
