"""A network run stretch by stretch is the network run at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from sepfactor.factor import Chain, Factorization, Stage
from sepfactor.graph.load import load
from sepfactor.graph.lower import lower
from sepfactor.graph.partition import Partition
from sepfactor.graph.prepare import prepare
from sepfactor.graph.survey import Site, survey
from tests.factor.kinds import by_name
from tests.graph.build import assert_same, model, normal, run, session

Values = dict[str, np.ndarray]


def opened(proto: onnx.ModelProto) -> ir.Model:
    """As the pipeline has it when it begins to walk."""
    return prepare(load(proto).model)


def walked(cutter: Partition, feed: Values, stops: Sequence[int]) -> Values:
    """Everything handed on at any of the stops, each computed from what was handed on before."""
    state, seen, begin = dict(feed), dict(feed), 0
    for end in stops:
        stretch = cutter.segment(begin, end)
        if stretch.outputs:
            made = session(stretch.model(state)).run(
                list(stretch.outputs), {name: state[name] for name in stretch.inputs}
            )
            state.update(zip(stretch.outputs, made, strict=True))
        state = {name: value for name, value in state.items() if cutter.is_live(name, end)}
        seen |= state
        begin = end
    return seen


def count(proto: onnx.ModelProto) -> int:
    return len(ir.to_proto(opened(proto)).graph.node)


def with_all_values(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    names = [name for node in proto.graph.node for name in node.output if name]
    view = onnx.ModelProto()
    view.CopyFrom(proto)
    del view.graph.output[:]
    view.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return view, names


def check(proto: onnx.ModelProto, feed: Values, stops: Sequence[int]) -> None:
    """What is handed on at the stops is what the whole network computes."""
    prepared = opened(proto)
    view, names = with_all_values(ir.to_proto(prepared))
    expected = dict(zip(names, run(view, feed), strict=True))
    found = walked(Partition(prepared), feed, stops)
    floats = [name for name in found if name in expected and expected[name].dtype.kind == "f"]
    assert floats
    for name in floats:
        assert_same([found[name]], [expected[name]])
    last = [value.name for value in proto.graph.output]
    if set(last) <= set(ir.to_proto(prepared).graph.node[-1].output):
        assert set(last) <= set(found)


RESIDUAL = model(
    """
    a = Conv <pads = [1, 1, 1, 1]> (x, w1)
    r = Relu (a)
    b = Conv <pads = [1, 1, 1, 1]> (r, w2)
    s = Add (b, x)
    t = Relu (s)
    c = Conv (t, w3)
    d = Conv <pads = [1, 1, 1, 1]> (t, w1)
    e = Add (d, x)
    f = Concat <axis = 1> (c, e, r)
    y = Conv (f, w4)
    """,
    "float[N, 4, H, W] x",
    "float[N, 3, H, W] y",
    w1=normal(4, 4, 3, 3),
    w2=normal(4, 4, 3, 3, seed=1),
    w3=normal(2, 4, 1, 1),
    w4=normal(3, 10, 1, 1),
)


@given(st.sets(st.integers(0, 10)))
def test_a_residual_network_cut_anywhere(stops: set[int]) -> None:
    check(RESIDUAL, {"x": normal(2, 4, 7, 6)}, [*sorted(stops), count(RESIDUAL)])


BRANCHES = """
    big = Greater (m, zero)
    y = If (big) <
        then_branch = then () => (float[N, 4, H, W] p) { q = Add (a, r)  p = Conv (q, w1) },
        else_branch = other () => (float[N, 4, H, W] u) { u = Sub (x, a) }
    >
