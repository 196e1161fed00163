from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from sepfactor.errors import ModelError
from sepfactor.graph.instrument import with_node_names
from sepfactor.measure import NodeTime, OnnxRuntime
from sepfactor.measure.onnxruntime_session import open_inference_session, run_session
from sepfactor.measure.profile import _CLOCKS, _clock_of, _medians, _per_run, _Took, scaled_to
from sepfactor.measure.thread_work import ThreadWork, can_be_read
from tests.graph.nested import NESTED
from tests.measure.models import TWO_CONVOLUTIONS, model

FEED = {"x": np.ones((1, 16, 8, 8), np.float32)}


def event(name: str, microseconds: int, index: int = 0, begin: int = 0) -> dict[str, Any]:
    about = {"op_name": "Conv", "node_index": str(index)}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": begin, "dur": microseconds, "args": about}


RUN_ENDS = {"cat": "Session", "name": "model_run", "ts": 0, "dur": 1, "args": {}}


def test_every_node_once_in_order_and_nothing_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    nodes = OnnxRuntime().profile(TWO_CONVOLUTIONS, FEED, runs=3)
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    assert len(convolutions) == 2
    assert len({(node.name, node.node_index) for node in nodes}) == len(nodes)
    assert all(node.median_ms >= 0 for node in nodes)
    assert not any(node.name.endswith("_kernel_time") for node in nodes)
    assert list(tmp_path.iterdir()) == []


def test_nodes_without_a_name_are_told_apart() -> None:
    nodes = OnnxRuntime().profile(
        model("a = Sin(x)  y = Sin(a)", "float[4] x", "float[4] y"),
        {"x": np.ones(4, np.float32)},
        runs=1,
    )
    assert [(n.op_type, n.node_index) for n in nodes] == [("Sin", 0), ("Sin", 1)]


def test_medians_are_over_runs_and_loops_are_summed() -> None:
    events = []
    for microseconds in (10, 30, 20):
        events += [event("a", microseconds), event("b", 1, 1, 40), event("b", 2, 1, 41), RUN_ENDS]
    a, b = _medians(_per_run(events))
    assert (a.name, a.median_ms) == ("a", 0.02)
    assert (b.name, b.median_ms, b.node_index) == ("b", 0.003, 1)


def test_a_node_that_ran_in_one_run_only_counts_as_zero_in_the_others() -> None:
    events = [event("a", 10), RUN_ENDS, RUN_ENDS, RUN_ENDS]
    assert _medians(_per_run(events))[0].median_ms == 0


def own(events: list[dict[str, Any]]) -> list[dict[str, float]]:
    return [{node.name: took.time for node, took in one.items()} for one in _per_run(events)]


def test_a_holder_counts_with_what_its_nodes_leave_of_it() -> None:
    """A Loop of two turns, each an If with a convolution in it, and then a Relu."""
    turns = [
        [event("conv", 30, begin=b + 3), event("if", 40, begin=b), event("relu", 5, begin=b + 42)]
        for b in (110, 160)
    ]
    one_run = [event("before", 50, begin=55), *turns[0], *turns[1], event("loop", 120, begin=105)]
    expected = {"before": 50, "conv": 60, "if": 20, "relu": 10, "loop": 30, "after": 7}
    found = own([*one_run, event("after", 7, begin=230), RUN_ENDS] * 2)
    assert found == [expected] * 2
    assert sum(expected.values()) == 50 + 120 + 7


def test_what_ended_as_a_holder_began_is_not_inside() -> None:
    """Also where the clock did not move in between, and where both counted nothing."""
    found = own([event("a", 4, begin=1), event("b", 0, begin=5), event("loop", 9, begin=5), RUN_ENDS])
    assert found == [{"a": 4, "b": 0, "loop": 9}]


def test_no_holder_takes_less_than_nothing_and_none_reaches_into_the_run_before() -> None:
    found = own(
        [event("in", 6, begin=9), event("loop", 5, begin=9), RUN_ENDS, event("x", 4, begin=9), RUN_ENDS]
    )
    assert found == [{"in": 6, "loop": 0}, {"x": 4}]


