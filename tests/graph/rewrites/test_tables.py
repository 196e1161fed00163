"""Embeddings, what is computed of them, and slices of everything."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from tests.graph.build import model, normal
from tests.graph.rewrites.rewriting import assert_rewrites, assert_stays, operators

ROW = np.arange(7, dtype=np.int32).reshape(1, 1, 7)
INDEX = np.array([[[0], [6], [3]], [[-1], [7], [-8]]], np.int32)
"""Two of them are outside on either side."""


def one_hot(
    equal: str = "e = Equal (i, r)",
    row: np.ndarray = ROW,
    index: str = "int32[N, 3, 1] i",
    kind: str = "float",
    opset: int = 17,
) -> onnx.ModelProto:
    dtype = {"float": np.float32, "float16": np.float16, "double": np.float64}[kind]
    number = {"float": 1, "float16": 10, "double": 11}[kind]
    return model(
        f"{equal}  o = Cast <to = {number}> (e)  y = MatMul (o, w)",
        index,
        f"{kind}[N, 3, 4] y",
        opset=opset,
        w=normal(7, 4, dtype=dtype),
        r=row,
        n=np.array([2, 3, 1]),
    )


@pytest.mark.parametrize("kind", ["float", "float16", "double"])
@pytest.mark.parametrize(
    "equal", ["e = Equal (i, r)", "e = Equal (r, i)", "j = Expand (i, n)  e = Equal (j, r)"]
)
@pytest.mark.parametrize("opset", [12, 13, 18])
def test_rows_are_picked(equal: str, kind: str, opset: int) -> None:
    result = assert_rewrites(one_hot(equal, kind=kind, opset=opset), {"i": INDEX}, "one-hot")
    assert operators(result)[-3:] == ["Clip", "Reshape", "Gather"]


def test_rows_by_long_numbers() -> None:
    proto = one_hot(index="int64[N, 3, 1] i", row=np.arange(7))
    assert_rewrites(proto, {"i": INDEX.astype(np.int64) * 2**33}, "one-hot")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"row": ROW + 1}, None),
        ({"row": np.arange(7, dtype=np.float32), "index": "float[N, 3, 1] i"}, "its type"),
        ({"index": "int32[N, 3, 7] i"}, None),
    ],
    ids=["from one on", "of floats", "an index each"],
)
def test_what_is_no_pick(given: dict[str, Any], reason: str | None) -> None:
    assert_stays(one_hot(**given), "one-hot", reason)


OF_ROWS: dict[str, tuple[str, int]] = {
    "a scale": ("y = Mul (t, k)", 1),
    "a shift of its own": ("y = Sub (c, t)", 1),
    "an activation": ("y = Tanh (t)", 1),
    "bounds": ("y = Clip (t, k)", 1),
    "a row of them": ("a = Sqrt (t)  b = Exp (a)  d = Div (b, c)  y = Max (d, k)", 4),
    "twice the same": ("y = Mul (t, t)", 1),
    "two tables": ("u = Gather (v, i)  y = Add (t, u)", 1),
    "swish": ("s = Sigmoid (t)  y = Mul (t, s)", 2),
}


def lookup(body: str, kind: str = "float", **more: Any) -> onnx.ModelProto:
    dtype = np.float16 if kind == "float16" else np.float32
    weights = {
        "w": np.abs(normal(5, 4)),
        "v": normal(5, 4, seed=1),
        "k": np.float32(0.7),
        "c": normal(1, 1, 4),
    }
    weights = {name: array.astype(dtype) for name, array in weights.items()} | more
    return model(f"t = Gather (w, i)  {body}", "int64[N, 3] i", f"{kind}[N, 3, 4] y", **weights)


@pytest.mark.parametrize(("body", "times"), OF_ROWS.values(), ids=OF_ROWS)
@pytest.mark.parametrize("kind", ["float", "float16"])
def test_of_the_table(body: str, times: int, kind: str) -> None:
    result = assert_rewrites(lookup(body, kind), {"i": np.array([[0, 4, -1], [2, 2, -5]])}, "table", times)
    assert operators(result)[-1] == "Gather"
    assert operators(result).count("Gather") == 1


@pytest.mark.parametrize(
    ("body", "more", "reason"),
    [
        ("j = Neg (i)  u = Gather (v, j)  y = Add (t, u)", {}, "different numbers"),
        ("y = Add (t, p)", {"p": normal(3, 4)}, None),
        ("y = Softmax (t)", {}, None),
    ],
    ids=["two indices", "a number for each place", "across the row"],
)
def test_of_rows_alone(body: str, more: dict[str, Any], reason: str | None) -> None:
    assert_stays(lookup(body, **more), "table", reason)


SLICES: dict[str, tuple[list[list[int]], bool]] = {
    "masked": ([[0, 0], [10**9, 2**31 - 1], [0, 2]], True),
    "as long as it is": ([[0], [6], [2]], True),
    "with steps": ([[0, 0], [99, 99], [1, -1], [1, 1]], True),
    "shorter": ([[0], [5], [2]], False),
    "from behind": ([[0], [-1], [2]], False),
    "later": ([[1], [99], [2]], False),
    "every second": ([[0], [99], [2], [2]], False),
    "of an open size": ([[0], [99], [0]], False),
}


@pytest.mark.parametrize(("rows", "is_whole"), SLICES.values(), ids=SLICES)
@pytest.mark.parametrize("opset", [9, 13])
def test_slices_of_everything(rows: list[list[int]], is_whole: bool, opset: int) -> None:
    names = ["starts", "ends", "axes", "steps"][: len(rows)]
    inside = ", ".join(f"{name} = {row}" for name, row in zip(names, rows, strict=True))
    if opset < 10 and len(rows) > 3:
        return  # there were no steps
    read = f"Slice <{inside}> (a)" if opset < 10 else f"Slice (a, {', '.join(names)})"
    arrays = {} if opset < 10 else {name: np.array(row) for name, row in zip(names, rows, strict=True)}
    proto = model(
        f"a = Relu (x)  s = {read}  y = Neg (s)",
        "float[N, 5, 6, 7] x",
        "float[N, P, Q, R] y",
        opset=opset,
        **arrays,
    )
    if is_whole:
        assert_rewrites(proto, {"x": normal(2, 5, 6, 7)}, "whole-slice")
    else:
        assert_stays(proto, "whole-slice")
