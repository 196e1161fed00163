"""Convolutions behind a Concat, as sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from tests.graph.build import model, normal
from tests.graph.rewrites.rewriting import assert_rewrites, assert_stays, operators

TWO = "t = Concat <axis = 1> (x, z)"
FEED = {"x": normal(2, 32, 6, 7), "z": normal(2, 20, 6, 7, seed=1)}


def joined(
    between: str = "r = Identity (t)",
    reads: str = "y = Conv (r, w, b)",
    concat: str = TWO,
    kernel: int = 1,
    out: int = 8,
    channels: int = 52,
    kind: str = "float",
    outputs: str = "",
    opset: int = 17,
    **more: Any,
) -> onnx.ModelProto:
    """Maps of 32 and 20 channels put together, and what reads them."""
    dtype = np.float16 if kind == "float16" else np.float32
    weights = {"w": normal(out, channels, kernel, kernel) / channels, "b": normal(out, seed=3)}
    return model(
        f"{concat}  {between}  {reads}",
        f"{kind}[N, 32, 6, 7] x, {kind}[N, 20, 6, 7] z",
        f"{kind}[N, {out}, P, Q] y{outputs}",
        opset=opset,
        **{n: w.astype(dtype) if w.dtype == np.float32 else w for n, w in (weights | more).items()},
    )


READS: dict[str, dict[str, Any]] = {
    "1×1": {},
    "an axis from behind": {"concat": "t = Concat <axis = -3> (x, z)"},
    "padded": {"reads": "y = Conv <pads = [1, 2, 0, 1], strides = [2, 1]> (r, w, b)", "kernel": 3},
    "dilated, without bias": {"reads": "y = Conv <dilations = [2, 2]> (r, w)", "kernel": 2},
    "same": {"reads": 'y = Conv <auto_pad = "SAME_UPPER"> (r, w, b)', "kernel": 2},
    "relu": {"between": "r = Relu (t)"},
    "clip": {"between": "r = Clip (t, k)", "k": np.float32(0.1)},
    "max pool": {"between": "r = MaxPool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1> (t)"},
    "average": {"between": "a = AveragePool <kernel_shape = [3, 3], pads = [1, 0, 1, 1]> (t)  r = Tanh (a)"},
    "the same twice": {"concat": "t = Concat <axis = 1> (x, x)", "channels": 64},
    "three": {"concat": "t = Concat <axis = 1> (x, z, x)", "channels": 84},
    "one in another": {
        "concat": "s = Concat <axis = 1> (z, x)  t = Concat <axis = 1> (x, s)",
        "channels": 84,
    },
}


@pytest.mark.parametrize("given", READS.values(), ids=READS)
@pytest.mark.parametrize("kind", ["float", "float16"])
def test_a_sum_of_convolutions(given: dict[str, Any], kind: str) -> None:
    feed = {
        name: array.astype(np.float16 if kind == "float16" else np.float32) for name, array in FEED.items()
    }
    times = 2 if "s = Concat" in given.get("concat", "") else 1
    result = assert_rewrites(joined(**given, kind=kind), feed, "concat-sum", times)
    assert "Concat" not in operators(result)


def test_each_of_several_readers() -> None:
    reads = "y = Conv (r, w, b)  m = MaxPool <kernel_shape = [2, 2]> (r)  u = Conv (m, w)"
    proto = joined(reads=reads, outputs=", float[N, 8, 5, 6] u")
    result = assert_rewrites(proto, FEED, "concat-sum", 2)
    assert operators(result).count("Conv") == 4


STAYS: dict[str, tuple[dict[str, Any], str | None]] = {
    "read by a sum too": ({"reads": "y = Conv (r, w)  u = Add (r, r)", "outputs": ", float[N, 52, 6, 7] u"},
                          "something other"),
    "an output": ({"between": "r = Relu (t)", "outputs": ", float[N, 52, 6, 7] t"}, "something other"),
    "as large an answer": ({"out": 40}, "more than"),
    "few channels": ({"between": "q = Slice (z, f, e, o)  r = Concat <axis = 1> (x, q)", "channels": 40,
                      **{n: np.array([i]) for n, i in (("f", 0), ("e", 8), ("o", 1))}}, "too few"),
    "slopes": ({"between": "r = PRelu (t, k)", "k": normal(52, 1, 1)}, None),
    "another axis": ({"concat": "t = Concat <axis = 2> (x, x)", "channels": 32}, None),
    "groups": ({"reads": "y = Conv <group = 2> (r, w)", "channels": 26}, None),
}  # fmt: skip


@pytest.mark.parametrize(("given", "reason"), STAYS.values(), ids=STAYS)
def test_it_stays(given: dict[str, Any], reason: str | None) -> None:
    assert_stays(joined(**given), "concat-sum", reason)
