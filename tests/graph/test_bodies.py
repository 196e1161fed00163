"""What convolutions in bodies read and answer, led out; and such convolutions replaced."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import ModelProto

from sepfactor.factor import SCHEMES, Factorization, select_schemes
from sepfactor.graph.bodies import Probe, exposed, read_outside
from sepfactor.graph.instrument import with_outputs
from sepfactor.graph.load import load
from sepfactor.graph.lower import lower
from sepfactor.graph.partition import Partition
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.graph.survey import Site, survey
from tests.graph.build import assert_same, check, model, normal, run, run_reference, session
from tests.graph.nested import CONV, INNER, MAP, NESTED, WEIGHTS, Nested

FLOAT = np.dtype(np.float32)
every_body = pytest.mark.parametrize("nested", NESTED.values(), ids=NESTED.keys())


def opened(proto: ModelProto) -> tuple[ir.Model, Site]:
    prepared = prepare(load(proto).model)
    sites = {site.name: site for site in survey(prepared)}
    return prepared, sites["inner"]


def seen(view: ModelProto | bytes, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All outputs by name."""
    network = session(view)
    names = [output.name for output in network.get_outputs()]
    return dict(zip(names, network.run(None, dict(feed)), strict=True))


@every_body
def test_what_is_read_and_answered_turn_by_turn(nested: Nested) -> None:
    prepared, site = opened(nested.proto)
    assert (site.nested, site.skipped) == (True, None)
    probes = [Probe(site.output, "input", FLOAT), Probe(site.output, "output", FLOAT)]
    values = seen(with_outputs(prepared, ["a"], probes), nested.feed)
    assert_same([values["y"]], run(nested.proto, nested.feed))
    assert_same([*exposed(values, probes[0]).values()], nested.reads())
    assert_same([*exposed(values, probes[1]).values()], nested.answers())


def test_maps_that_change_size_from_turn_to_turn() -> None:
    proto = model(
        f"""b = Loop(three, yes, x) <body = l (int64 i, bool k, {MAP} s) => (bool d, {MAP} r)
            {{ d = Identity(k)  [inner] c = Conv(s, w, bias)  r = Relu(c) }}>""",
        f"{MAP} x",
        "float[N,3,P,Q] b",
        yes=np.array(True),
        three=np.array(3),
        **WEIGHTS,
    )
    prepared, site = opened(proto)
    probe = Probe(site.output, "input", FLOAT)
    found = exposed(seen(with_outputs(prepared, [], [probe]), {"x": normal(1, 3, 9, 8)}), probe)
    assert [map.shape[2:] for map in found.values()] == [(9, 8), (7, 6), (5, 4)]


@every_body
def test_at_full_rank_it_answers_as_before(nested: Nested) -> None:
    prepared, site = opened(nested.proto)
    assert site.stage is not None
    expected = run(nested.proto, nested.feed)
    for scheme in SCHEMES:
        if scheme.refuses(site.stage) is not None:
            continue
        parts = scheme.decompose(site.stage)
        replacement = Replacement(site, Factorization(parts.build(parts.full_rank), site.bias), {})
        rebuilt = rebuild(prepared, [replacement])
        check(rebuilt.model)
        assert_same(run(rebuilt.model, nested.feed), expected)
        kept = [node for node in rebuilt.model.graph.all_nodes() if node.outputs[0].name == site.output]
        assert len(kept) == 1  # under the same name
        assert site.output in rebuilt.site_of


