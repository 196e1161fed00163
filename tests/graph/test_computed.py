"""Weights that follow from constants are read as what they come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sepfactor.graph.prepare import prepare
from sepfactor.graph.survey import Site, survey
from tests.graph.build import model, normal, run
from tests.robustness.way import assert_near, attempt, pretend_faster

X, Y = "float[N,4,9,8] x", "float[N,C,P,Q] y"
V, G = normal(6, 4, 3, 3), normal(6, 1, 1, 1)
A, B = normal(6), normal(36, seed=1)
NORM = np.sqrt((V**2).sum(axis=(1, 2, 3), keepdims=True))
AXES = np.array([1, 2, 3])

KNOWN: dict[str, tuple[str, dict[str, Any], np.ndarray]] = {
    "stored in half precision": ("w = Cast<to = 1>(v)", {"v": V.astype(np.float16)}, V.astype(np.float16)),
    "stored in bfloat16": (
        "w = Cast<to = 1>(v)",
        {"v": V.astype(ml_dtypes.bfloat16)},
        V.astype(ml_dtypes.bfloat16),
    ),
    "stored with channels last": (
        "w = Transpose<perm = [3,2,0,1]>(v)",
        {"v": V.transpose(2, 3, 1, 0)},
        V,
    ),
    "stored flat": ("w = Reshape(v, s)", {"v": V.ravel(), "s": np.array([6, 4, 3, 3])}, V),
    "normalised": (
        "n = ReduceL2<axes = [1,2,3], keepdims = 1>(v)  d = Div(v, n)  w = Mul(g, d)",
        {"v": V, "g": G},
        V / NORM * G,
    ),
    "standardised": (
        """m = ReduceMean<axes = [1,2,3], keepdims = 1>(v)  c = Sub(v, m)  q = Mul(c, c)
           r = ReduceMean<axes = [1,2,3], keepdims = 1>(q)  t = Sqrt(r)  w = Div(c, t)""",
        {"v": V},
        (V - V.mean((1, 2, 3), keepdims=True)) / V.std((1, 2, 3), keepdims=True),
    ),
    "negated": ("w = Neg(v)", {"v": V}, -V),
    "spectrally normalised": (
        "f = Reshape(v, s)  q = MatMul(f, b)  n = MatMul(a, q)  w = Div(v, n)",
        {"v": V, "s": np.array([6, -1]), "a": A, "b": B},
        V / (A @ V.reshape(6, -1) @ B),
    ),
    "standardised by an instance norm": (
        "f = Reshape(v, s)  i = InstanceNormalization<epsilon = 1e-6>(f, ones, zeros)  w = Reshape(i, t)",
        {
            "v": V,
            "s": np.array([1, 6, -1]),
            "t": np.array([6, 4, 3, 3]),
            "ones": np.ones(6, np.float32),
            "zeros": np.zeros(6, np.float32),
        },
        (V - V.mean((1, 2, 3), keepdims=True)) / V.std((1, 2, 3), keepdims=True),
    ),
    "waves": (
        "p = Mul(v, v)  t = Sin(p)  c = Cos(v)  w = Max(t, c)",
        {"v": V},
        np.maximum(np.sin(V * V), np.cos(V)),
    ),
    "picked out of a bank": (
        "g = Gather<axis = 0>(v, i)  w = Tile(g, r)",
        {"v": V[:3], "i": np.array([2, 0, 1]), "r": np.array([2, 1, 1, 1])},
        np.tile(V[[2, 0, 1]], (2, 1, 1, 1)),
    ),
    "by an operator that few know": ("w = Trilu(v)", {"v": V}, np.triu(V)),
    "from Constant nodes": (
        "two = Constant<value = float {2.0}>()  h = Mul(v, two)  w = Add(h, h)",
        {"v": V},
        4 * V,
    ),
}


FLAT = {"v": V[:4].ravel(), "s": np.array([4, 4, 3, 3]), "k": np.float32(3)}
IN_A_LOOP = {
    "all of it": ("", "r = Reshape(v, s)  w = Mul(r, k)"),
    "half of it": ("r = Reshape(v, s)", "w = Mul(r, k)"),
    "half of it, of a Constant": (
        "r = Reshape(v, s)",
        "c = Constant<value = float {3.0}>()  w = Mul(r, c)",
    ),
    "none of it": ("r = Reshape(v, s)  w = Mul(r, k)", ""),
}


def only(body: str, weights: dict[str, Any]) -> tuple[Site, onnx.ModelProto]:
    proto = model(f"{body}  [k] y = Conv<pads = [1,1,1,1]>(x, w)", X, Y, **weights)
    (site,) = survey(prepare(ir.from_proto(proto)))
    return site, proto


@pytest.mark.parametrize(("body", "weights", "expected"), KNOWN.values(), ids=KNOWN.keys())
def test_they_are_known(body: str, weights: dict[str, Any], expected: np.ndarray) -> None:
    site, _ = only(body, weights)
    assert site.skipped is None
    assert site.stage is not None
    assert site.dtype == np.float32
    np.testing.assert_allclose(site.stage.weight, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", KNOWN)
def test_what_computed_them_goes_with_the_layer(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_faster(monkeypatch.setattr)
    body, weights, _ = KNOWN[name]
    _, proto = only(body, weights)
    data = {"x": normal(4, 4, 9, 8)}
    result = attempt(proto, tmp_path / "out.onnx", data=data, rank=2, scheme=["spatial"], overwrite=True)
    assert not isinstance(result, str), result
    assert {node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node} == {"Conv"}
    result = attempt(proto, tmp_path / "out.onnx", data=data, max_error=0, overwrite=True)
    assert not isinstance(result, str), result
    if result.path is not None:
        assert_near(run(onnx.load(result.path), data)[0], run(proto, data)[0], {"float32": 1e-4})


UNKNOWN: dict[str, tuple[str, dict[str, Any], str]] = {
    "by chance": ("w = RandomNormal<shape = [6,4,3,3]>()", {}, "computed by RandomNormal"),
    "by chance, if in training": (
        "w = Dropout(v, half, yes)",
        {"v": V, "half": np.float32(0.5), "yes": np.array(True)},
        "computed by Dropout",
    ),
    "from what is quantised": (
        "f = DequantizeLinear(q, s)  w = Neg(f)",
        {"q": np.ones((6, 4, 3, 3), np.int8), "s": np.float32(0.1)},
        "computed by Neg",
    ),
    "by a product that takes minutes": (
        """c = ConstantOfShape <value = float[1] {1.0}> (l)  d = MatMul(c, c)  m = ReduceMean<keepdims = 0>(d)
           w = Mul(v, m)""",
        {"v": V, "l": np.array([8192, 8192])},
        "computed by Mul",
    ),
    "from what is fed": (
        "m = ReduceMean<keepdims = 0>(x)  w = Mul(v, m)",
        {"v": V},
        "computed by Mul",
    ),
    "into something huge": (
        "h = Mul(a, b)  s = ReduceSum<keepdims = 0>(h)  w = Mul(v, s)",
        {"v": V, "a": np.ones((2**14, 1), np.float32), "b": np.ones((1, 2**14), np.float32)},
        "computed by Mul",
    ),
    "in more steps than anybody needs": (
        "  ".join(f"{'v' if i == 0 else 'a'}{i + 1} = Abs({'v' if i == 0 else 'a'}{i})" for i in range(1))
        + "  a1 = Abs(v1)  "
        + "  ".join(f"a{i + 1} = Add(a{i}, a{i})" for i in range(1, 290))
        + "  w = Identity(a290)",
        {"v0": V},
        "computed by Identity",
    ),
    "wrongly": ("w = Reshape(v, s)", {"v": V, "s": np.array([6, 4, 3, 2])}, "computed by Reshape"),
}


@pytest.mark.parametrize(("body", "weights", "reason"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_they_are_not_known(body: str, weights: dict[str, Any], reason: str) -> None:
    site, _ = only(body, weights)
    assert reason in str(site.skipped)


def test_not_a_number_is_told() -> None:
    site, _ = only("z = Sub(v, v)  w = Div(v, z)", {"v": V})
    assert "NaN or infinite" in str(site.skipped)
    assert site.broken


def test_a_bias_too() -> None:
    proto = model("c = Cast<to = 1>(h)  y = Conv(x, w, c)", X, Y, w=V, h=np.arange(6, dtype=np.float16))
    (site,) = survey(prepare(ir.from_proto(proto)))
    np.testing.assert_array_equal(site.bias, np.arange(6))


@pytest.mark.parametrize(("outside", "inside"), IN_A_LOOP.values(), ids=IN_A_LOOP.keys())
def test_those_of_a_body(outside: str, inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_faster(monkeypatch.setattr)
    proto = model(
        f"""{outside} y = Loop(three, yes, x) <body = l (int64 i, bool a, float[N,4,9,8] b) => (
            bool d, float[N,4,9,8] e) {{ d = Identity(a)  {inside}
            [k] f = Conv<pads = [1,1,1,1]>(b, w)  e = Tanh(f) }}>""",
        X, Y, three=np.array(3), yes=np.array(True), **FLAT,
    )  # fmt: skip
    (site,) = survey(prepare(ir.from_proto(proto)))
    assert site.skipped is None
    assert site.stage is not None
    np.testing.assert_array_equal(site.stage.weight.ravel(), 3 * FLAT["v"])
    data = {"x": normal(6, 4, 9, 8)}
    result = attempt(proto, tmp_path / "out.onnx", data=data, rank=2, scheme=["channel-out"])
    assert not isinstance(result, str), result
    assert result.report.totals.replaced == 1
    found = onnx.load(tmp_path / "out.onnx")
    (loop,) = found.graph.node
    (body,) = [attribute.g for attribute in loop.attribute if attribute.name == "body"]
    assert {node.op_type for node in body.node} <= {"Conv", "Identity", "Tanh"}
    assert np.isfinite(run(found, data)[0]).all()


def test_what_a_body_makes_huge_is_not_computed() -> None:
    proto = model(
        """y = Loop(three, yes, x) <body = l (int64 i, bool a, float[N,4,9,8] b) => (
            bool d, float[N,4,9,8] e) { d = Identity(a)  h = Expand(k, s)  m = ReduceMean<keepdims = 0>(h)
            w = Mul(v, m)  f = Conv(b, w)  e = Tanh(f) }>""",
        X, Y, three=np.array(3), yes=np.array(True),
        k=np.float32(1), s=np.array([2**20, 2**20]), v=normal(4, 4, 1, 1),
    )  # fmt: skip
    (site,) = survey(prepare(ir.from_proto(proto)))
    assert "computed by Mul" in str(site.skipped)
