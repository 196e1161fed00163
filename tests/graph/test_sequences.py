"""Networks with lists of tensors in them: cut anywhere they compute the same, and their types stay theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sepfactor.graph.partition import Partition
from sepfactor.graph.prepare import prepare
from sepfactor.graph.sequences import non_tensors
from tests.graph.build import assert_same, check, model, normal, run
from tests.robustness.way import assert_near, attempt, pretend_faster

X, Y = "float[N,4,9,8] x", "float[N,C,P,Q] y"
FEED = {"x": normal(2, 4, 9, 8)}
WEIGHTS = {"w": normal(4, 4, 3, 3) / 6, "u": normal(4, 4, 3, 3, seed=1) / 6}
SAME = "Conv<pads = [1,1,1,1]>"
MAP = "float[N,4,9,8]"

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
    "one that a loop hands to another, with a tensor": (
        f"""s = SequenceEmpty()
            a, t = Loop(two, yes, x, s) <body = l (int64 i, bool k, {MAP} p, seq({MAP}) o) => (
              bool d, {MAP} q, seq({MAP}) n) {{
                d = Identity(k)  c = {SAME}(p, w)  q = Relu(c)  n = SequenceInsert(o, c) }}>
            b, v = Loop(two, yes, a, t) <body = m (int64 i2, bool k2, {MAP} p2, seq({MAP}) o2) => (
              bool d2, {MAP} q2, seq({MAP}) n2) {{
                d2 = Identity(k2)  e = SequenceAt(o2, i2)  f = {SAME}(e, u)  q2 = Add(f, p2)
                n2 = SequenceInsert(o2, f) }}>
            j = ConcatFromSequence<axis = 0>(v)  h = ReduceMean<axes = [0]>(j)  y = Add(b, h)""",
        {"s", "t", "v"},
    ),
    "one that a loop hands on as it is": (
        f"""s = SequenceConstruct(x, x)
            r, t = Loop(two, yes, x, s) <body = l (int64 i, bool k, {MAP} p, seq({MAP}) o) => (
              bool d, {MAP} q, seq({MAP}) n) {{
                d = Identity(k)  q = {SAME}(p, w)  n = Identity(o) }}>
            a = {SAME}(r, u)  g = SequenceAt(t, one)  y = Add(a, g)""",
        {"s", "t"},
    ),
    "none": (f"i = Identity(x)  a = {SAME}(i, w)  y = Relu(a)", set()),
}
every_list = pytest.mark.parametrize(("body", "lists"), LISTS.values(), ids=LISTS.keys())


def network(body: str) -> onnx.ModelProto:
    numbers = {
        "zero": np.array(0),
        "one": np.array(1),
        "two": np.array(2),
        "yes": np.array(True),
        "half": np.float32(0.5),
    }
    used = {name: array for name, array in (numbers | WEIGHTS).items() if name in body}
    return model(body, X, Y, **used)


@every_list
def test_they_are_known(body: str, lists: set[str]) -> None:
    assert non_tensors(network(body).graph) == lists


def test_types_tell_too() -> None:
    """Where no operator does: a branch may hand on what another gave it, or what is fed."""
    proto = model(
        f"""s = If(q) <then_branch = t () => (seq({MAP}) f) {{ f = own.F(x) }},
                       else_branch = e () => (seq({MAP}) g) {{ g = own.G(x) }}>
            i = Identity(s)  r = If(q) <then_branch = t2 () => ({MAP} h) {{ h = own.H(s) }},
                       else_branch = e2 () => ({MAP} j) {{ j = Relu(x) }}>""",
        f"{X}, bool q",
        Y,
    )
    assert non_tensors(proto.graph) == {"s", "i"}


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
    cutter = Partition(prepare(ir.from_proto(proto)))
    state, count = dict(FEED), len(cutter.segment(0, 10**6).nodes)
    for position in range(count):
        stretch = cutter.segment(position, position + 1)
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
