"""State is carried over from run to run, so that errors go on as they do in use."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from sepfactor.measure.engine import Feed
from sepfactor.measure.engines import open_engine
from sepfactor.measure.quality import Judge
from sepfactor.measure.state import states_of
from sepfactor.memory import Pool
from tests.networks import network

NAMES = [("state", "stateN"), ("h0", "hn"), ("hidden_in", "hidden_out"), ("cache", "new_cache")]


def recurrent(gain: float, into: str = "state", out: str = "stateN") -> bytes:
    """``out = gain · state + mean(image)``, and the image moved by it."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", [into, "gain"], ["kept"]),
        helper.make_node("Add", ["kept", "mean"], [out]),
        helper.make_node("Add", ["image", out], ["y"]),
    ]
    weights = {"gain": np.float32(gain)}
    shapes = {"image": (1, 3, 8, 8), into: (1, 1, 1, 1)}
    results = {"y": (1, 3, 8, 8), out: (1, 1, 1, 1)}
    return network(nodes, weights, shapes, results).SerializeToString()


def feeds(count: int = 8, into: str = "state") -> list[Feed]:
    rng = np.random.default_rng(0)
    start = np.zeros((1, 1, 1, 1), np.float32)
    return [{"image": rng.random((1, 3, 8, 8), np.float32), into: start} for _ in range(count)]


@pytest.mark.parametrize(("into", "out"), NAMES)
def test_names_tell_what_is_state(into: str, out: str) -> None:
    session = open_engine(threads=1).open(recurrent(0.9, into, out))
    states, answers = states_of(session, feeds(into=into), Pool())
    assert states is not None
    assert states.pairs == {into: out}
    assert states.goes_on == (False,) + (True,) * 7
    expected = 0.0
    for feed, state in zip(feeds(into=into), answers[1], strict=True):
        expected = 0.9 * expected + float(feed["image"].mean())
        assert float(state.item()) == pytest.approx(expected, rel=1e-4)


def test_errors_of_the_state_go_on() -> None:
    engine = open_engine(threads=1)
    judge = Judge(engine.open(recurrent(0.9)), feeds(24))
    assert any("'state'" in note and "carried over" in note for note in judge.notes)
    alone = [{**feed, "state": np.full((1, 1, 1, 1), k, np.float32)} for k, feed in enumerate(feeds(24))]
    apart = Judge(engine.open(recurrent(0.9)), alone)
    assert not apart.notes
    candidate = engine.open(recurrent(0.89))
    assert judge(engine.open(recurrent(0.9))).result == np.inf
    assert judge(candidate).result < 30


def test_states_that_follow_from_one_another_are_one_sequence() -> None:
    session = open_engine(threads=1).open(recurrent(0.9))
    given = feeds(6)
    for k in range(1, 6):
        if k != 3:
            given[k] = {**given[k], "state": session.run(given[k - 1])[1]}
    given[3] = {**given[3], "state": np.full((1, 1, 1, 1), 7, np.float32)}
    given[4] = {**given[4], "state": session.run(given[3])[1]}
    given[5] = {**given[5], "state": session.run(given[4])[1]}
    states, _ = states_of(session, given, Pool())
    assert states is not None
    assert states.goes_on == (False, True, True, False, True, True)


def test_inputs_of_other_names_are_no_state() -> None:
    session = open_engine(threads=1).open(recurrent(0.9, "noise", "level"))
    states, answers = states_of(session, feeds(into="noise"), Pool())
    assert states is None
    assert len(answers[0]) == 8
