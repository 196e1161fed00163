"""What stands in for a network that cannot be run: the same values under the same names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from onnx import TensorProto

from sepfactor.graph.prepare import prepare
from sepfactor.graph.stand_in import (
    Operator,
    Recipe,
    in_words,
    rare_types,
    recipe_for,
    unknown_operators,
    with_outputs_held,
)
from sepfactor.measure.onnxruntime_session import known_operators
from tests.graph.build import assert_same, check, model, normal, run

X, Y = "float[N,4,9,9] x", "float[N,C,P,Q] y"
FEED = {"x": normal(2, 4, 9, 9)}
HEADER = '<ir_version: 10, opset_import: ["": 22, "my.own": 1, "f": 1]>'


def parsed(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f"{HEADER} {text}")


def stand_in(proto: onnx.ModelProto) -> ir.Model:
    source = ir.from_proto(proto)
    unknown = unknown_operators(source, known_operators())
    return recipe_for(source, prepare(source), unknown)(source)


def outputs(network: ir.Model) -> list[str | None]:
    return [value.name for value in network.graph.outputs]


def with_strange(body: str, **weights: np.ndarray) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A network in which ``Strange`` is what nobody knows, and the same with a Sigmoid there."""
    return model(body, X, Y, **weights), model(body.replace("Strange", "Sigmoid"), X, Y, **weights)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a = Relu(x)  b = Strange(a)  y = Neg(b)", ["a"]),
        ("a = Relu(x)  b = Neg(a)  c = Strange(b)  y = Add(a, c)", ["a", "b"]),
        ("a = Relu(x)  b = Strange(x)  y = Add(a, b)", ["a"]),  # what is fed is no output
        ("a = Relu(x)  s = Shape(a)  b = Strange(a)  y = Reshape(b, s)", ["a"]),  # nor are sizes
        ("a = Relu(x)  b = Strange(a)  c = Mul(b, w)  y = Neg(c)", ["a"]),  # nor constants
        (
            "a = Relu(x)  s = SequenceConstruct(a, x)  b = Strange(a)  i = Constant<value_int = 0>()"
            " c = SequenceAt(s, i)  y = Add(b, c)",
            ["a", "c"],
        ),
    ],
)
def test_outputs_are_what_the_rest_reads(body: str, expected: list[str]) -> None:
    proto, known = with_strange(body, w=np.float32(2))
    made = stand_in(proto)
    assert outputs(made) == expected
    all_of_it = with_outputs_held(ir.from_proto(known), expected)
    values = dict(zip(outputs(all_of_it), run(all_of_it, FEED), strict=True))
    assert_same(run(made, FEED), [values[name] for name in expected])


def test_a_list_is_handed_over_as_its_tensors() -> None:
    proto, _ = with_strange("a = Relu(x)  b = Neg(x)  s = SequenceConstruct(a, b)  y = Strange(s)")
    assert outputs(stand_in(proto)) == ["a", "b"]


def test_outputs_that_are_left_come_first_and_as_declared() -> None:
    proto = model("a = Relu(x)  y = Neg(a)  z = Strange(a)", X, f"float[N,D,E,F] z, {Y}")
    made = stand_in(proto)
    assert outputs(made) == ["y", "a"]
    assert str(made.graph.outputs[0].shape) == "[N,C,P,Q]"


def test_read_from_a_body() -> None:
    body = """a = Relu(x)  b = Neg(x)  q = Constant<value = bool[1] {1}>()
              y = If(q) <then_branch = t () => (float[N,4,9,9] ty) { ty = Strange(a) },
                         else_branch = e () => (float[N,4,9,9] ey) { ey = Abs(b) }>"""
    made = stand_in(with_strange(body)[0])
    assert outputs(made) == ["a", "b"]
    assert {node.op_type for node in made.graph} == {"Relu", "Neg"}
    assert not made.graph.outputs[0].uses()


def test_the_original_stays_as_it_is() -> None:
    source = ir.from_proto(with_strange("a = Relu(x)  y = Strange(a)")[0])
    before = ir.to_proto(source).SerializeToString(deterministic=True)
    recipe = recipe_for(source, prepare(source), {("", "Strange")})
    replace(recipe, types={ir.DataType.FLOAT})(source)
    assert ir.to_proto(source).SerializeToString(deterministic=True) == before


FUNCTIONS = """g (float[4] x) => (float[4] y) {{ y = f.Outer(x) }}
    <domain: "f", opset_import: ["": 22, "f": 1]> Outer (a) => (b) {{ b = f.Inner(a) }}
    <domain: "f", opset_import: ["": 22, "my.own": 1]> Inner (c) => (d) {{ d = {}(c) }}
    <domain: "f", opset_import: ["": 22]> Fine (e) => (h) {{ h = Neg(e) }}"""


@pytest.mark.parametrize(
    ("called", "expected"),
    [
        ("Relu", set()),
        ("f.Fine", set()),
        ("my.own.Odd", {("my.own", "Odd"), ("f", "Inner"), ("f", "Outer")}),
    ],
)
def test_functions_are_known_as_far_as_what_they_call(called: str, expected: set[Operator]) -> None:
    source = ir.from_proto(parsed(FUNCTIONS.format(called)))
    assert unknown_operators(source, known_operators()) == expected
    assert in_words(expected, source) == ("Odd (domain my.own)" if expected else "")


def test_another_name_of_the_standard_operators() -> None:
    proto = model("y = Relu(x)", X, Y)
    proto.graph.node[0].domain = proto.opset_import[0].domain = "ai.onnx"
    assert not unknown_operators(ir.from_proto(proto), known_operators())


TYPED = """g (bfloat16[N,4] x) => (bfloat16[N,4] y) <bfloat16[4] w = {16256, 16384, 16448, 16512}> {
    f = Cast<to = 1>(x)  a = Cast<to = 16>(f)  k = Constant<value = bfloat16 {16384}>()  b = Mul(a, k)
    s = Shape(b)  z = ConstantOfShape<value = bfloat16[1] {16448}>(s)  l = CastLike(z, b)  c = Add(l, b)
    q = SequenceConstruct(c, b)  i = Constant<value_int = 0>()  d = SequenceAt(q, i)
    t = Constant<value = bool {1}>()
    e = If(t) <then_branch = yes () => (bfloat16[N,4] ty) { ty = Mul(d, w) },
               else_branch = no () => (bfloat16[N,4] ey) { ey = f.Half(d) }>
    y = f.Half(e) }
    <domain: "f", opset_import: ["": 22]> Half (m) => (n) {
        o = Constant<value = bfloat16 {16128}>()  r = Cast<to = 16>(o)  n = Mul(m, r) }"""
"""Numbers of bfloat16 as their bits: 1, 2, 3, 4 and a half."""


def test_types_wherever_they_are() -> None:
    source = ir.from_proto(parsed(TYPED))
    assert rare_types(source) == {ir.DataType.BFLOAT16}
    made = Recipe(types=rare_types(source))(source)
    assert not rare_types(made)
    check(made)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert_same(run(made, {"x": x}), [(2 * x + 3) * np.arange(1, 5, dtype=np.float32) / 2])
    assert rare_types(source) == {ir.DataType.BFLOAT16}


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8])
def test_other_types_stay(kind: int) -> None:
    proto = model(f"a = Cast<to = {kind}>(x)  y = Cast<to = 1>(a)", X, Y)
    assert not rare_types(ir.from_proto(proto))
