"""Channels taken by Split, Slice and Gather; and pixels that are repeated."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from tests.graph.build import model, normal
from tests.graph.rewrites.rewriting import assert_rewrites, assert_stays, operators

CONV = "a = Conv <pads = [1, 1, 1, 1]> (x, w, b)"
ENDS = "c = Conv (p, v)  d = Sigmoid (q)  y = Add (c, d)"
FEED = {"x": normal(2, 5, 6, 7)}


def halves(
    between: str = "t = Identity (a)",
    split: str = "p, q = Split <axis = 1> (t)",
    conv: str = CONV,
    outputs: str = "",
    opset: int = 17,
    **more: Any,
) -> onnx.ModelProto:
    """A convolution of eight channels, and what becomes of two halves of them."""
    weights = {"w": normal(8, 5, 3, 3) / 5, "b": normal(8, seed=1), "v": normal(4, 4, 1, 1)}
    return model(
        f"{conv}  {between}  {split}  {ENDS}",
        "float[N, 5, 6, 7] x",
        f"float[N, 4, 6, 7] y{outputs}",
        opset=opset,
        **weights | more,
    )


BETWEEN = {
    "relu": ("t = Relu (a)", {}),
    "silu": ("s = Sigmoid (a)  t = Mul (a, s)", {}),
    "mish": ("s = Softplus (a)  u = Tanh (s)  t = Mul (a, u)", {}),
    "clip": ("t = Clip (a, k)", {"k": np.float32(0.1)}),
    "prelu": ("t = PRelu (a, k)", {"k": normal(8, 1, 1)}),
    "numbers": ("m = Mul (a, k)  t = Sub (l, m)", {"k": normal(8, 1, 1), "l": np.float32(0.3)}),
    "depthwise": ("t = Conv <group = 8, pads = [1, 1, 1, 1]> (a, k, b)", {"k": normal(8, 1, 3, 3)}),
    "pool": ("t = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (a)", {}),
    "another convolution": (
        "e = Conv <pads = [1, 1, 1, 1]> (x, k)  t = Add (a, e)",
        {"k": normal(8, 5, 3, 3)},
    ),
}
SPLITS: dict[str, tuple[str, dict[str, Any], int]] = {
    "even": ("p, q = Split <axis = 1> (t)", {}, 17),
    "sizes": ("p, q = Split <axis = 1> (t, n)", {"n": np.array([4, 4])}, 13),
    "sizes of old": ("p, q = Split <axis = 1, split = [4, 4]> (t)", {}, 11),
    "slices": ("p = Slice (t, f, h, o)  q = Slice (t, h, e, o)", {}, 12),
    "slices of old": (
        "p = Slice <axes = [1], starts = [0], ends = [4]> (t)"
        " q = Slice <axes = [1], starts = [-4], ends = [99]> (t)", {}, 9,
    ),
    "every second": ("p = Slice (t, f, e, o, s)  q = Slice (t, o, e, o, s)", {}, 17),
    "gathered": ("p = Gather <axis = 1> (t, i)  q = Gather <axis = 1> (t, j)",
                 {"i": np.array([7, 0, -3, 2]), "j": np.array([1, 3, 4, 6])}, 17),
}  # fmt: skip
NUMBERS = {name: np.array([n]) for name, n in (("f", 0), ("h", 4), ("e", 99), ("o", 1), ("s", 2))}


@pytest.mark.parametrize(("between", "more"), BETWEEN.values(), ids=BETWEEN)
def test_through_what_works_channel_by_channel(between: str, more: dict[str, Any]) -> None:
    result = assert_rewrites(halves(between, **more), FEED, "select")
    assert "Split" not in operators(result)


@pytest.mark.parametrize(("split", "more", "opset"), SPLITS.values(), ids=SPLITS)
def test_however_they_are_taken(split: str, more: dict[str, Any], opset: int) -> None:
    numbers = NUMBERS if "Slice (" in split else {}
    proto = halves("t = Relu (a)", split, opset=opset, **numbers, **more)
    result = assert_rewrites(proto, FEED, "select", 1 if "Split" in split else 2)
    assert operators(result).count("Conv") == 3


STAYS: dict[str, tuple[dict[str, Any], str | None]] = {
    "read whole": ({"between": "t = Relu (a)  g = ReduceMax (t)", "outputs": ", float z",
                    "split": "p, q = Split <axis = 1> (t)  z = Neg (g)"}, "something else"),
    "read before": ({"between": "t = Relu (a)  z = ReduceMax (a)", "outputs": ", float z"}, "before an act"),
    "an output": ({"between": "t = Relu (a)", "outputs": ", float[N, 8, 6, 7] t"}, "an output"),
    "softmax": ({"between": "t = Softmax <axis = 1> (a)"}, "does not go through Softmax"),
    "a sine": ({"between": "t = Sin (a)"}, "does not go through Sin"),
    "groups": ({"between": "t = Conv <group = 2> (a, k)", "k": normal(8, 4, 1, 1)}, "not go through Conv"),
    "twice": ({"split": "p = Slice (t, f, h, o)  q = Slice (t, s, g, o)", "g": np.array([6])}, "taken twice"),
    "another axis": ({"split": "p, q = Split <axis = 0> (t)"}, None),
}  # fmt: skip


@pytest.mark.parametrize(("given", "reason"), STAYS.values(), ids=STAYS)
def test_it_stays(given: dict[str, Any], reason: str | None) -> None:
    numbers = NUMBERS if "Slice" in given.get("split", "") else {}
    assert_stays(halves(**{"between": "t = Relu (a)", **given}, **numbers), "select", reason)


FACTORS = [
    ("half_pixel", "round_prefer_floor", (2, 2), True),
    ("half_pixel", "round_prefer_floor", (3, 4), True),
    ("half_pixel", "round_prefer_ceil", (3, 2), True),
    ("pytorch_half_pixel", "round_prefer_floor", (5, 1), True),
    ("asymmetric", "round_prefer_floor", (2, 2), True),
    ("asymmetric", "round_prefer_floor", (3, 3), False),
    ("asymmetric", "ceil", (2, 2), False),
    ("half_pixel", "floor", (2, 2), False),
    ("align_corners", "round_prefer_floor", (2, 2), False),
    ("half_pixel", "round_prefer_floor", (1.5, 2), False),
]


@pytest.mark.parametrize(("place", "rounding", "factors", "is_even"), FACTORS)
@pytest.mark.parametrize("opset", [11, 13, 19])
def test_pixels_repeated(
    place: str, rounding: str, factors: tuple[float, float], is_even: bool, opset: int
) -> None:
    proto = model(
        f'y = Resize <mode = "nearest", coordinate_transformation_mode = "{place}",'
        f' nearest_mode = "{rounding}"> (x, none, s)',
        "float[N, 5, 6, 7] x",
        "float[N, 5, P, Q] y",
        opset=opset,
        none=np.zeros(0, np.float32),
        s=np.float32([1, 1, *factors]),
    )
    if is_even:
        assert_rewrites(proto, FEED, "repeat")
    else:
        assert_stays(proto, "repeat", "whole" if factors[0] == 1.5 else "evenly")
