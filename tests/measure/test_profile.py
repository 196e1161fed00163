from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from sepfactor.errors import ModelError
from sepfactor.measure import Runtime, profile_nodes
from sepfactor.measure.profile import _medians, _per_run
from tests.measure.models import TWO_CONVOLUTIONS, model

FEED = {"x": np.ones((1, 16, 8, 8), np.float32)}


def event(name: str, microseconds: int, index: int = 0) -> dict[str, object]:
    about = {"op_name": "Conv", "node_index": str(index)}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": microseconds, "args": about}


RUN_ENDS = {"cat": "Session", "name": "model_run", "dur": 1, "args": {}}


def test_every_node_once_in_order_and_nothing_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    nodes = profile_nodes(TWO_CONVOLUTIONS, FEED, Runtime(), runs=3)
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    assert len(convolutions) == 2
    assert len({(node.name, node.node_index) for node in nodes}) == len(nodes)
    assert all(node.median_ms >= 0 for node in nodes)
    assert not any(node.name.endswith("_kernel_time") for node in nodes)
    assert list(tmp_path.iterdir()) == []


def test_nodes_without_a_name_are_told_apart() -> None:
    nodes = profile_nodes(
        model("a = Sin(x)  y = Sin(a)", "float[4] x", "float[4] y"),
        {"x": np.ones(4, np.float32)},
        Runtime(),
        runs=1,
    )
    assert [(n.op_type, n.node_index) for n in nodes] == [("Sin", 0), ("Sin", 1)]


def test_medians_are_over_runs_and_loops_are_summed() -> None:
    events = []
    for microseconds in (10, 30, 20):
        events += [event("a", microseconds), event("b", 1, 1), event("b", 2, 1), RUN_ENDS]
    a, b = _medians(_per_run(events))
    assert (a.name, a.median_ms) == ("a", 0.02)
    assert (b.name, b.median_ms, b.node_index) == ("b", 0.003, 1)


def test_a_node_that_ran_in_one_run_only_counts_as_zero_in_the_others() -> None:
    events = [event("a", 10), RUN_ENDS, RUN_ENDS, RUN_ENDS]
    assert _medians(_per_run(events))[0].median_ms == 0


def test_bad_requests() -> None:
    with pytest.raises(ModelError):
        profile_nodes(b"junk", FEED, Runtime())
    with pytest.raises(ModelError):
        profile_nodes(TWO_CONVOLUTIONS, {}, Runtime())
    with pytest.raises(ValueError, match="at least one"):
        profile_nodes(TWO_CONVOLUTIONS, FEED, Runtime(), runs=0)
