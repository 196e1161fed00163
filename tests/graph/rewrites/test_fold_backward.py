"""Scales and shifts behind a convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.build import assert_same, model, norm_of, normal, run, run_reference
from tests.graph.rewrites.rewriting import assert_rewrites, assert_stays, operators, rewritten

RULE = "fold-backward"
BEHIND = {
    "a number": ("y = Mul (a, k)", {"k": np.float32(0.3)}),
    "a number in front": ("y = Mul (k, a)", {"k": np.float32([0.3])}),
    "a negative number": ("y = Mul (a, k)", {"k": np.float32(-0.3)}),
    "zero": ("y = Mul (a, k)", {"k": np.float32(0.0)}),
    "a number per channel": ("y = Mul (a, k)", {"k": normal(6, 1, 1, seed=3)}),
    "added": ("y = Add (a, k)", {"k": normal(1, 6, 1, 1, seed=3)}),
    "subtracted": ("y = Sub (a, k)", {"k": np.float32(0.7)}),
    "subtracted from": ("y = Sub (k, a)", {"k": normal(6, 1, 1, seed=3)}),
    "divided": ("y = Div (a, k)", {"k": np.float32(6.0)}),
    "negated": ("y = Neg (a)", {}),
    "normalised, after a sum": (
        "t = Add (a, k)  y = BatchNormalization (t, s, b, m, v)",
        {"k": np.float32(1)},
    ),
}
CONVOLUTIONS = {
    "plain": ("a = Conv (x, w, c)", (6, 4, 3, 3)),
    "no bias": ("a = Conv (x, w)", (6, 4, 3, 3)),
    "padded": ("a = Conv <pads = [2, 1, 0, 1], strides = [2, 1]> (x, w, c)", (6, 4, 3, 3)),
    "same": ('a = Conv <auto_pad = "SAME_UPPER", strides = [2, 1]> (x, w, c)', (6, 4, 3, 3)),
    "groups": ("a = Conv <group = 2> (x, w, c)", (6, 2, 3, 3)),
    "transposed": ("a = ConvTranspose <strides = [2, 2], pads = [1, 0, 0, 1]> (x, w, c)", (4, 6, 3, 3)),
    "transposed groups": ("a = ConvTranspose <group = 2> (x, w, c)", (4, 3, 3, 3)),
}


def network(
    conv: str, behind: str, shape: tuple[int, ...], *, opset: int = 17, dtype: Any = np.float32, **more: Any
) -> onnx.ModelProto:
    """A convolution of weights of ``shape``, and what is behind it."""
    kind = {"float32": "float", "float64": "double", "float16": "float16"}[np.dtype(dtype).name]
    weights = {"w": normal(*shape, seed=1), "c": normal(6, seed=2), **more}
    return model(
        f"{conv}  {behind}",
        f"{kind}[N, 4, 7, 6] x",
        f"{kind}[N, 6, P, Q] y",
        opset=opset,
        **{name: np.asarray(weight, dtype) for name, weight in weights.items()},
    )


@pytest.mark.parametrize(("behind", "more"), BEHIND.values(), ids=BEHIND)
@pytest.mark.parametrize(("conv", "shape"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_it_is_the_same(conv: str, shape: tuple[int, ...], behind: str, more: dict[str, Any]) -> None:
    norm = norm_of(6) if "Norm" in behind else {}
    proto = network(conv, behind, shape, **more, **norm)
    times = 2 if norm else 1
    result = assert_rewrites(proto, {"x": normal(2, 4, 7, 6)}, RULE, times)
    assert len(operators(result)) == 1


BOTH = "t = Mul (a, k)  y = Add (t, k)"


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("opset", [7, 11, 14, 20])
def test_types_and_opsets(dtype: Any, opset: int) -> None:
    proto = network("a = Conv (x, w, c)", BOTH, (6, 4, 3, 3), opset=opset, dtype=dtype, k=0.3)
    assert_rewrites(proto, {"x": normal(1, 4, 7, 6, dtype=dtype)}, RULE, 2)


def test_double_precision_which_onnxruntime_does_not_run() -> None:
    proto = network("a = Conv (x, w, c)", BOTH, (6, 4, 3, 3), dtype=np.float64, k=0.3)
    feed = {"x": normal(1, 4, 7, 6, dtype=np.float64)}
    assert_same(run_reference(rewritten(proto, RULE).model, feed), run_reference(proto, feed))


ACTIVATIONS = {
    "relu": "r = Relu (a)",
    "leaky relu": "r = LeakyRelu <alpha = 0.2> (a)",
    "prelu": "r = PRelu (a, p)",
}


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
@pytest.mark.parametrize("scale", [np.float32(0.4), np.abs(normal(6, 1, 1, seed=4)) + 0.1])
def test_a_positive_scale_goes_past_an_activation(activation: str, scale: Any) -> None:
    proto = network("a = Conv (x, w, c)", f"{activation}  y = Mul (r, k)", (6, 4, 3, 3), k=scale,
                    p=normal(6, 1, 1, seed=5))  # fmt: skip
    assert_rewrites(proto, {"x": normal(1, 4, 7, 6)}, RULE)


@given(number=st.floats(-1e3, 1e3, width=32), shift=st.floats(-1e3, 1e3, width=32))
@settings(max_examples=10)
def test_any_number(number: float, shift: float) -> None:
    proto = network("a = Conv (x, w, c)", "t = Mul (a, k)  y = Add (t, l)", (6, 4, 3, 3), k=number, l=shift)
    feed = {"x": normal(1, 4, 7, 6)}
    assert_same(run(rewritten(proto, RULE).model, feed), run(proto, feed))


STAYS: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "a negative scale behind ReLU": ("r = Relu (a)  y = Mul (r, k)", {"k": -1.0}, "only a positive scale"),
    "a shift behind ReLU": ("r = Relu (a)  y = Add (r, k)", {"k": 1.0}, "only a positive scale"),
    "behind a sigmoid": ("r = Sigmoid (a)  y = Mul (r, k)", {"k": 2.0}, None),
    "two readers": ("r = Mul (a, k)  y = Add (r, a)", {"k": 2.0}, "something else reads"),
    "a number per column": ("y = Mul (a, k)", {"k": normal(4)}, None),
    "divided by nothing": ("y = Div (a, k)", {"k": 0.0}, None),
    "not finite": ("y = Mul (a, k)", {"k": np.inf}, None),
    "divided into": ("y = Div (k, a)", {"k": 1.0}, None),
}


@pytest.mark.parametrize(("behind", "more", "reason"), STAYS.values(), ids=STAYS)
def test_what_is_not_of_this_form_stays(behind: str, more: dict[str, Any], reason: str | None) -> None:
    assert_stays(network("a = Conv (x, w, c)", behind, (6, 4, 3, 3), **more), RULE, reason)


def test_a_single_channel_that_is_spread_to_many_stays() -> None:
    proto = model(
        "a = Conv (x, w)  y = Mul (a, k)",
        "float[1, 4, 7, 6] x",
        "float[1, 6, 5, 4] y",
        w=normal(1, 4, 3, 3),
        k=normal(6, 1, 1),
    )
    assert_stays(proto, RULE)


def test_a_value_that_is_an_output_is_still_computed() -> None:
    proto = model(
        "a = Conv (x, w)  y = Mul (a, k)",
        "float[1, 4, 7, 6] x",
        "float[1, 6, 5, 4] y, float[1, 6, 5, 4] a",
        w=normal(6, 4, 3, 3),
        k=np.float32(2),
    )
    assert_stays(proto, RULE, "something else reads")


def test_weights_of_another_convolution_too_stay_what_they_were() -> None:
    proto = model(
        "a = Conv (x, w)  m = Mul (a, k)  b = Conv (x, w)  y = Add (m, b)",
        "float[1, 4, 7, 6] x",
        "float[1, 6, 5, 4] y",
        w=normal(6, 4, 3, 3),
        k=np.float32(2),
    )
    assert_rewrites(proto, {"x": normal(1, 4, 7, 6)}, RULE)


def test_half_precision_does_not_overflow() -> None:
    proto = network("a = Conv (x, w, c)", "y = Mul (a, k)", (6, 4, 3, 3), dtype=np.float16, k=6e4)
    assert_stays(proto, RULE, "overflow")
