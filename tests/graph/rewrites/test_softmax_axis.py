"""A softmax over rows that lie side by side."""

from __future__ import annotations

import onnx
import pytest

from tests.graph.build import model, normal
from tests.graph.rewrites.rewriting import assert_rewrites, assert_stays, operators

FEED = {"x": normal(2, 4, 16, 9)}


def soft(body: str, *, opset: int = 17, shape: str = "N, 4, 16, 9", kind: str = "float") -> onnx.ModelProto:
    return model(body, f"{kind}[{shape}] x", f"{kind}[A, B, C, D] y", opset=opset)


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [0, 1, -3, 2])
@pytest.mark.parametrize(("opset", "kind"), [(13, "float"), (17, "double")])
def test_another_axis(operator: str, axis: int, opset: int, kind: str) -> None:
    shape = "2, 4, 16, 9" if axis == 0 else "N, 4, 16, 9"
    proto = soft(f"y = {operator} <axis = {axis}> (x)", opset=opset, shape=shape, kind=kind)
    feed = {"x": FEED["x"].astype(kind.replace("float", "float32"))}
    result = assert_rewrites(proto, feed, "softmax-axis")
    assert operators(result) == ["Transpose", "Reshape", operator, "Reshape", "Transpose"]


def test_two_sizes_that_are_open() -> None:
    result = assert_rewrites(soft("y = Softmax <axis = 1> (x)", shape="N, 4, H, 9"), FEED, "softmax-axis")
    assert "Shape" in operators(result)


def test_the_last_axis_between_transpositions() -> None:
    body = "a = Transpose <perm = [0, 2, 3, 1]> (x)  b = Softmax (a)  y = Transpose <perm = [0, 3, 1, 2]> (b)"
    result = assert_rewrites(soft(body), FEED, "softmax-axis")
    assert operators(result) == ["Transpose", "Reshape", "Softmax", "Reshape", "Transpose"]


STAYS: dict[str, tuple[str, int, str, str | None]] = {
    "the last axis": ("y = Softmax (x)", 17, "N, 4, 16, 9", None),
    "the last after a transposition": (
        "a = Transpose <perm = [0, 2, 3, 1]> (x)  y = Softmax (a)", 17, "N, 4, 16, 9", None,
    ),
    "all axes from one on": ("y = Softmax <axis = 1> (x)", 11, "N, 4, 16, 9", None),
    "an open axis": ("y = Softmax <axis = 1> (x)", 17, "N, K, 16, 9", "how long"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "opset", "shape", "reason"), STAYS.values(), ids=STAYS)
def test_it_stays(body: str, opset: int, shape: str, reason: str | None) -> None:
    assert_stays(soft(body, opset=opset, shape=shape), "softmax-axis", reason)
