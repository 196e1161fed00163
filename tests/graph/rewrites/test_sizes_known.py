"""Numbers that follow from sizes, and branches."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.graph.build import model, normal
from tests.graph.rewrites.rewriting import assert_rewrites, assert_stays, operators

NUMBERS = {
    "i0": np.array(0),
    "i1": np.array([1]),
    "i2": np.array(2),
    "two": np.array([2]),
    "k": np.array([-1]),
}
FEED = {"x": normal(2, 6, 5)}


def sized(
    body: str, outputs: str = "float[A, B, C] y", opset: int = 17, **more: np.ndarray
) -> onnx.ModelProto:
    weights = {name: array for name, array in (NUMBERS | more).items() if f"{name}" in body}
    return model(body, "float[N, 6, T] x", outputs, opset=opset, **weights)


END = "y = Reshape (x, z)"
FOLDED = {
    "half of a known size": f"""s = Shape (x)  g = Gather (s, i1)  h = Div (g, two)
        z = Concat <axis = 0> (i1, h, k)  {END}""",
    "a piece of them": f"""s = Shape (x)  g = Slice (s, i1, two)  h = Mul (g, i1)
        z = Concat <axis = 0> (h, k, i1)  {END}""",
    "backwards": f"""c = ConstantOfShape <value = int64[1] {{3}}> (i1)  d = Concat <axis = 0> (c, pair)
        z = Slice (d, k, low, zero, k)  {END}""",
    "turned": f"""c = Reshape (row, square)  t = Transpose (c)  f = Reshape (t, k)
        z = Slice (f, zero, three)  {END}""",
}
ROWS = {
    "low": np.array([-(2**63) + 1]),
    "zero": np.array([0]),
    "three": np.array([3]),
    "row": np.array([-1, 5, 2, 1]),
    "pair": np.array([5, 2]),
    "square": np.array([2, 2]),
}


@pytest.mark.parametrize("body", FOLDED.values(), ids=FOLDED)
@pytest.mark.parametrize("opset", [11, 13, 18])
def test_numbers_become_constants(body: str, opset: int) -> None:
    proto = sized(body, opset=opset, **{name: row for name, row in ROWS.items() if name in body})
    result = assert_rewrites(proto, {"x": normal(1, 6, 5)}, "sizes-known", None)
    assert operators(result) == ["Reshape"]


def test_open_sizes_are_kept() -> None:
    body = (
        "s = Shape (x)  n = Gather (s, i0)  t = Gather (s, i2)"
        "  a = Unsqueeze (n, zero)  b = Unsqueeze (t, zero)"
        "  m = Mul (b, two)  z = Concat <axis = 0> (a, three, m)  y = Reshape (x, z)"
    )
    proto = sized(body, zero=ROWS["zero"], three=ROWS["three"])
    result = assert_rewrites(proto, FEED, "sizes-known")
    assert operators(result) == ["Reshape"]
    assert result.model.graph.node(0).inputs[1].const_value.numpy().tolist() == [0, 3, -1]


def test_two_that_are_not_known_stay() -> None:
    body = (
        "s = Shape (x)  n = Gather (s, i0)  t = Gather (s, i2)"
        "  a = Unsqueeze (n, zero)  b = Unsqueeze (t, zero)"
        "  z = Concat <axis = 0> (b, a, six)  y = Reshape (x, z)"
    )
    assert_stays(sized(body, zero=ROWS["zero"], six=np.array([6])), "sizes-known")


BRANCH = """c = Equal (g, one)  z = If (c) <
  then_branch = t () => (float[A, B] u) {{ v = Squeeze (x, one)  u = {inner} }},
  else_branch = e () => (float[A, B, C] w) {{ w = Neg (x) }}
>  y = Relu (z)"""


def branched(index: int, inner: str = "Mul (v, v)", sizes: str = "A, B") -> onnx.ModelProto:
    """By a size of (N, 1, T): the row squeezed, or not."""
    body = f"s = Shape (x)  g = Gather (s, index)  {BRANCH.format(inner=inner)}"
    return model(body, "float[N, 1, T] x", f"float[{sizes}] y", one=np.array([1]), index=np.array([index]))


@pytest.mark.parametrize(
    ("inner", "ends"), [("Mul (v, v)", ["Squeeze", "Mul"]), ("Relu (v)", ["Squeeze", "Relu"])]
)
def test_a_branch_that_is_decided(inner: str, ends: list[str]) -> None:
    result = assert_rewrites(branched(1, inner), {"x": normal(2, 1, 5)}, "sizes-known", None)
    assert operators(result) == [*ends, "Identity", "Relu"]


def test_the_other_branch() -> None:
    body = f"c = Equal (one, two)  z = If (c) <{BRANCH.split('<', 1)[1].format(inner='Mul (v, v)')}"
    proto = model(body, "float[N, 1, T] x", "float[A, B, C] y", one=np.array([1]), two=np.array([2]))
    assert operators(assert_rewrites(proto, {"x": normal(2, 1, 5)}, "sizes-known", None)) == [
        "Neg",
        "Identity",
        "Relu",
    ]


def test_a_branch_that_is_open() -> None:
    assert_stays(branched(2), "sizes-known")


@pytest.mark.parametrize(("a", "b"), [(7, 2), (-7, 2), (7, -2), (-8, 2)])
def test_whole_numbers_are_divided_as_onnxruntime_does(a: int, b: int) -> None:
    body = "d = Div (p, q)  f = Cast <to = 1> (d)  y = Add (x, f)"
    proto = model(body, "float[2] x", "float[2] y", p=np.array([a]), q=np.array([b]))
    assert_rewrites(proto, {"x": normal(2)}, "sizes-known")
