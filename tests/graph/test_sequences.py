"""Networks with lists of tensors in them: cut anywhere they compute the same, and their types stay theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sepfactor.graph.prepare import prepare
from sepfactor.graph.sequences import non_tensors
from sepfactor.graph.walk import Cutter
from tests.graph.build import assert_same, check, model, normal, run
from tests.robustness.way import assert_near, attempt, pretend_faster

X, Y = "float[N,4,9,8] x", "float[N,C,P,Q] y"
FEED = {"x": normal(2, 4, 9, 8)}
WEIGHTS = {"w": normal(4, 4, 3, 3) / 6, "u": normal(4, 4, 3, 3, seed=1) / 6}
SAME = "Conv<pads = [1,1,1,1]>"

LISTS = {
    "a list across a convolution": (
        f"s = SequenceConstruct(x, x)  a = {SAME}(x, w)  b = SequenceAt(s, zero)  y = Add(a, b)",
        {"s"},
    ),
    "a list that grows": (
        f"""s = SequenceConstruct(x)  a = {SAME}(x, w)  t = SequenceInsert(s, a)  b = {SAME}(a, u)
            v = SequenceInsert(t, b)  y = ConcatFromSequence<axis = 1>(v)""",
        {"s", "t", "v"},
    ),
    "a list read twice, once through a copy": (
        f"""s = SplitToSequence<axis = 1>(x, two)  a = {SAME}(x, w)  i = Identity(s)  p = SequenceAt(s, zero)
            b = {SAME}(a, u)  q = SequenceAt(i, one)  j = Concat<axis = 1>(p, q)  y = Add(b, j)""",
        {"s", "i"},
    ),
    "an empty one": (
        f"""s = SequenceEmpty<dtype = 1>()  a = {SAME}(x, w)  t = SequenceInsert(s, a)
            b = SequenceAt(t, zero)  y = {SAME}(b, u)""",
        {"s", "t"},
    ),
    "one that a branch makes": (
        f"""m = ReduceMean<keepdims = 0>(x)  q = Greater(m, half)
            s = If(q) <then_branch = t () => (seq(float[N,4,9,8]) f) {{ f = SequenceConstruct(x) }},
                       else_branch = e () => (seq(float[N,4,9,8]) g) {{
                         k = Relu(x)  g = SequenceConstruct(k) }}>
            a = {SAME}(x, w)  b = SequenceAt(s, zero)  y = Add(a, b)""",
        {"s"},
    ),
    "none": (f"i = Identity(x)  a = {SAME}(i, w)  y = Relu(a)", set()),
}
every_list = pytest.mark.parametrize(("body", "lists"), LISTS.values(), ids=LISTS.keys())


def network(body: str) -> onnx.ModelProto:
    numbers = {"zero": np.array(0), "one": np.array(1), "two": np.array(2), "half": np.float32(0.5)}
    used = {name: array for name, array in (numbers | WEIGHTS).items() if name in body}
    return model(body, X, Y, **used)


@every_list
def test_they_are_known(body: str, lists: set[str]) -> None:
    assert non_tensors(network(body).graph.node) == lists


@every_list
def test_preparing_changes_no_type(body: str, lists: set[str]) -> None:
    proto = network(body)
    prepared = ir.to_proto(prepare(ir.from_proto(proto)))
    check(prepared)
    assert_same(run(prepared, FEED), run(proto, FEED))
    assert lists.isdisjoint(value.name for value in prepared.graph.value_info)


@every_list
def test_cut_after_every_node_it_computes_the_same(body: str, lists: set[str]) -> None:
    proto = network(body)
    cutter = Cutter(prepare(ir.from_proto(proto)))
    state, count = dict(FEED), len(cutter.stretch(0, 10**6).nodes)
    for position in range(count):
        stretch = cutter.stretch(position, position + 1)
        assert lists.isdisjoint(stretch.outputs)
        if stretch.outputs:
            feed = {name: state[name] for name in stretch.inputs}
            state.update(zip(stretch.outputs, run(stretch.model(state), feed), strict=True))
        for name in [name for name in state if not cutter.is_live(name, position + 1)]:
            del state[name]
    assert_same([state["y"]], run(proto, FEED))


@every_list
@pytest.mark.parametrize("wish", [{"max_error": 0.0}, {"rank": 2}], ids=str)
def test_the_whole_way(
    body: str, lists: set[str], wish: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_faster(monkeypatch.setattr)
    proto = network(body)
    result = attempt(proto, tmp_path / "out.onnx", data={"x": normal(6, 4, 9, 8)}, **wish)
    assert not isinstance(result, str), result
    assert len(result.report.layers) == body.count("Conv<")
    if result.path is None:
        assert "rank" not in wish
        return
    found = onnx.load(result.path)
    check(found)
    if "rank" not in wish:
        assert_near(run(found, FEED)[0], run(proto, FEED)[0], {"float32": 1e-4})
