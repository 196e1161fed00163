"""Convolutions of rows, as of maps of height one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from tests.graph.build import model, normal
from tests.graph.rewrites.rewriting import assert_rewrites, assert_stays, operators

FEED = {"x": normal(2, 16, 11)}


def rows(body: str, kind: str = "float", opset: int = 17, outputs: str = "", **more: Any) -> onnx.ModelProto:
    dtype = {"float": np.float32, "float16": np.float16, "double": np.float64}[kind]
    weights = {
        "w": normal(16, 16, 3) / 7,
        "v": normal(16, 16, 1, seed=1) / 4,
        "u": normal(16, 1, 5) / 2,
        "c": normal(16, seed=2),
        "low": np.float32(0.2),
    } | more
    return model(
        body,
        f"{kind}[N, 16, T] x",
        f"{kind}[N, P, Q] y{outputs}",
        opset=opset,
        **{name: array.astype(dtype) for name, array in weights.items()},
    )


ALONE = {
    "padded": "y = Conv <pads = [2, 0]> (x, w, c)",
    "strides": "y = Conv <strides = [2], pads = [1, 1], kernel_shape = [3]> (x, w)",
    "dilated": "y = Conv <dilations = [3], pads = [3, 3]> (x, w, c)",
    "same": 'y = Conv <auto_pad = "SAME_LOWER", strides = [2]> (x, w, c)',
    "depthwise": "y = Conv <group = 16, pads = [1, 3]> (x, u, c)",
}


@pytest.mark.parametrize("body", ALONE.values(), ids=ALONE)
@pytest.mark.parametrize(("opset", "kind"), [(11, "float"), (13, "float"), (17, "float16")])
def test_alone(body: str, opset: int, kind: str) -> None:
    feed = {"x": FEED["x"].astype(np.float16 if kind == "float16" else np.float32)}
    result = assert_rewrites(rows(body, kind, opset), feed, "conv-1d")
    assert operators(result) == ["Unsqueeze", "Conv", "Squeeze"]


BETWEEN = {
    "relu": ("b = Relu (a)", 3),
    "clip": ("b = Clip (a, low)", 3),
    "swish": ("s = Sigmoid (a)  b = Mul (a, s)", 4),
    "sum": ("d = Conv (x, v)  e = Conv <pads = [1, 1]> (d, w)  b = Add (a, e)", 5),
    "pool": ("b = MaxPool <kernel_shape = [3], strides = [2], pads = [1, 1]> (a)", 3),
    "average": ("b = AveragePool <kernel_shape = [2], count_include_pad = 1, pads = [0, 1]> (a)", 3),
    "of all": ("g = GlobalAveragePool (a)  b = Mul (a, g)", 4),
    "together": ("b = Concat <axis = 1> (a, a)", 3),
}


@pytest.mark.parametrize(("between", "times"), BETWEEN.values(), ids=BETWEEN)
def test_what_is_between(between: str, times: int) -> None:
    last = "y = Conv (b, v)" if "Concat" not in between else "y = Conv (b, t)"
    body = f"a = Conv <pads = [1, 1]> (x, w, c)  {between}  {last}"
    result = assert_rewrites(rows(body, t=normal(16, 32, 1)), FEED, "conv-1d", times)
    assert operators(result).count("Squeeze") == 1
    assert operators(result).count("Unsqueeze") == 1 + (between.count("(x,"))


def test_what_reads_a_row_still_has_it() -> None:
    body = "a = Conv (x, w)  b = Softmax (a)  d = Relu (a)  y = Conv (d, v)"
    assert_rewrites(rows(body, outputs=", float[N, 16, R] b"), FEED, "conv-1d", 3)


def test_a_first_one_of_few_channels_only_before_others() -> None:
    weights = {"f": normal(16, 1, 5)}
    body = "a = Conv (z, f)  y = {}"
    for end, times in (("Conv (a, v)", 2), ("Softmax (a)", 0)):
        proto = model(
            body.format(end), "float[N, 1, T] z", "float[N, 16, Q] y", v=normal(16, 16, 1), **weights
        )
        if times:
            assert_rewrites(proto, {"z": normal(2, 1, 9)}, "conv-1d", times)
        else:
            assert_stays(proto, "conv-1d", "do not fit")


STAYS: dict[str, tuple[str, str, str | None]] = {
    "doubles": ("y = Conv (x, w)", "double", None),
    "groups": ("y = Conv <group = 4> (x, g)", "float", "do not fit"),
    "a row without": ("y = Relu (x)", "float", None),
}


@pytest.mark.parametrize(("body", "kind", "reason"), STAYS.values(), ids=STAYS)
def test_it_stays(body: str, kind: str, reason: str | None) -> None:
    assert_stays(rows(body, kind, g=normal(16, 4, 3)), "conv-1d", reason)
