"""GELU by its tanh, as exporters write it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest

from tests.graph.build import model, normal
from tests.graph.rewrites.rewriting import assert_rewrites, assert_stays, operators

END = "t = Tanh (z)  u = Add (t, one)"
SPELLED = {
    "jax": "a = Mul (k, x)  b = Mul (x, a)  d = Mul (x, b)  s = Add (x, d)  z = Mul (c, s)"
    f"  {END}  h = Mul (half, u)  y = Mul (x, h)",
    "torch": "p = Pow (x, three)  a = Mul (p, k)  s = Add (a, x)  z = Mul (s, c)"
    f"  {END}  h = Mul (x, half)  y = Mul (h, u)",
    "halved last": f"p = Mul (x, x)  q = Mul (p, x)  a = Mul (k, q)  s = Add (x, a)  z = Mul (s, c)"
    f"  {END}  h = Mul (u, x)  y = Mul (h, half)",
    "divided": f"p = Pow (x, two)  q = Mul (p, x)  a = Mul (k, q)  s = Add (x, a)  z = Mul (s, c)"
    f"  {END}  h = Mul (u, x)  y = Div (h, two)",
    "of a product": f"p = Mul (v, v)  q = Mul (p, v)  a = Mul (k, q)  s = Add (v, a)  z = Mul (s, c)"
    f"  {END}  h = Mul (u, v)  y = Mul (h, half)",
}


def gelu(
    body: str, kind: str = "float", opset: int = 17, outer: float = 0.7978846, **more: Any
) -> onnx.ModelProto:
    dtype = np.float16 if kind == "float16" else np.float32
    numbers = {"k": 0.044715, "c": outer, "half": 0.5, "one": 1, "two": 2, "three": 3} | more
    return model(
        f"v = Mul (x, x0)  {body.replace('(x', '(v').replace(', x)', ', v)')}",
        f"{kind}[N, 5, 6] x",
        f"{kind}[N, 5, 6] y",
        opset=opset,
        x0=dtype(1.5),
        **{name: dtype(number) for name, number in numbers.items()},
    )


@pytest.mark.parametrize("body", SPELLED.values(), ids=SPELLED)
@pytest.mark.parametrize("kind", ["float", "float16"])
def test_however_it_is_spelled(body: str, kind: str) -> None:
    feed = {"x": normal(2, 5, 6, dtype=np.float16 if kind == "float16" else np.float32)}
    result = assert_rewrites(gelu(body, kind), feed, "gelu-tanh")
    assert "Tanh" not in operators(result)


def test_the_operator_where_there_is_one() -> None:
    feed = {"x": normal(2, 5, 6)}
    assert operators(assert_rewrites(gelu(SPELLED["jax"], opset=20), feed, "gelu-tanh")) == ["Mul", "Gelu"]
    other = gelu(SPELLED["jax"], opset=20, outer=math.sqrt(2))
    assert "Gelu" not in operators(assert_rewrites(other, feed, "gelu-tanh"))


@pytest.mark.parametrize("number", ["half", "one"])
def test_other_numbers(number: str) -> None:
    assert_stays(gelu(SPELLED["jax"], **{number: 0.6}), "gelu-tanh")


def test_another_power() -> None:
    assert_stays(gelu(SPELLED["torch"].replace("three", "two")), "gelu-tanh")


def test_another_value_outside() -> None:
    assert_stays(gelu(SPELLED["jax"].replace("y = Mul (x, h)", "y = Mul (z, h)")), "gelu-tanh")
