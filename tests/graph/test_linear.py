"""Gemm and MatMul with constant weights are 1×1 convolutions over their rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor import Factorization
from sepfactor.graph.linear import GEMM, MATMUL
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.graph.survey import Site, survey
from tests.factor.kinds import by_name
from tests.graph.build import assert_same, check, model, normal, run, run_reference
from tests.robustness.way import attempt, pretend_faster

TYPES = {np.float16: "float16", np.float32: "float", np.float64: "double"}


def opened(proto: onnx.ModelProto) -> tuple[ir.Model, list[Site]]:
    prepared = prepare(ir.from_proto(proto))
    return prepared, survey(prepared, linear_layers=True)


@dataclass(frozen=True)
class Drawn:
    proto: onnx.ModelProto
    x: np.ndarray


@st.composite
def gemms(draw: st.DrawFn) -> Drawn:
    ins, outs, rows = (draw(st.integers(1, 7)) for _ in range(3))
    dtype = draw(st.sampled_from(sorted(TYPES, key=str)))
    turned = draw(st.booleans())
    said = {"transB": int(turned)} if turned or draw(st.booleans()) else {}
    said |= {name: draw(st.sampled_from((0.5, -2.0))) for name in ("alpha", "beta") if draw(st.booleans())}
    made = {"w": normal(*((outs, ins) if turned else (ins, outs)), dtype=dtype)}
    if shape := draw(st.sampled_from((None, (outs,), (1, outs), (1,), ()))):
        made["c"] = normal(*shape, dtype=dtype)
    opset = draw(st.sampled_from((11, 13, 17) if "c" not in made else (7, 9, 11, 13, 17)))
    attributes = f"<{', '.join(f'{name} = {value}' for name, value in said.items())}>" if said else ""
    body = f"[k] z = Gemm{attributes}({', '.join(['x', *made])})  y = Neg(z)"
    kind = TYPES[dtype]
    proto = model(body, f"{kind}[N,{ins}] x", f"{kind}[N,{outs}] y", opset=opset, **made)
    return Drawn(proto, normal(rows, ins, dtype=dtype))


@st.composite
def matmuls(draw: st.DrawFn) -> Drawn:
    ins, outs = (draw(st.integers(1, 7)) for _ in range(2))
    leading = tuple(draw(st.lists(st.integers(1, 4), max_size=3)))
    dtype = draw(st.sampled_from(sorted(TYPES, key=str)))
    kind, names = TYPES[dtype], ",".join("NTHW"[: len(leading)])
    before = f"{names}," if names else ""
    proto = model(
        "[k] z = MatMul(x, w)  y = Neg(z)",
        f"{kind}[{before}{ins}] x",
        f"{kind}[{before}{outs}] y",
        opset=draw(st.sampled_from((7, 8, 13, 17))),
        w=normal(ins, outs, dtype=dtype),
    )
    return Drawn(proto, normal(*leading, ins, dtype=dtype))


@given(st.one_of(gemms(), matmuls()), st.booleans())
def test_full_rank_computes_the_same(drawn: Drawn, biased: bool) -> None:
    """Also with a bias that fitting adds where there was none."""
    feed = {"x": drawn.x}
    prepared, (site,) = opened(drawn.proto)
    assert site.stage is not None, site.skipped
    decomposition = by_name("channel-out").decompose(site.stage)
    bias = np.zeros(site.stage.out_channels) if biased and site.bias is None else site.bias
    full = Factorization(decomposition.build(decomposition.full_rank), bias)
    rebuilt = rebuild(prepared, [Replacement(site, full, {})])
    check(rebuilt.model)
    assert_same(run_reference(rebuilt.model, feed), run_reference(drawn.proto, feed))
    assert_same(run(rebuilt.model, feed), run(drawn.proto, feed))
    kinds = [node.op_type for node in rebuilt.model.graph][:-1]
    last = ["MatMul"] if bias is None else ["Gemm"] if site.kind == GEMM else ["MatMul", "Add"]
    assert kinds == ["MatMul", *last]


@given(st.one_of(gemms(), matmuls()))
def test_read_as_a_map_it_is_the_convolution_it_is_said_to_be(drawn: Drawn) -> None:
    _, (site,) = opened(drawn.proto)
    assert site.stage is not None
    (y,) = run_reference(drawn.proto, {"x": drawn.x})
    x, seen = site.kind.maps(drawn.x), site.kind.maps(-y)
    assert x.shape == (1, site.stage.in_channels, 1, drawn.x.size // drawn.x.shape[-1])
    answer = np.einsum("oi,nihw->nohw", site.stage.weight[:, :, 0, 0], x.astype(np.float64))
    if site.bias is not None:
        answer += site.bias[:, None, None]
    assert_same([answer.astype(y.dtype)], [seen])
    assert site.weight_shape == (site.stage.out_channels, site.stage.in_channels)


def test_a_planted_rank_is_found_and_lossless() -> None:
    weight = normal(20, 3) @ normal(3, 30)
    for body, kind in (("y = Gemm(x, w)", GEMM), ("y = MatMul(x, w)", MATMUL)):
        proto = model(body, "float[N,20] x", "float[N,30] y", w=weight)
        prepared, (site,) = opened(proto)
        assert site.kind == kind
        assert site.stage is not None
        decomposition = by_name("channel-out").decompose(site.stage)
        assert decomposition.error((2,)) > 1e-2
        assert decomposition.error((3,)) < 1e-6
        factors = Factorization(decomposition.build((3,)))
        rebuilt = rebuild(prepared, [Replacement(site, factors, {})])
        assert_same(run(rebuilt.model, {"x": normal(5, 20)}), run(proto, {"x": normal(5, 20)}))


def test_sites_that_share_a_weight_are_replaced_each() -> None:
    proto = model(
        "a = Gemm(x, w)  b = MatMul(a, w)  y = Gemm<transB = 1>(b, w)",
        "float[N,9] x",
        "float[N,9] y",
        w=normal(9, 9) / np.float32(3),
    )
    prepared, sites = opened(proto)
    full = by_name("channel-out")
    replacements = []
    for site in sites[1:]:
        assert site.stage is not None
        replacements.append(
            Replacement(site, Factorization(full.decompose(site.stage).build((9,)), site.bias), {})
        )
    rebuilt = rebuild(prepared, replacements)
    assert "w" in rebuilt.model.graph.initializers
    assert_same(run(rebuilt.model, {"x": normal(4, 9)}), run(proto, {"x": normal(4, 9)}))


def test_there_was_no_bias_of_a_product_before_opset_7() -> None:
    proto = model("y = MatMul(x, w)", "float[N,9] x", "float[N,9] y", opset=6, w=normal(9, 9))
    (site,) = opened(proto)[1]
    assert str(site.skipped) == "it is of opset 6, in which onnxruntime adds no bias to a product"


def test_nothing_is_listed_unless_asked_for() -> None:
    proto = model("a = Gemm(x, w)  y = MatMul(a, w)", "float[N,9] x", "float[N,9] y", w=normal(9, 9))
    assert survey(prepare(ir.from_proto(proto))) == []
    assert len(opened(proto)[1]) == 2


SKIPPED = {
    "transA": ("y = Gemm<transA = 1>(x, w)", {"w": normal(5, 4)}, "it transposes what it reads"),
    "an enormous factor": (
        "y = Gemm<alpha = 1e20>(x, w)",
        {"w": normal(6, 4)},
        "its weight times its alpha of 1e+20 holds numbers too large",
    ),
    "a column": ("y = Gemm(x, w, c)", {"w": normal(6, 4), "c": normal(5, 1)}, "(of shape (5, 1), for 4)"),
    "a row each": ("y = Gemm(x, w, c)", {"w": normal(6, 4), "c": normal(5, 4)}, "(of shape (5, 4), for 4)"),
    "a computed bias": (
        "d = RandomNormalLike(c)  y = Gemm(x, w, d)",
        {"w": normal(6, 4), "c": normal(4)},
        "its bias is not a constant: it is computed by RandomNormalLike",
    ),
    "activations": ("t = Transpose(x)  y = MatMul(x, t)", {}, "it is computed by Transpose"),
    "the other way round": ("y = MatMul(w, x)", {"w": normal(4, 5)}, "it reads a constant"),
    "many matrices": ("y = MatMul(x, w)", {"w": normal(2, 6, 4)}, "its weight has 3 axes"),
    "a vector": ("y = MatMul(x, w)", {"w": normal(6)}, "its weight has 1 axes"),
    "integers": ("y = MatMul(x, w)", {"w": np.ones((6, 4), np.int32)}, "its weight is of type int32"),
}


@pytest.mark.parametrize(("body", "weights", "said"), SKIPPED.values(), ids=SKIPPED.keys())
def test_what_is_skipped_says_why(body: str, weights: dict[str, np.ndarray], said: str) -> None:
    prepared = prepare(ir.from_proto(model(body, "float[5,6] x", "float[P,Q] y", **weights)))
    (site,) = survey(prepared, linear_layers=True)
    assert site.skipped is not None
    assert said in str(site.skipped)
    assert (site.stage, site.output) == (None, "y")


FOLLOWED = {
    "a bias": ("z = MatMul(x, w)  y = Add(z, c)", ["MatMul", "MatMul", "Add"]),
    "a bias before": ("z = MatMul(x, w)  y = Add(c, z)", ["MatMul", "MatMul", "Add"]),
    "a shortcut": ("z = MatMul(x, w)  y = Add(z, x)", ["MatMul", "MatMul", "Add", "Add"]),
    "a bias and more": (
        "z = MatMul(x, w)  a = Add(z, c)  y = Mul(a, z)",
        ["MatMul", "MatMul", "Add", "Add", "Mul"],
    ),
    "an activation": (
        "z = MatMul(x, w)  a = Relu(z)  y = Add(a, c)",
        ["MatMul", "MatMul", "Add", "Relu", "Add"],
    ),
    "many rows": ("z = MatMul(x, w)  y = Add(z, rows)", ["MatMul", "MatMul", "Add", "Add"]),
    "a number": ("z = MatMul(x, w)  y = Add(z, number)", ["MatMul", "MatMul", "Add"]),
}


@pytest.mark.parametrize(("body", "operators"), FOLLOWED.values(), ids=FOLLOWED.keys())
def test_a_bias_from_fitting_joins_the_one_behind(body: str, operators: list[str]) -> None:
    constants = {"w": normal(6, 6), "c": normal(6), "rows": normal(5, 6), "number": normal(1)}
    used = {name: constants[name] for name in re.findall(r"\w+", body) if name in constants}
    proto = model(body, "float[N,5,6] x", "float[N,5,6] y", **used)
    prepared, (site,) = opened(proto)
    assert site.stage is not None
    bias = normal(6, seed=1).astype(np.float64)
    decomposition = by_name("channel-out").decompose(site.stage)
    rebuilt = rebuild(prepared, [Replacement(site, Factorization(decomposition.build((6,)), bias), {})])
    check(rebuilt.model)
    assert [node.op_type for node in rebuilt.model.graph] == operators
    moved = model(
        "m = MatMul(x, w)  " + body.replace("MatMul(x, w)", "Add(m, b)"),
        "float[N,5,6] x",
        "float[N,5,6] y",
        b=bias.astype(np.float32),
        **used,
    )
    x = {"x": normal(2, 5, 6)}
    assert_same(run(rebuilt.model, x), run(moved, x))


@pytest.mark.parametrize("factor", [np.inf, np.nan])
def test_a_factor_that_is_no_number_is_a_broken_weight(factor: float) -> None:
    proto = model(
        "y = Gemm<beta = 2.0>(x, w, c)",
        "float[N,6] x",
        "float[N,4] y",
        w=normal(6, 4),
        c=np.eye(4, dtype=np.float32)[0],
    )
    proto.graph.node[0].attribute[0].f = factor
    (site,) = survey(ir.from_proto(proto), linear_layers=True)
    assert site.broken
    assert "NaN or infinite" in str(site.skipped)


ROWS = "float[N,64]"
LAYERS = {"w": normal(64, 64) / 8, "u": normal(64, 64, seed=1) / 8, "c": normal(64, seed=2)}
HELD = {
    "loop": f"""b = Loop(three, yes, x) <body = l (int64 i, bool k, {ROWS} s) => (bool d, {ROWS} r) {{
                  d = Identity(k)  [inner] f = MatMul(s, w)  g = Add(f, c)  h = Relu(g)
                  [second] m = Gemm<alpha = 0.5>(h, u, c)  r = Tanh(m) }}>  y = Neg(b)""",
    "if": f"""b = If(q) <then_branch = t () => ({ROWS} r) {{ [inner] f = MatMul(x, w)  g = Add(f, c)
                  [second] r = Gemm<transB = 1>(g, u, c) }},
                else_branch = e () => ({ROWS} n) {{ n = Neg(x) }}>  y = Tanh(b)""",
}


def held(name: str) -> onnx.ModelProto:
    inputs = f"{ROWS} x, bool q" if name == "if" else f"{ROWS} x"
    trips = {} if name == "if" else {"three": np.array(3), "yes": np.array(True)}
    return model(HELD[name], inputs, f"{ROWS} y", **LAYERS, **trips)


def feed_of(name: str, rows: int) -> dict[str, np.ndarray]:
    return {"x": normal(rows, 64)} | ({"q": np.array(True)} if name == "if" else {})


@pytest.mark.parametrize("name", HELD)
def test_those_of_a_body_are_rebuilt_too(name: str) -> None:
    proto = held(name)
    prepared, sites = opened(proto)
    assert [(site.name, site.skipped, site.nested) for site in sites] == [
        ("inner", None, True),
        ("second", None, True),
    ]
    replacements = [
        Replacement(
            site, Factorization(by_name("channel-out").decompose(site.stage).build((64,)), site.bias), {}
        )
        for site in sites
    ]
    rebuilt = rebuild(prepared, replacements).model
    check(rebuilt)
    assert_same(run(rebuilt, feed_of(name, 5)), run(proto, feed_of(name, 5)))


@pytest.mark.parametrize("name", HELD)
def test_those_of_a_body_go_the_whole_way(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_faster(monkeypatch.setattr)
    data = [feed_of(name, 1) | {"x": row[None]} for row in normal(24, 64, seed=3)]
    result = attempt(
        held(name), tmp_path / "out.onnx", data=data, rank=16, linear_layers=True, scheme=["channel-out"]
    )
    assert not isinstance(result, str), result
    assert [(layer.name, layer.replaced) for layer in result.report.layers] == [
        ("inner", True),
        ("second", True),
    ]
    found = onnx.load(tmp_path / "out.onnx")
    check(found)
    assert run(found, feed_of(name, 5))[0].shape == (5, 64)


def test_a_body_is_of_the_operator_set_of_its_model() -> None:
    proto = held("loop")
    proto.opset_import[0].version = 6
    assert {str(site.skipped) for site in opened(proto)[1]} == {
        "it is of opset 6, in which onnxruntime adds no bias to a product"
    }