"""


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("stops", [[1, 2, 3, 4, 5, 6], [6], [2, 5, 6], [1, 1, 4, 6]])
def test_what_an_if_reads_from_outside_is_handed_on(sign: int, stops: list[int]) -> None:
    proto = model(
        f"""
        a = Conv (x, w1)
        r = Relu (a)
        b = Conv (r, w1)
        m = ReduceMean <keepdims = 0> (b)
        {BRANCHES}
        """,
        "float[N, 4, H, W] x",
        "float[N, 4, H, W] y",
        w1=sign * np.abs(normal(4, 4, 1, 1)),
        zero=np.float32(0),
    )
    check(proto, {"x": np.abs(normal(1, 4, 5, 5))}, stops)


def test_an_if_whose_branch_is_a_value_from_outside_by_name() -> None:
    """A subgraph may name as its output what an inner node copies."""
    proto = model(
        """
        a = Conv (x, w1)
        r = Relu (a)
        m = ReduceMax <keepdims = 0> (r)
        big = Greater (m, zero)
        y = If (big) <
            then_branch = then () => (float[N, 4, H, W] p) { p = Identity (a) },
            else_branch = other () => (float[N, 4, H, W] u) { u = Identity (x) }
        >
        """,
        "float[N, 4, H, W] x",
        "float[N, 4, H, W] y",
        w1=normal(4, 4, 1, 1),
        zero=np.float32(0),
    )
    check(proto, {"x": normal(1, 4, 5, 5)}, [1, 2, 3, 4, 5])


def test_functions_of_the_model_come_along() -> None:
    proto = model("a = Conv (x, w1)  y = Relu (a)", "float[N, 4, H, W] x", "float[N, 4, H, W] y")
    proto.graph.initializer.append(numpy_helper.from_array(normal(4, 4, 1, 1), "w1"))
    proto.functions.append(
        helper.make_function(
            "mine",
            "Twice",
            ["v"],
            ["w"],
            [helper.make_node("Add", ["v", "v"], ["w"])],
            [helper.make_opsetid("", 17)],
        )
    )
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    proto.graph.node[1].CopyFrom(helper.make_node("Twice", ["a"], ["y"], domain="mine"))
    check(proto, {"x": normal(1, 4, 5, 5)}, [1, 2])


def test_in_half_precision() -> None:
    proto = model(
        "a = Conv (x, w1)  r = Relu (a)  s = Add (r, a)  y = Conv (s, w1)",
        "float16[N, 4, H, W] x",
        "float16[N, 4, H, W] y",
        w1=normal(4, 4, 1, 1, dtype=np.float16),
    )
    check(proto, {"x": normal(1, 4, 5, 5, dtype=np.float16)}, [1, 2, 3, 4])


def test_shapes_computed_on_the_way() -> None:
    proto = model(
        "a = Conv (x, w1)  k = Shape (x)  f = Flatten (a)  s = Reshape (f, k)  y = Conv (s, w1)",
        "float[N, 4, H, W] x",
        "float[N, 4, H, W] y",
        w1=normal(4, 4, 1, 1),
    )
    feed = {"x": normal(2, 4, 5, 6)}
    found = walked(Partition(opened(proto)), feed, [1, 2, 3, 4, 5])
    assert_same([found["y"]], run(proto, feed))


def test_several_inputs_and_outputs_and_values_used_much_later() -> None:
    proto = model(
        """
        a = Conv (x, w1)
        g = Mul (a, gain)
        p, q = Split <axis = 1> (g, sizes)
        b = Conv (g, w1)
        y1 = Add (b, shift)
        z = Concat <axis = 1> (p, b, q)
        y2 = Conv (z, w2)
        """,
        "float[N, 4, H, W] x, float[1] gain, float[4, 1, 1] shift",
        "float[N, 4, H, W] y1, float[N, 2, H, W] y2",
        w1=normal(4, 4, 1, 1),
        w2=normal(2, 8, 1, 1),
        sizes=np.array([1, 3]),
    )
    feed = {"x": normal(2, 4, 5, 5), "gain": np.float32([2]), "shift": normal(4, 1, 1)}
    for stops in ([1, 2, 3, 4, 5, 6, 7], [3, 7], [4, 4, 7]):
        check(proto, feed, stops)


class TestLive:
    def test_what_is_not_read_any_more_is_dropped(self) -> None:
        cutter = Partition(opened(RESIDUAL))
        assert cutter.is_live("x", cutter.position("e"))  # the second shortcut
        assert not cutter.is_live("x", cutter.position("e") + 1)
        assert cutter.is_live("r", cutter.position("f"))
        assert not cutter.is_live("s", cutter.position("t") + 1)
        assert not cutter.is_live("no such value", 0)
        begin, end = cutter.position("c"), cutter.position("d")
        assert cutter.segment(begin, end).outputs == ("c",)

    def test_a_stretch_holds_no_weight_it_does_not_read(self) -> None:
        cutter = Partition(opened(RESIDUAL))
        assert [t.name for t in cutter.segment(0, 2).initializers] == ["w1"]
        assert cutter.segment(3, 3).outputs == ()

    def test_the_last_output_is_at_hand_behind_it(self) -> None:
        cutter = Partition(opened(RESIDUAL))
        at = cutter.position("y")
        assert cutter.segment(0, at + 1).outputs == ("y",)


def replaced(proto: onnx.ModelProto, exact: bool = True) -> tuple[Partition, list[Site]]:
    """With every Conv but the first in factors."""
    prepared = opened(proto)
    cutter, sites = Partition(prepared), survey(prepared)
    for site in sites[1:]:
        stage = site.stage
        assert stage is not None
        scheme = by_name("depthwise-pointwise" if not stage.is_pointwise else "channel-out")
        found = scheme.decompose(stage)
        rank = found.full_rank if exact else (1,)
        factorization = Factorization(found.build(rank), site.bias)
        lowered = lower(
            factorization,
            ir.val(site.input),
            ir.val(site.output),
            prefix=f"{site.output}/f",
            dtype=site.dtype,
        )
        cutter.replace(site.output, lowered.nodes, lowered.initializers)
    return cutter, sites


class TestReplace:
    @given(st.sets(st.integers(0, 10)))
    def test_by_the_same_in_factors_changes_nothing(self, stops: set[int]) -> None:
        feed = {"x": normal(2, 4, 7, 6)}
        cutter, _ = replaced(RESIDUAL)
        found = walked(cutter, feed, [*sorted(stops), count(RESIDUAL)])
        assert np.abs(found["y"] - run(RESIDUAL, feed)[0]).max() < 1e-4 * np.abs(found["y"]).max()

    def test_by_less_changes_what_comes_after_and_only_that(self) -> None:
        feed = {"x": normal(2, 4, 7, 6)}
        prepared = opened(RESIDUAL)
        before = walked(Partition(prepared), feed, range(11))
        after = walked(replaced(RESIDUAL, exact=False)[0], feed, range(11))
        assert set(before) == set(after)
        np.testing.assert_array_equal(before["r"], after["r"])
        for name in ("b", "s", "c", "y"):
            assert np.abs(before[name] - after[name]).max() > 1e-2

    def test_the_model_is_left_as_it_was(self) -> None:
        prepared = opened(RESIDUAL)
        before = ir.to_proto(prepared).SerializeToString()
        cutter = Partition(prepared)
        (first, *_) = survey(prepared)
        assert first.stage is not None
        dense = Factorization((Chain((Stage(2 * first.stage.weight, *_geometry(first.stage)),)),))
        lowered = lower(dense, ir.val("x"), ir.val("a"), prefix="a/f", dtype=np.dtype(np.float32))
        cutter.replace("a", lowered.nodes, lowered.initializers)
        assert ir.to_proto(prepared).SerializeToString() == before
        assert cutter.position("a") == 0


def _geometry(stage: Stage) -> tuple[Any, ...]:
    return stage.strides, stage.pads, stage.dilations, stage.group


class TestPartner:
    """The other summand, where a residual sum is all a convolution's output is for."""

    @staticmethod
    def of(body: str, output: str = "a", outputs: str = "float[N, 4, H, W] y") -> str | None:
        weights = {"w1": normal(4, 4, 1, 1), "k": normal(4, 1, 1)}
        proto = model(body, "float[N, 4, H, W] x", outputs, **weights)
        return Partition(ir.serde.deserialize_model(proto)).partner(output)

    def test_is_found_on_either_side(self) -> None:
        assert self.of("a = Conv (x, w1)  y = Add (a, x)") == "x"
        assert self.of("r = Relu (x)  a = Conv (x, w1)  y = Add (r, a)") == "r"

    def test_is_found_where_it_is_a_convolution_itself(self) -> None:
        body = "b = Conv (x, w1)  a = Conv (x, w1)  y = Add (a, b)"
        assert self.of(body, "a") == "b"
        assert self.of(body, "b") is None  # the other one is not computed yet

    @pytest.mark.parametrize(
        "body",
        [
            "a = Conv (x, w1)  y = Relu (a)",
            "a = Conv (x, w1)  r = Relu (a)  y = Add (r, x)",
            "a = Conv (x, w1)  y = Mul (a, x)",
            "a = Conv (x, w1)  y = Add (a, a)",
            "a = Conv (x, w1)  y = Add (a, k)",
            "a = Conv (x, w1)  s = Add (a, x)  y = Mul (s, a)",
            "a = Conv (x, w1)  r = Relu (a)  y = Add (a, r)",
            "a = Conv (x, w1)  r = Relu (x)  y = Add (a, r)",
            "a = Conv (x, w1)  y = Identity (x)",
        ],
    )
    def test_is_not_found_elsewhere(self, body: str) -> None:
        assert self.of(body) is None

    def test_an_output_of_the_network_stands_for_itself(self) -> None:
        body = "a = Conv (x, w1)  y = Add (a, x)"
        assert self.of(body, outputs="float[N, 4, H, W] a, float[N, 4, H, W] y") is None

    def test_an_if_reads_too(self) -> None:
        body = """
            a = Conv (x, w1)
            s = Add (a, x)
            m = ReduceMax <keepdims = 0> (s)
            big = Greater (m, m)
            y = If (big) <
                then_branch = then () => (float[N, 4, H, W] p) { p = Relu (a) },
                else_branch = other () => (float[N, 4, H, W] u) { u = Relu (s) }
            >
        """
        assert self.of(body) is None

    def test_behind_a_replacement(self) -> None:
        cutter, _ = replaced(RESIDUAL)
        assert cutter.partner("b") == "x"
        assert cutter.partner("d") == "x"
        assert cutter.partner("c") is None


