"""Activations that leave the blocked layout, and what takes their place."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.graph.build import assert_same, model, normal, run
from tests.graph.rewrites.rewriting import assert_rewrites, assert_stays, operators, rewritten

FEED = {"x": normal(2, 16, 6, 5)}


def between(
    body: str, *, opset: int = 17, kind: str = "float", outputs: str = "", channels: int = 16, **more: Any
) -> onnx.ModelProto:
    """Something between two convolutions, which reads ``a`` and writes ``t``."""
    dtype = np.float16 if kind == "float16" else np.float32
    weights = {"w": normal(channels, 16, 3, 3) / 8, "v": normal(16, channels, 3, 3, seed=1) / 8, **more}
    return model(
        f"a = Conv <pads = [1, 1, 1, 1]> (x, w)  {body}  y = Conv (t, v)",
        f"{kind}[N, 16, 6, 5] x",
        f"{kind}[N, 16, P, Q] y{outputs}",
        opset=opset,
        **{name: w.astype(dtype) if w.dtype.kind == "f" else w for name, w in weights.items()},
    )


def slopes(*shape: int, seed: int = 5) -> np.ndarray:
    return normal(*shape, seed=seed)


@pytest.mark.parametrize("opset", [7, 9, 16, 20])
@pytest.mark.parametrize("shape", [(16, 1, 1), (1, 16, 1, 1)])
@pytest.mark.parametrize("most", [1.0, 3.0])
def test_prelu(opset: int, shape: tuple[int, ...], most: float) -> None:
    p = np.minimum(2 * slopes(*shape), most)
    result = assert_rewrites(between("t = PRelu (a, p)", opset=opset, p=p), FEED, "prelu")
    assert operators(result).count("Conv") == (3 if p.max() <= 1 else 4)


@given(p=arrays.arrays(np.float32, (16, 1, 1), elements=st.floats(-10, 10, width=32)))
@settings(max_examples=15)
def test_prelu_of_any_slope(p: np.ndarray) -> None:
    proto = between("t = PRelu (a, p)", p=p)
    assert_same(run(rewritten(proto, "prelu").model, FEED), run(proto, FEED))


def test_prelu_in_half_precision() -> None:
    proto = between("t = PRelu (a, p)", kind="float16", p=slopes(16, 1, 1))
    assert_rewrites(proto, {"x": normal(2, 16, 6, 5, dtype=np.float16)}, "prelu")


@pytest.mark.parametrize(
    ("body", "more", "reason"),
    [
        ("t = PRelu (a, p)", {"p": slopes(5)}, "not one per channel"),
        ("r = Reshape (a, s)  q = PRelu (r, p)  t = Reshape (q, z)",
         {"p": slopes(16, 1), "s": np.array([0, 16, -1]), "z": np.array([0, 16, 6, 5])}, "not one per"),
        ("b = Softplus (a)  t = PRelu (b, p)", {"p": slopes(16, 1, 1)}, "not in the blocked layout"),
        ("p = ReduceMax <axes = [0, 2, 3]> (a)  t = PRelu (a, p)", {}, "not constant"),
    ],
    ids=["of columns", "of rows", "no convolution", "computed"],
)  # fmt: skip
def test_prelu_stays(body: str, more: dict[str, Any], reason: str) -> None:
    assert_stays(between(body, **more), "prelu", reason)


def test_prelu_of_an_output() -> None:
    proto = between(
        "t = PRelu (a, p)", outputs=", float[N, 16, 6, 5] a, float[N, 16, 6, 5] t", p=slopes(16, 1, 1)
    )
    assert_rewrites(proto, FEED, "prelu")


LEAKY = {
    "max": ("m = Mul (a, k)  t = Max (a, m)", 0.1),
    "max the other way round": ("m = Mul (k, a)  t = Max (m, a)", 0.0),
    "min": ("m = Mul (a, k)  t = Min (a, m)", 1.5),
    "prelu of one slope": ("t = PRelu (a, k)", 0.2),
    "prelu of equal slopes": ("t = PRelu (a, e)", 0.2),
    "prelu of a slope below zero": ("t = PRelu (a, k)", -0.3),
}


@pytest.mark.parametrize(("body", "slope"), LEAKY.values(), ids=LEAKY)
@pytest.mark.parametrize("kind", ["float", "float16"])
def test_leaky_relu(body: str, slope: float, kind: str) -> None:
    proto = between(body, kind=kind, k=np.float32([slope]), e=np.full((16, 1, 1), slope))
    feed = {"x": FEED["x"].astype(np.float16 if kind == "float16" else np.float32)}
    assert operators(assert_rewrites(proto, feed, "leaky-relu")) == ["Conv", "LeakyRelu", "Conv"]


@pytest.mark.parametrize(
    ("body", "slope"),
    [
        ("m = Mul (a, k)  t = Max (a, m)", 1.5),
        ("m = Mul (a, k)  t = Max (a, m)", -0.5),
        ("m = Mul (a, k)  t = Min (a, m)", 0.5),
        ("b = Neg (a)  m = Mul (b, k)  t = Max (a, m)", 0.5),
    ],
)
def test_what_is_not_leaky_relu(body: str, slope: float) -> None:
    assert_stays(between(body, k=np.float32(slope)), "leaky-relu")


BOUNDS = {
    "max": ("t = Max (a, k)", 1),
    "min": ("t = Min (k, a)", 1),
    "both": ("m = Max (a, k)  t = Min (m, l)", 1),
    "behind an activation": ("r = LeakyRelu (a)  t = Max (r, k)", 1),
    "a clip behind an activation": ("r = Tanh (a)  t = Clip (r, k, l)", 1),
    "a clip of a sum": ("r = Relu (a)  s = Mul (r, r)  t = Clip (s, k)", 1),
}


@pytest.mark.parametrize(("body", "times"), BOUNDS.values(), ids=BOUNDS)
def test_bounds(body: str, times: int) -> None:
    proto = between(body, k=np.float32(-0.2), l=np.float32(0.3))
    assert_rewrites(proto, FEED, "clip", times)


@pytest.mark.parametrize("opset", [8, 10])
def test_bounds_of_old(opset: int) -> None:
    assert_rewrites(between("t = Max (a, k)", opset=opset, k=np.float32(-0.2)), FEED, "clip")


@pytest.mark.parametrize("body", ["t = Clip (a, k, l)", "t = Max (a, c)", "t = Relu (a)"])
def test_what_is_fused_or_of_a_channel_stays(body: str) -> None:
    assert_stays(between(body, k=np.float32(-0.2), l=np.float32(0.3), c=normal(16, 1, 1)), "clip")


def test_a_leaky_relu_by_itself() -> None:
    proto = between("s = Tanh (a)  t = LeakyRelu <alpha = 0.3> (s)")
    assert_rewrites(proto, FEED, "carry-leaky-relu")
    assert_stays(between("t = LeakyRelu <alpha = 0.3> (a)"), "carry-leaky-relu")


POOLS = {
    "prelu": ("r = PRelu (a, p)", {"p": np.abs(slopes(16, 1, 1))}),
    "one slope": ("r = PRelu (a, p)", {"p": np.float32([0.2])}),
    "elu": ("r = Elu <alpha = 0.5> (a)", {}),
    "selu": ("r = Selu (a)", {}),
    "softplus": ("r = Softplus (a)", {}),
}
POOL = "t = MaxPool <kernel_shape = [2, 2], pads = [1, 0, 0, 1]> (r)"


@pytest.mark.parametrize(("body", "more"), POOLS.values(), ids=POOLS)
def test_a_pool_first(body: str, more: dict[str, Any]) -> None:
    assert_rewrites(between(f"{body}  {POOL}", **more), FEED, "pool-first")


FALLING = {
    "a slope below zero": ("r = PRelu (a, p)", {"p": slopes(16, 1, 1)}, "falls"),
    "a slope per column": ("r = PRelu (a, p)", {"p": np.abs(slopes(5))}, "falls"),
    "another reader": ("q = Softplus (a)  r = Add (q, a)", {}, None),
    "a sine": ("r = Sin (a)", {}, None),
}


@pytest.mark.parametrize(("body", "more", "reason"), FALLING.values(), ids=FALLING)
def test_a_pool_stays(body: str, more: dict[str, Any], reason: str | None) -> None:
    assert_stays(between(f"{body}  {POOL}", **more), "pool-first", reason)


MISHES = {
    "softplus": ("s = Softplus (x)  g = Tanh (s)  y = Mul (x, g)", 13),
    "softplus written out": ("e = Exp (x)  o = Add (e, one)  s = Log (o)  g = Tanh (s)  y = Mul (x, g)", 13),
    "the gate alone": ("s = Softplus (x)  y = Tanh (s)", 9),
    "an operator": ("y = Mish (x)", 18),
}


@pytest.mark.parametrize(("body", "opset"), MISHES.values(), ids=MISHES)
@pytest.mark.parametrize("kind", ["float", "float16"])
def test_mish(body: str, opset: int, kind: str) -> None:
    dtype = np.float16 if kind == "float16" else np.float32
    proto = model(body, f"{kind}[N, 7] x", f"{kind}[N, 7] y", opset=opset, one=dtype(1))
    x = np.concatenate([8 * normal(20, 7), [[-60, -30, -5, 0, 5, 30, 60]]]).astype(dtype)
    if kind == "float16":  # beyond, the exponential of the reference overflows
        x = np.clip(x, -9, 9)
    assert_rewrites(proto, {"x": x}, "mish")


@pytest.mark.parametrize("body", ["s = Sigmoid (x)  y = Tanh (s)", "e = Exp (x)  s = Log (e)  y = Tanh (s)"])
def test_what_is_not_mish(body: str) -> None:
    assert_stays(model(body, "float[N, 7] x", "float[N, 7] y"), "mish")