INSIDE = {
    "loop": {"c", "dl"},
    "if in a loop": {"c", "dl"},
    "loop in a loop": {"c", "dl", "dm"},
    "then": {"c"},
}
"""Names of events in the bodies, whatever they were fused with."""


@pytest.mark.parametrize("name", INSIDE)
@pytest.mark.parametrize("threads", [1, 2])
def test_times_of_real_bodies_add_up_to_the_run(name: str, threads: int, tmp_path: Path) -> None:
    """To the microsecond, since rounding down adds up too."""
    nested = NESTED[name]
    model = with_node_names(ir.from_proto(nested.proto))
    session = open_inference_session(
        model, threads=threads, provider="cpu", profile_prefix=tmp_path / "profile"
    )
    for _ in range(3):
        run_session(session, nested.feed)
    events = json.loads(Path(session.end_profiling()).read_text())
    whole = [event["dur"] for event in events if event["name"] == "model_run"]
    first = events.index(next(event for event in events if event["name"] == "model_run"))
    holder = [e["dur"] for e in events[:first] if e["name"] == "b_kernel_time"]
    runs = own(events)
    assert [sum(times.values()) <= total for times, total in zip(runs, whole, strict=True)] == [True] * 3
    in_holder = {event for event in runs[0] if event in {"b", "r", "n", *INSIDE[name]}}
    assert INSIDE[name] <= in_holder
    assert sum(runs[0][event] for event in in_holder) == sum(holder)


def test_medians_are_over_the_runs_in_which_the_work_is_known() -> None:
    """Two in three runs are in doubt by as much as they say; where all are, those in less doubt count."""

    def found(*doubts: float) -> float:
        def took(run: int, _begin: float, duration: float) -> _Took:
            return _Took(duration, doubts[run])

        events = [one for us in (100, 500, 900) for one in (event("a", us), RUN_ENDS)]
        return 1e3 * _medians(_per_run(events, took))[0].median_ms

    assert found(0, 0, 0) == found(5, 50, 90) == 500
    assert found(5, 400, 800) == 100
    assert found(90, 400, 300) == 100


def test_a_holder_is_in_doubt_by_what_its_nodes_are() -> None:
    events = [event("in", 6, begin=9), event("loop", 20, begin=5), RUN_ENDS]
    (times,) = _per_run(events, lambda _run, _begin, duration: _Took(duration / 2, duration / 10))
    assert {node.name: took for node, took in times.items()} == {
        "in": _Took(3, 0.6),
        "loop": _Took(7, pytest.approx(2.6)),
    }


def test_a_clock_that_is_not_onnxruntimes_is_none() -> None:
    opening = [clock() for clock in _CLOCKS]
    assert [_clock_of(clock(), opening) for clock in _CLOCKS] == [*_CLOCKS]
    assert _clock_of(opening[0] - 1, opening) is None


@pytest.mark.skipif(not can_be_read(), reason="no thread's clock can be read by another")
def test_nodes_take_what_their_thread_worked_where_it_works_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ThreadWork, "between", lambda *_: (6e3, 8e3))
    assert {node.median_ms for node in OnnxRuntime().profile(TWO_CONVOLUTIONS, FEED, runs=3)} == {7e-3}
    several = OnnxRuntime(threads=2).profile(TWO_CONVOLUTIONS, FEED, runs=3)
    assert {node.median_ms for node in several} != {7e-3}


def test_bad_requests() -> None:
    with pytest.raises(ModelError):
        OnnxRuntime().profile(b"junk", FEED)
    with pytest.raises(ModelError):
        OnnxRuntime().profile(TWO_CONVOLUTIONS, {})
    with pytest.raises(ValueError, match="at least one"):
        OnnxRuntime().profile(TWO_CONVOLUTIONS, FEED, runs=0)


def test_scaled_to_a_run_that_was_not_profiled_they_keep_their_shares() -> None:
    nodes = [NodeTime("a", "Conv", 0, 3.0), NodeTime("b", "Relu", 1, 1.0)]
    assert [node.median_ms for node in scaled_to(nodes, 8.0)] == [6.0, 2.0]
    assert scaled_to(nodes, None) == nodes
    nothing = [NodeTime("a", "Conv", 0, 0.0)]
    assert scaled_to(nothing, 8.0) == nothing
