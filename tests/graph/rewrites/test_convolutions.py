"""Convolutions in a row, gates, shortcuts, and scales that stay between maps."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.graph.build import model, normal
from tests.graph.rewrites.rewriting import assert_rewrites, assert_stays, operators
from tests.graph.rewrites.test_activations import FEED, between

PAIRS = {
    "1×1 behind": ("a = Conv <pads = [1,1,1,1]> (x, w, c)  y = Conv (a, v, d)", (9, 4, 3, 3), (2, 9, 1, 1)),
    "strides": ("a = Conv <strides = [2, 2]> (x, w, c)  y = Conv (a, v, d)", (9, 4, 3, 3), (2, 9, 1, 1)),
    "1×1 before": ("a = Conv (x, w, c)  y = Conv <dilations = [2, 1]> (a, v)", (9, 4, 1, 1), (2, 9, 2, 3)),
    "padded": ("a = Conv (x, w)  y = Conv <pads=[1,1,1,1]> (a, v, d)", (9, 4, 1, 1), (2, 9, 3, 3)),
    "both 1×1": ("a = Conv (x, w, c)  y = Conv <strides = [2, 2]> (a, v, d)", (9, 4, 1, 1), (2, 9, 1, 1)),
}  # fmt: skip


def pair(body: str, first: tuple[int, ...], second: tuple[int, ...]) -> onnx.ModelProto:
    weights = {"w": normal(*first), "v": normal(*second, seed=1)}
    biases = {"c": normal(first[0], seed=2), "d": normal(second[0], seed=3)}
    return model(body, "float[N, 4, 7, 6] x", f"float[N, {second[0]}, P, Q] y", **weights, **biases)


@pytest.mark.parametrize(("body", "first", "second"), PAIRS.values(), ids=PAIRS)
def test_two_in_a_row(body: str, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    result = assert_rewrites(pair(body, first, second), {"x": normal(2, 4, 7, 6)}, "conv-conv")
    assert operators(result) == ["Conv"]


APART = {
    "a bottleneck": ("a = Conv (x, w)  y = Conv (a, v)", (2, 4, 1, 1), (9, 2, 1, 1), "cost more"),
    "a border": ("a = Conv (x, w, c)  y = Conv <pads=[1,1,1,1]> (a, v)", (9, 4, 1, 1), (2, 9, 3, 3), "bord"),
    "no 1×1": ("a = Conv (x, w)  y = Conv (a, v)", (9, 4, 2, 2), (2, 9, 2, 2), "neither"),
    "something between": ("a = Conv (x, w)  r = Relu (a)  y = Conv (r, v)", (9, 4, 1, 1), (2, 9, 1, 1), None),
    "a group": ("a = Conv (x, w)  y = Conv <group = 9> (a, v)", (9, 4, 1, 1), (9, 1, 1, 1), None),
    "strides": ("a = Conv <strides=[2,2]> (x, w)  y = Conv (a, v)", (9, 4, 1, 1), (2, 9, 3, 3), "neither"),
    "another reader": ("a = Conv (x, w)  b = Conv (a, v)  e = ReduceMax (a)  y = Add (b, e)",
                       (9, 4, 1, 1), (2, 9, 1, 1), "something else"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "first", "second", "reason"), APART.values(), ids=APART)
def test_two_that_stay_two(
    body: str, first: tuple[int, ...], second: tuple[int, ...], reason: str | None
) -> None:
    assert_stays(pair(body, first, second), "conv-conv", reason)


GATE = "g = GlobalAveragePool (x)  h = Sigmoid (g)"


@pytest.mark.parametrize("kind", ["float", "float16"])
@pytest.mark.parametrize("body", ["m = Mul (x, h)  y = Add (x, m)", "m = Mul (h, x)  y = Add (m, x)"])
def test_a_gate(body: str, kind: str) -> None:
    dtype = np.float16 if kind == "float16" else np.float32
    proto = model(f"{GATE}  {body}", f"{kind}[N, 4, 5, 6] x", f"{kind}[N, 4, 5, 6] y")
    assert_rewrites(proto, {"x": normal(2, 4, 5, 6, dtype=dtype)}, "gate")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("m = Mul (x, x)  y = Add (x, m)", None),
        ("m = Mul (x, h)  y = Add (h, m)", None),
        ("m = Mul (x, h)  s = Add (x, m)  y = Add (s, m)", "something else"),
    ],
)
def test_what_is_no_gate(body: str, reason: str | None) -> None:
    proto = model(f"{GATE}  {body}", "float[N, 4, 5, 6] x", "float[N, 4, 5, 6] y")
    assert_stays(proto, "gate", reason)


PADS = {
    "both sides": np.array([0, 2, 0, 0, 0, 3, 0, 0]),
    "around too": np.array([0, 0, 1, 0, 0, 4, 2, 1]),
}


@pytest.mark.parametrize("pads", PADS.values(), ids=PADS)
@pytest.mark.parametrize(("opset", "kind"), [(9, "float"), (13, "float"), (18, "float16")])
def test_channels_of_zeros(pads: np.ndarray, opset: int, kind: str) -> None:
    count = 16 + int(pads[1] + pads[5])
    pad = f"t = Pad <pads = {pads.tolist()}> (a)" if opset < 11 else "t = Pad (a, p)"
    proto = between(pad, opset=opset, kind=kind, p=pads, v=normal(16, count, 3, 3) / 8)
    feed = {"x": FEED["x"].astype(np.float16 if kind == "float16" else np.float32)}
    assert_rewrites(proto, feed, "pad-channels")


@pytest.mark.parametrize(
    ("body", "pads", "reason"),
    [
        ("t = Pad (a, p)", [0, 0, 1, 1, 0, 0, 1, 1], None),
        ("t = Pad (a, p)", [0, -1, 0, 0, 0, 1, 0, 0], "crops"),
        ("t = Pad (a, p, one)", [0, 0, 0, 0, 0, 4, 0, 0], None),
        ('t = Pad <mode = "reflect"> (a, p)', [0, 0, 0, 0, 0, 4, 0, 0], None),
        ("b = Sin (a)  t = Pad (b, p)", [0, 0, 0, 0, 0, 4, 0, 0], "not in the blocked"),
    ],
)
def test_other_pads(body: str, pads: list[int], reason: str | None) -> None:
    count = 16 + pads[1] + pads[5]
    proto = between(body, p=np.array(pads), one=np.float32(1), v=normal(16, count, 3, 3))
    if "Sin" not in body and pads[2]:
        return  # preparing has folded it
    assert_stays(proto, "pad-channels", reason)


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [3]])
def test_every_second_pixel(axes: list[int]) -> None:
    proto = between(
        "t = Slice (a, s, e, axes, steps)",
        s=np.zeros(len(axes), int),
        e=np.full(len(axes), 2**31 - 1),
        axes=np.array(axes),
        steps=np.full(len(axes), 2),
        v=normal(16, 16, 1, 1),
    )
    assert_rewrites(proto, FEED, "subsample")


@pytest.mark.parametrize(("start", "end", "step"), [(1, 2**31 - 1, 2), (0, 4, 2), (0, 2**31 - 1, 1)])
def test_other_slices(start: int, end: int, step: int) -> None:
    rows = {name: np.array([n]) for name, n in (("s", start), ("e", end), ("axes", 2), ("steps", step))}
    assert_stays(between("t = Slice (a, s, e, axes, steps)", **rows, v=normal(16, 16, 1, 1)), "subsample")


ROWS: dict[str, tuple[str, int]] = {
    "a shift behind ReLU": ("r = Relu (a)  t = Add (r, k)", 1),
    "a scale and a shift": ("r = Relu (a)  m = Mul (r, c)  t = Add (m, k)", 1),
    "three": ("r = Relu (a)  m = Sub (k, r)  n = Div (m, c)  t = Add (n, c)", 1),
    "read twice": ("r = Tanh (a)  m = Add (r, k)  n = Mul (m, c)  t = Add (n, m)", 2),
}


@pytest.mark.parametrize(("body", "times"), ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("kind", ["float", "float16"])
def test_scales_between_maps(body: str, times: int, kind: str) -> None:
    proto = between(body, kind=kind, k=np.float32(0.7), c=normal(16, 1, 1, seed=3))
    feed = {"x": FEED["x"].astype(np.float16 if kind == "float16" else np.float32)}
    assert_rewrites(proto, feed, "depthwise", times)


def test_scales_elsewhere_stay() -> None:
    proto = between("b = Sin (a)  t = Add (b, k)", k=np.float32(0.7))
    assert_stays(proto, "depthwise", "not in the blocked layout")


MEANS = {
    "axes as attribute": ("m = ReduceMean <axes = [2, 3]> (a)", 11),
    "axes from behind": ("m = ReduceMean <axes = [-1, -2]> (a)", 17),
    "axes as input": ("m = ReduceMean (a, axes)", 18),
    "the maximum": ("m = ReduceMax <axes = [2, 3]> (a)", 13),
}


@pytest.mark.parametrize(("body", "opset"), MEANS.values(), ids=MEANS)
@pytest.mark.parametrize("kind", ["float", "float16"])
def test_a_whole_map(body: str, opset: int, kind: str) -> None:
    axes = {"axes": np.array([2, 3])} if "axes)" in body else {}
    proto = between(f"{body}  t = Mul (a, m)", opset=opset, kind=kind, **axes)
    feed = {"x": FEED["x"].astype(np.float16 if kind == "float16" else np.float32)}
    assert_rewrites(proto, feed, "global-pool")


@pytest.mark.parametrize("opset", [11, 17])
def test_a_whole_map_without_its_axes(opset: int) -> None:
    proto = model(
        "a = Conv (x, w)  y = ReduceMean <axes = [2, 3], keepdims = 0> (a)",
        "float[N, 16, 6, 5] x",
        "float[N, 16] y",
        opset=opset,
        w=normal(16, 16, 3, 3),
    )
    assert_rewrites(proto, FEED, "global-pool")


@pytest.mark.parametrize("axes", [[1], [1, 2, 3], [3], [0, 1]])
def test_other_means(axes: list[int]) -> None:
    assert_stays(between(f"m = ReduceMean <axes = {axes}> (a)  t = Add (a, m)"), "global-pool")


WAYS = {
    "nothing": ("", "a"),
    "relu": ("r = Relu (a)", "r"),
    "sigmoid": ("r = Sigmoid (a)", "r"),
    "clip": ("r = Clip (a, low)", "r"),
    "swish": ("s = Sigmoid (a)  r = Mul (a, s)", "r"),
    "another reader": ("z = Conv <strides = [2, 2]> (a, v)  m = ReduceMax (z)  r = Relu (a)", "r"),
    "depthwise": ("d = Conv <group = 18, pads = [1, 1, 1, 1]> (a, u, c)  r = Relu (d)", "r"),
}


def odd(
    between: str, read: str, channels: int = 18, outputs: str = "", kind: str = "float", kernel: int = 3
) -> onnx.ModelProto:
    """A convolution of an odd number of channels, and one that reads them."""
    dtype = np.float16 if kind == "float16" else np.float32
    weights = {
        "w": normal(channels, 16, 3, 3) / 9,
        "c": normal(channels, seed=1),
        "v": normal(8, channels, kernel, kernel) / 9,
        "b": normal(8, seed=2),
        "u": normal(channels, 1, 3, 3) / 3,
        "low": np.float32(0.2),
    }
    return model(
        f"a = Conv <pads = [1, 1, 1, 1]> (x, w, c)  {between}  y = Conv ({read}, v, b)",
        f"{kind}[N, 16, 6, 5] x",
        f"{kind}[N, 8, P, Q] y{outputs}",
        **{name: weight.astype(dtype) for name, weight in weights.items()},
    )


@pytest.mark.parametrize(("between", "read"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("kind", ["float", "float16"])
def test_channels_are_filled_up(between: str, read: str, kind: str) -> None:
    feed = {"x": FEED["x"].astype(np.float16 if kind == "float16" else np.float32)}
    result = assert_rewrites(odd(between, read, kind=kind), feed, "round-channels")
    assert [node.inputs[1].shape[1] for node in result.model.graph if node.op_type == "Conv"][-1] == 20


@pytest.mark.parametrize(
    ("channels", "filled", "kernel"), [(8, 16, 1), (13, 16, 1), (17, 32, 3), (24, 32, 3), (255, 256, 3)]
)
def test_up_to_what_fits(channels: int, filled: int, kernel: int) -> None:
    pool = "r = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (a)"
    result = assert_rewrites(odd(pool, "r", channels, kernel=kernel), FEED, "round-channels")
    assert [node.inputs[1].shape[1] for node in result.model.graph if node.op_type == "Conv"][-1] == filled


@pytest.mark.parametrize(
    ("between", "read", "channels", "outputs", "reason"),
    [
        ("", "a", 20, "", None),
        ("", "a", 7, "", None),
        ("", "a", 8, "", "several taps"),
        ("r = Relu (a)", "r", 18, ", float[N, 18, 6, 5] a", "something else reads"),
        ("r = Softmax <axis = 1> (a)", "r", 18, "", None),
        ("e = Conv <pads = [1, 1, 1, 1]> (x, w)  r = Add (a, e)", "r", 18, "", "is added"),
        (
            "r = Relu (a)  z = Conv (a, v)",
            "r",
            18,
            ", float[N, 18, 6, 5] r, float[N, 8, 4, 3] z",
            "something",
        ),
    ],
    ids=[
        "even",
        "few",
        "few for a large kernel",
        "an output",
        "across channels",
        "another map",
        "partly an output",
    ],
)
def test_channels_stay(between: str, read: str, channels: int, outputs: str, reason: str | None) -> None:
    assert_stays(odd(between, read, channels, outputs), "round-channels", reason)