@pytest.mark.parametrize("name", ["then", "loop", "if in a loop", "scan"])
def test_a_walk_replaces_it_for_the_turns_to_come(name: str) -> None:
    """A stretch with something else in its body answers like the network rebuilt with that."""
    nested = NESTED[name]
    prepared, site = opened(nested.proto)
    assert site.stage is not None
    other = Factorization.of(site.stage, None)  # without its bias
    expected = run(rebuild(prepared, [Replacement(site, other, {})]).model, nested.feed)
    cutter = Partition(prepared)
    at = cutter.position(site.output)
    assert cutter.position("a") < at < cutter.position("y")
    lowered = lower(other, ir.val(site.input), ir.val(site.output), prefix="p", dtype=FLOAT)
    cutter.replace(site.output, lowered.nodes, lowered.initializers)
    stretch = cutter.segment(0, cutter.position("y") + 1)
    view = stretch.model(nested.feed)
    found = session(view).run(["y"], {name: nested.feed[name] for name in stretch.inputs})
    assert_same(found, expected)
    assert np.abs(found[0] - run(nested.proto, nested.feed)[0]).max() > 1e-2


def test_what_follows_it_in_its_body() -> None:
    """A ReLU, behind an Add of a constant or not; unless its body hands it on."""

    def cutter(then: str) -> Partition:
        text = f"""y = If(q) <then_branch = t () => ({MAP} e) {{ {INNER.replace("(s,", "(x,")}  {then} }},
                                 else_branch = e () => ({MAP} f) {{ f = Neg(x) }}>"""
        inputs, row = f"{MAP} x, bool q", normal(3, 1, 1)
        return Partition(opened(model(text, inputs, f"{MAP} y", row=row, **WEIGHTS))[0])

    assert cutter("e = Relu(c)").is_rectified("c")
    assert not cutter("e = Sigmoid(c)").is_rectified("c")
    assert not cutter("e = Identity(c)").is_rectified("c")
    added = cutter("m = Add(c, row)  e = Relu(m)")
    assert added.is_rectified("c")
    np.testing.assert_array_equal(added.offset("c"), normal(3, 1, 1))
    beside = cutter("m = Add(c, x)  e = Relu(m)")
    assert (beside.partner("c"), beside.is_rectified("c")) == (None, False)


ALIKE = f"""y = If(q) <then_branch = t () => ({MAP} d) {{ [then] d = {CONV}(x, w) }},
                      else_branch = e () => ({MAP} d) {{ [else] d = {CONV}(x, u) }}>"""


@pytest.mark.parametrize("q", [True, False])
def test_values_called_alike_in_two_branches_are_told_apart(q: bool) -> None:
    proto = model(ALIKE, f"{MAP} x, bool q", f"{MAP} y", **WEIGHTS)
    feed = {"x": normal(1, 3, 6, 6), "q": np.array(q)}
    loaded = load(proto)
    first, second = survey(prepare(loaded.model))
    assert {first.name, second.name} == {"then", "else"}
    assert first.output != second.output
    assert_same(run(loaded.model, feed), run(proto, feed))
    assert_same(run_reference(prepare(loaded.model), feed), run(proto, feed))
    probes = [Probe(site.output, "input", FLOAT) for site in (first, second)]
    values = seen(with_outputs(prepare(loaded.model), [], probes), feed)
    turns = {
        site.name: len(exposed(values, probe)) for site, probe in zip((first, second), probes, strict=True)
    }
    assert turns == {"then": int(q), "else": int(not q)}


def test_what_cannot_be_exposed_is_said() -> None:
    in_a_scan = model(
        f"""b, stack = Scan<num_scan_inputs = 1, body = body ({MAP} s, float[3,1,1] row)
            => ({MAP} r, float[3,1,1] o) {{ o = Neg(row)
            r = If(q) <then_branch = t () => ({MAP} c) {{ {INNER} }},
                       else_branch = e () => ({MAP} f) {{ f = Relu(s) }}> }}>(x, rows)""",
        f"{MAP} x, bool q",
        f"{MAP} b",
        rows=normal(2, 3, 1, 1),
        **WEIGHTS,
    )
    assert "the If of a Scan" in str(opened(in_a_scan)[1].skipped)
    old = model(NESTED_TEXT, f"{MAP} x, bool q", f"{MAP} y", opset=7, **WEIGHTS)
    assert "an If of opset 7" in str(opened(old)[1].skipped)
    mapped = model(
        f"""many = SequenceConstruct(x, x)
            out = SequenceMap(many) <body = m ({MAP} s) => ({MAP} c) {{ {INNER} }}>
            zero = Constant<value = int64 {{0}}>()  y = SequenceAt(out, zero)""",
        f"{MAP} x",
        f"{MAP} y",
        **WEIGHTS,
    )
    assert "a SequenceMap, which cannot be looked into" in str(opened(mapped)[1].skipped)


