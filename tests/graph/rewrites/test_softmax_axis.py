"""A softmax before a transposition."""

from __future__ import annotations

import onnx
import pytest

from tests.graph.build import model, normal
from tests.graph.rewrites.rewriting import assert_rewrites, assert_stays, operators

FEED = {"x": normal(2, 4, 16, 9)}


def turned(perm: str, soft: str, *, opset: int = 17, behind: str = "y = Neg (b)") -> onnx.ModelProto:
    body = f"a = Transpose <perm = [{perm}]> (x)  b = {soft} (a)  {behind}"
    return model(body, "float[N, 4, 16, 9] x", "float[A, B, C, D] y", opset=opset)


@pytest.mark.parametrize("soft", ["Softmax <axis = 1>", "LogSoftmax <axis = 1>", "Softmax <axis = -3>"])
def test_it_comes_first(soft: str) -> None:
    result = assert_rewrites(turned("0, 2, 1, 3", soft), FEED, "softmax-axis")
    name = soft.split(maxsplit=1)[0]
    assert operators(result) == [name, "Transpose", "Neg"]
    node = next(node for node in result.model.graph if node.op_type == name)
    assert node.attributes.get_int("axis", 0) == 2


@pytest.mark.parametrize(
    ("perm", "soft"),
    [("0, 2, 1, 3", "Softmax"), ("0, 2, 1, 3", "Softmax <axis = 2>"), ("0, 2, 3, 1", "Softmax")],
)
def test_an_axis_that_lies_no_further_inside_stays(perm: str, soft: str) -> None:
    assert_stays(turned(perm, soft), "softmax-axis")


def test_what_is_read_elsewhere_stays() -> None:
    behind = "d = Add (a, b)  y = Neg (d)"
    assert_stays(turned("0, 2, 1, 3", "Softmax <axis = 1>", behind=behind), "softmax-axis")


def test_a_softmax_over_all_axes_from_one_stays() -> None:
    assert_stays(turned("0, 2, 1, 3", "Softmax <axis = 1>", opset=11), "softmax-axis")