class TestRectified:
    """Whether the negatives of an answer, or of the sum it goes into, are all the same to what follows."""

    @staticmethod
    def of(body: str, outputs: str = "float[N, 4, H, W] y", opset: int = 18) -> bool:
        values = {"w1": normal(4, 4, 1, 1), "zero": np.float32(0), "one": np.float32(1)}
        used = {name: value for name, value in values.items() if name in body}
        proto = model(body, "float[N, 4, H, W] x", outputs, **used)
        proto.opset_import[0].version = opset
        return Partition(ir.serde.deserialize_model(proto)).is_rectified("a")

    @pytest.mark.parametrize(
        "body",
        [
            "a = Conv (x, w1)  y = Relu (a)",
            "a = Conv (x, w1)  y = Clip (a, zero)",
            "a = Conv (x, w1)  y = Clip (a, zero, one)",
            "a = Conv (x, w1)  r = Relu (a)  s = Clip (a, zero)  y = Add (r, s)",
            "a = Conv (x, w1)  s = Add (a, x)  y = Relu (s)",
            "a = Conv (x, w1)  s = Add (x, a)  y = Clip (s, zero)",
            "a = Conv (x, w1)  s = Add (a, one)  y = Relu (s)",
            "a = Conv (x, w1)  s = Add (one, a)  r = Relu (s)  t = Relu (s)  y = Add (r, t)",
        ],
    )
    def test_is_seen(self, body: str) -> None:
        assert self.of(body)

    def test_is_seen_in_a_clip_of_old(self) -> None:
        assert self.of("a = Conv (x, w1)  y = Clip <min = 0.0, max = 6.0> (a)", opset=10)
        assert not self.of("a = Conv (x, w1)  y = Clip <min = -1.0, max = 6.0> (a)", opset=10)

    @pytest.mark.parametrize(
        "body",
        [
            "a = Conv (x, w1)  y = LeakyRelu (a)",
            "a = Conv (x, w1)  y = Clip (a, one)",
            "a = Conv (x, w1)  y = Clip (a, , one)",
            "k = Relu (x)  m = ReduceMin <keepdims = 0> (k)  a = Conv (x, w1)  y = Clip (a, m)",
            "a = Conv (x, w1)  r = Relu (a)  y = Mul (r, a)",
            "a = Conv (x, w1)  r = Relu (a)  y = Add (r, a)",
            "a = Conv (x, w1)  s = Add (a, x)  r = Relu (s)  y = Mul (r, s)",
            "a = Conv (x, w1)  s = Mul (a, x)  y = Relu (s)",
            "a = Conv (x, w1)  b = Conv (x, w1)  s = Add (a, b)  y = Relu (s)",
            "a = Conv (x, w1)  y = Add (a, x)",
            "a = Conv (x, w1)  s = Add (a, one)  t = Add (s, one)  y = Relu (t)",
            "a = Conv (x, w1)  s = Sub (a, one)  y = Relu (s)",
        ],
    )
    def test_is_not_seen_elsewhere(self, body: str) -> None:
        assert not self.of(body)

    def test_a_constant_summand_is_told(self) -> None:
        def of(body: str, outputs: str = "float[N, 4, H, W] y", **constants: np.ndarray) -> np.ndarray | None:
            proto = model(body, "float[N, 4, H, W] x", outputs, w1=normal(4, 4, 1, 1), **constants)
            return Partition(ir.serde.deserialize_model(proto)).offset("a")

        row = normal(1, 4, 1, 1)
        found = of("a = Conv (x, w1)  s = Add (a, c)  y = Relu (s)", c=row)
        np.testing.assert_array_equal(found, row[0])
        for body in (
            "a = Conv (x, w1)  s = Add (a, c)  t = Add (s, a)  y = Relu (t)",
            "a = Conv (x, w1)  s = Mul (a, c)  y = Relu (s)",
            "a = Conv (x, w1)  d = Add (x, c)  s = Add (a, d)  y = Relu (s)",
        ):
            assert of(body, c=row) is None
        both = "float[N, 4, H, W] y, float[N, 4, H, W] a"
        assert of("a = Conv (x, w1)  y = Add (a, c)", both, c=row) is None

    def test_an_output_of_the_network_is_looked_at(self) -> None:
        both = "float[N, 4, H, W] y, float[N, 4, H, W] "
        assert not self.of("a = Conv (x, w1)  y = Relu (a)", both + "a")
        assert not self.of("a = Conv (x, w1)  s = Add (a, x)  y = Relu (s)", both + "s")


def test_positions_are_those_of_the_graph() -> None:
    cutter = Partition(opened(RESIDUAL))
    positions = [cutter.position(site.output) for site in survey(opened(RESIDUAL))]
    assert positions == sorted(positions)