NESTED_TEXT = f"""y = If(q) <then_branch = t () => ({MAP} c) {{ {INNER.replace("(s,", "(x,")} }},
                             else_branch = e () => ({MAP} f) {{ f = Relu(x) }}>"""


def test_what_bodies_read_from_outside() -> None:
    prepared, _ = opened(NESTED["loop in an if"].proto)
    (node,) = [node for node in prepared.graph if node.op_type == "If"]
    assert {"q", "a", "w", "bias", "three", "yes"} == {value.name for value in read_outside(node)}


def test_weights_of_a_body_go_with_their_convolution() -> None:
    """As exporters of branches keep them: as constants in there."""
    numbers = ", ".join("0.5" for _ in range(81))
    text = f"""y = If(q) <
        then_branch = t () => ({MAP} c) {{ v = Constant<value = float[3,3,3,3] {{{numbers}}}>()
                                           [inner] c = {CONV}(x, v) }},
        else_branch = e () => ({MAP} f) {{ f = Relu(x) }}>"""
    prepared, site = opened(model(text, f"{MAP} x, bool q", f"{MAP} y"))
    assert site.stage is not None
    (scheme,) = select_schemes(["spatial-vertical"])
    factorization = Factorization(scheme.decompose(site.stage).build((1,)))
    rebuilt = rebuild(prepared, [Replacement(site, factorization, {})]).model
    before, after = (
        sum(value.const_value.size for g in m.graphs() for value in g.initializers.values())
        for m in (prepared, rebuilt)
    )
    assert (before, after) == (81, 9 + 9)  # 3 → 1 channels along one axis, 1 → 3 along the other


@pytest.mark.parametrize("turns", [64, 100])
def test_of_a_long_loop_the_first_turns_are_exposed(turns: int) -> None:
    proto = model(
        f"""b = Loop(many, yes, x) <body = l (int64 i, bool k, {MAP} s) => (bool d, {MAP} r)
            {{ d = Identity(k)  [inner] c = {CONV}(s, w)  r = Tanh(c) }}>""",
        f"{MAP} x",
        f"{MAP} b",
        yes=np.array(True),
        many=np.array(turns),
        w=WEIGHTS["w"],
    )
    prepared, site = opened(proto)
    probe = Probe(site.output, "output", FLOAT)
    feed = {"x": normal(1, 3, 4, 4)}
    values = seen(with_outputs(prepared, [], [probe]), feed)
    found = exposed(values, probe)
    assert [*found] == [*range(64)]
    if turns == 64:
        assert_same([np.tanh(found[63])], [values["b"]])
    assert_same([values["b"]], run(proto, feed))


def test_a_turn_that_goes_the_other_way_leaves_a_gap() -> None:
    """An If in a Loop that asks for the number of the turn."""
    proto = model(
        f"""b = Loop(three, yes, x) <body = l (int64 i, bool k, {MAP} s) => (bool d, {MAP} r)
            {{ d = Identity(k)  other = Equal(i, one)
               r = If(other) <then_branch = t () => ({MAP} f) {{ f = Relu(s) }},
                              else_branch = e () => ({MAP} c) {{ [inner] c = {CONV}(s, w) }}> }}>""",
        f"{MAP} x",
        f"{MAP} b",
        yes=np.array(True),
        one=np.array(1),
        three=np.array(3),
        w=WEIGHTS["w"],
    )
    prepared, site = opened(proto)
    probe = Probe(site.output, "input", FLOAT)
    feed = {"x": normal(1, 3, 4, 4)}
    found = exposed(seen(with_outputs(prepared, [], [probe]), feed), probe)
    assert [*found] == [0, 2]
    assert_same([found[0]], [feed["x"]])
