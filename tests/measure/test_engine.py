"""What any engine must do, asked of each that is registered; and what is done with any of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sepfactor.errors import ModelError, OptionError
from sepfactor.graph.instrument import with_node_names
from sepfactor.measure import Engine, OnnxRuntime, open_and_time, open_engine
from sepfactor.measure.engines import INPUTS, open_every_engine
from sepfactor.measure.rounds import Rounds
from sepfactor.measure.timing import has_fine_thread_clock
from sepfactor.study.profiling import profile_layers, time_networks
from tests.engines import DecidedEngine, macs
from tests.measure.models import TWO_CONVOLUTIONS, model

FEED = {"x": np.ones((1, 16, 8, 8), np.float32)}
SUMS = model(
    "sum = Add(x, image) map = Relu(x)",
    "float[N,2,H,W] x, float[N,2,H,W] image",
    "float[N,2,H,W] map, float[N,2,H,W] sum",
)
RELU = model("y = Relu(x)", "float[1,16,8,8] x", "float[1,16,8,8] y")


def engines() -> list[Any]:
    return [*open_every_engine()[0], DecidedEngine()]


@pytest.mark.parametrize("engine", engines(), ids=lambda e: type(e).__name__)
class TestEveryEngine:
    def test_it_says_how_it_runs(self, engine: Engine) -> None:
        assert (engine.threads, engine.provider) == (1, "cpu")
        about = engine.environment
        assert about.threads == 1
        assert 0 <= about.taken <= 1

    def test_it_runs_a_file_and_bytes(self, engine: Engine, tmp_path: Path) -> None:
        (tmp_path / "m.onnx").write_bytes(SUMS)
        feed = {"x": np.ones((1, 2, 3, 3), np.float32), "image": np.full((1, 2, 3, 3), -4, np.float32)}
        for source in (SUMS, tmp_path / "m.onnx"):
            session = engine.open(source)
            assert [i.name for i in session.get_inputs()] == ["x", "image"]
            assert [o.name for o in session.get_outputs()] == ["map", "sum"]
            found, total = session.run(feed)
            np.testing.assert_array_equal(found, np.maximum(feed["x"], 0))
            np.testing.assert_array_equal(total, feed["x"] + feed["image"])

    def test_it_says_what_it_cannot_run(self, engine: Engine) -> None:
        with pytest.raises(ModelError):
            engine.open(b"junk")
        with pytest.raises(ModelError):
            engine.open(RELU).run({})

    def test_rounds_hold_every_session(self, engine: Engine) -> None:
        runs = [(engine.open(source), [FEED]) for source in (TWO_CONVOLUTIONS, RELU)]
        told: list[float] = []
        rounds = engine.time(runs, seconds=0.0, min_rounds=9, watch=told.append)
        assert rounds.wall.shape == (2, 9)
        assert (rounds.wall > 0).all()
        assert rounds.median_ms(0) == rounds.timing(0).median_ms

    def test_a_profile_names_every_convolution(self, engine: Engine) -> None:
        nodes = engine.profile(with_node_names(network(TWO_CONVOLUTIONS)), FEED, runs=1)
        assert [node.op_type for node in nodes].count("Conv") == 2
        layers = profile_layers(network(TWO_CONVOLUTIONS), FEED, engine, 1, whole_ms=8.0)
        assert sum(layers.operators.values()) == pytest.approx(8.0)
        assert set(layers.convolutions) == {"a", "y"}


def network(source: bytes) -> ir.Model:
    return ir.from_proto(onnx.load_from_string(source))


def test_an_engine_is_opened_by_name() -> None:
    assert open_engine("onnxruntime", 2) == OnnxRuntime(2, "cpu")
    with pytest.raises(OptionError, match="onnxruntime"):
        open_engine("nonesuch")
    with pytest.raises(OptionError, match="threads"):
        open_engine("onnxruntime", -1)


def test_one_thread_is_timed_by_its_own_clock_and_several_by_the_wall() -> None:
    assert OnnxRuntime(1).clock == ("cpu" if has_fine_thread_clock() else "wall")
    assert OnnxRuntime(2).clock == OnnxRuntime(0).clock == "wall"
    session = OnnxRuntime(2).open(RELU)
    assert OnnxRuntime(2).time([(session, [FEED])], seconds=0.0).cpu is None


def test_an_error_names_the_network() -> None:
    for first, second, feed, named in ((RELU, b"junk", FEED, "two"), (RELU, RELU, {}, "one")):
        with pytest.raises(ModelError, match=f"^{named}: "):
            open_and_time(OnnxRuntime(), [("one", first), ("two", second)], [feed], seconds=0.0)


def test_whoever_opens_them_is_told() -> None:
    told: list[tuple[int, str]] = []
    networks = [("one", RELU), ("one", TWO_CONVOLUTIONS)]
    rounds = open_and_time(DecidedEngine(), networks, [FEED], opened=lambda *words: told.append(words))
    assert told == [(0, "one"), (1, "one"), (2, "")]
    assert len(rounds.wall) == 2


def test_decided_times_are_what_everything_is_made_of() -> None:
    """Two convolutions of 16 × 16 × 3 × 3 on 8 × 8, a Relu, and two nodes for the weights."""
    engine = DecidedEngine(lambda node, shapes: 1e-6 * macs(node, shapes))
    each = 1e-6 * 64 * 16 * 16 * 9
    speed = time_networks(
        {"original": TWO_CONVOLUTIONS, "result": one_convolution()}, [FEED], engine, seconds=0.0, seed=0
    )
    assert speed.original.median_ms == pytest.approx(2 * each)
    assert speed.ratio == pytest.approx(2.0)
    assert speed.low == speed.high == pytest.approx(2.0)
    layers = profile_layers(network(TWO_CONVOLUTIONS), FEED, engine)
    assert layers.convolutions == pytest.approx({"a": each, "y": each})


def one_convolution() -> bytes:
    return model(
        """shape1 = Constant<value = int64[4] {16,16,3,3}>()
           one = Constant<value = float[1] {0.01}>()
           w = Expand(one, shape1)
           y = Conv<pads = [1,1,1,1]>(x, w)""",
        "float[1,16,8,8] x",
        "float[1,16,8,8] y",
    )


@pytest.mark.parametrize("openings", [1, 3])
def test_networks_are_opened_anew_and_the_rounds_put_together(openings: int) -> None:
    opened: list[bytes] = []

    class Counting(DecidedEngine):
        def open(self, model: Any, **settings: Any) -> Any:
            opened.append(model)
            return super().open(model, **settings)

    told: list[float] = []
    networks = [("one", TWO_CONVOLUTIONS), ("two", RELU)]
    engine = Counting()
    for source in (TWO_CONVOLUTIONS, RELU):
        engine.profile(source, FEED)  # to know what they cost opens them as well
    opened.clear()
    rounds = open_and_time(engine, networks, [FEED], seconds=1e3, openings=openings, watch=told.append)
    assert opened == [TWO_CONVOLUTIONS, RELU] * openings
    assert rounds.openings is not None
    assert sorted(set(rounds.openings)) == list(range(openings))


def test_where_opening_takes_longer_than_the_timing_it_is_done_once() -> None:
    rounds = open_and_time(DecidedEngine(), [("one", RELU)], [FEED], seconds=0.0)
    assert rounds.openings is not None
    assert set(rounds.openings) == {0}
    with pytest.raises(ValueError, match="at least once"):
        open_and_time(DecidedEngine(), [("one", RELU)], [FEED], openings=0)


def test_networks_are_timed_on_several_inputs_of_one_shape_in_turns() -> None:
    asked: list[list[float]] = []

    class Asked(DecidedEngine):
        def time(self, runs: Any, **settings: Any) -> Rounds:
            asked.extend([float(feed["x"].flat[0]) for feed in feeds] for _, feeds in runs)
            return super().time(runs, **settings)

    other = {"x": np.full((2, 16, 8, 8), 99, np.float32)}
    feeds = [{"x": np.full((1, 16, 8, 8), k, np.float32)} for k in range(4 * INPUTS)]
    feeds[4] = other  # is left out
    networks = [("one", RELU), ("two", RELU)]
    rounds = open_and_time(Asked(), networks, feeds, seconds=1e3, openings=2)
    wanted = [k for k in range(0, 4 * INPUTS, 4) if k != 4]
    done = rounds.wall.shape[1] // 2
    assert asked[0] == asked[1] == wanted
    assert asked[2] == asked[3] == [*wanted[done:], *wanted[:done]]  # goes on where the first opening ended
    assert rounds.inputs is not None
    assert [*rounds.inputs] == [k % len(wanted) for k in range(2 * done)]


def test_an_input_that_cannot_be_run_is_said_in_words() -> None:
    picks = model("y = Gather (x, i)", "float[4] x, int64[1] i", "float[1] y")
    feeds = [{"x": np.ones(4, np.float32), "i": np.array([number])} for number in (1, 2, 99)]
    open_and_time(OnnxRuntime(), [("one", picks)], feeds[:2], seconds=0.0)
    with pytest.raises(ModelError, match="cannot run the model"):
        open_and_time(OnnxRuntime(), [("one", picks)], feeds, seconds=0.0)
