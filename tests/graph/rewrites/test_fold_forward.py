"""Scales and shifts before a convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from tests.graph.build import model, norm_of, normal
from tests.graph.rewrites.rewriting import assert_rewrites, assert_stays

RULE = "fold-forward"
SCALES = {
    "a number": ("a = Mul (x, k)", {"k": np.float32(0.3)}),
    "a negative number per channel": ("a = Mul (k, x)", {"k": -np.abs(normal(4, 1, 1, seed=3))}),
    "divided": ("a = Div (x, k)", {"k": np.float32(255)}),
    "negated": ("a = Neg (x)", {}),
}
SHIFTS = {
    "added": ("a = Add (x, k)", {"k": normal(1, 4, 1, 1, seed=3)}),
    "subtracted from": ("a = Sub (k, x)", {"k": np.float32(0.5)}),
    "normalised": ("a = BatchNormalization (x, s, b, m, v)", {}),
}
UNPADDED = {
    "plain": ("y = Conv (a, w, c)", (6, 4, 3, 3)),
    "no bias": ("y = Conv (a, w)", (6, 4, 3, 3)),
    "strides": ("y = Conv <strides = [2, 2], dilations = [2, 1]> (a, w, c)", (6, 4, 3, 2)),
    "groups": ("y = Conv <group = 2> (a, w, c)", (6, 2, 3, 3)),
    "depthwise": ("y = Conv <group = 4> (a, w, c)", (8, 1, 3, 3)),
    "same of one": ('y = Conv <auto_pad = "SAME_LOWER"> (a, w, c)', (6, 4, 1, 1)),
    "valid": ('y = Conv <auto_pad = "VALID"> (a, w, c)', (6, 4, 3, 3)),
}
PADDED = {
    "padded": ("y = Conv <pads = [1, 0, 0, 1]> (a, w, c)", (6, 4, 3, 3)),
    "same": ('y = Conv <auto_pad = "SAME_UPPER"> (a, w, c)', (6, 4, 3, 3)),
    "transposed": ("y = ConvTranspose <strides = [2, 2]> (a, w, c)", (4, 6, 3, 3)),
    "transposed groups": ("y = ConvTranspose <group = 2> (a, w, c)", (4, 3, 3, 3)),
}


def network(before: str, conv: str, shape: tuple[int, ...], **more: Any) -> onnx.ModelProto:
    """What is before a convolution of weights of ``shape``, and it."""
    count = 8 if shape[0] == 8 else 6
    norm = norm_of(4) if "Norm" in before else {}
    weights = {"w": normal(*shape, seed=1), "c": normal(count, seed=2), **norm, **more}
    return model(f"{before}  {conv}", "float[N, 4, 7, 6] x", f"float[N, {count}, P, Q] y", **weights)


@pytest.mark.parametrize(("before", "more"), (SCALES | SHIFTS).values(), ids=SCALES | SHIFTS)
@pytest.mark.parametrize(("conv", "shape"), UNPADDED.values(), ids=UNPADDED)
def test_it_is_the_same(before: str, more: dict[str, Any], conv: str, shape: tuple[int, ...]) -> None:
    assert_rewrites(network(before, conv, shape, **more), {"x": normal(2, 4, 7, 6)}, RULE)


@pytest.mark.parametrize(("before", "more"), SCALES.values(), ids=SCALES)
@pytest.mark.parametrize(("conv", "shape"), PADDED.values(), ids=PADDED)
def test_a_scale_minds_no_border(
    before: str, more: dict[str, Any], conv: str, shape: tuple[int, ...]
) -> None:
    assert_rewrites(network(before, conv, shape, **more), {"x": normal(2, 4, 7, 6)}, RULE)


@pytest.mark.parametrize(("before", "more"), SHIFTS.values(), ids=SHIFTS)
@pytest.mark.parametrize(("conv", "shape"), PADDED.values(), ids=PADDED)
def test_a_shift_does(before: str, more: dict[str, Any], conv: str, shape: tuple[int, ...]) -> None:
    assert_stays(network(before, conv, shape, **more), RULE, "not the same")


def test_several_convolutions_that_read_it() -> None:
    proto = model(
        "a = Add (x, k)  b = Conv (a, w)  c = Conv (a, v)  y = Add (b, c)",
        "float[1, 4, 7, 6] x",
        "float[1, 6, 5, 4] y",
        w=normal(6, 4, 3, 3),
        v=normal(6, 4, 3, 3, seed=9),
        k=np.float32(0.5),
    )
    assert_rewrites(proto, {"x": normal(1, 4, 7, 6)}, RULE, 2)


def test_a_positive_scale_goes_past_an_activation() -> None:
    proto = network("m = Mul (x, k)  a = LeakyRelu (m)", "y = Conv (a, w)", (6, 4, 3, 3), k=np.float32(2))
    assert_rewrites(proto, {"x": normal(1, 4, 7, 6)}, RULE)
    proto = network("m = Mul (x, k)  a = Relu (m)", "y = Conv (a, w)", (6, 4, 3, 3), k=np.float32(-2))
    assert_stays(proto, RULE, "only a positive scale")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("a = Mul (x, k)  b = Conv (a, w)  c = Relu (a)  d = Conv (c, w)  y = Add (b, d)", "not only conv"),
        ("a = Mul (x, k)  y = Conv (a, v)", None),
    ],
    ids=["another reader", "weights from elsewhere"],
)
def test_it_stays(body: str, reason: str | None) -> None:
    proto = model(body, "float[1, 4, 7, 6] x, float[6, 4, 3, 3] v", "float[1, 6, 5, 4] y",
                  w=normal(6, 4, 3, 3), k=np.float32(0.5))  # fmt: skip
    assert_stays(proto, RULE, reason)
