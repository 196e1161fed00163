"""Rows of operators at random, all rules at once: valid, the same outside, the same answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import event, given
from hypothesis import strategies as st

from sepfactor.measure.equality import distance
from tests.graph.build import check, interface, model, normal, run
from tests.graph.rewrites.rewriting import rewritten, run_plainly

EXACT_DB = 90
STEPS = {
    "conv": "{y} = Conv <pads = [1, 1, 1, 1]> ({x}, w3, c)",
    "1×1": "{y} = Conv ({x}, w1, c)",
    "1×1 without bias": "{y} = Conv ({x}, w1)",
    "depthwise": "{y} = Conv <group = 16, pads = [1, 1, 1, 1]> ({x}, wd, c)",
    "scale": "{y} = Mul ({x}, k)",
    "scale per channel": "{y} = Mul (p, {x})",
    "shift": "{y} = Add ({x}, k)",
    "shift per channel": "{y} = Sub (p, {x})",
    "divided": "{y} = Div ({x}, six)",
    "negated": "{y} = Neg ({x})",
    "normalised": "{y} = BatchNormalization ({x}, s, c, c, s)",
    "relu": "{y} = Relu ({x})",
    "leaky relu": "{y} = LeakyRelu ({x})",
    "leaky relu, written out": "{y}m = Mul ({x}, k)  {y} = Max ({x}, {y}m)",
    "prelu": "{y} = PRelu ({x}, p)",
    "softplus": "{y} = Softplus ({x})",
    "bounded": "{y} = Max ({x}, k)",
    "bounded twice": "{y}m = Max (zero, {x})  {y} = Min ({y}m, six)",
    "clip": "{y} = Clip ({x}, zero, six)",
    "hard swish": "{y}a = Add ({x}, three)  {y}b = Clip ({y}a, zero, six)  {y}d = Mul ({x}, {y}b)"
    "  {y} = Div ({y}d, six)",
    "hard sigmoid": "{y}a = Add ({x}, three)  {y}b = Clip ({y}a, zero, six)  {y} = Div ({y}b, six)",
    "silu": "{y}a = Sigmoid ({x})  {y} = Mul ({x}, {y}a)",
    "mish": "{y}a = Softplus ({x})  {y}b = Tanh ({y}a)  {y} = Mul ({x}, {y}b)",
    "gelu": "{y}a = Pow ({x}, three)  {y}b = Mul ({y}a, k)  {y}d = Add ({x}, {y}b)  {y}e = Tanh ({y}d)"
    "  {y}f = Add ({y}e, one)  {y}g = Mul ({x}, {y}f)  {y} = Mul ({y}g, half)",
    "everything": "{y} = Slice ({x}, start, end)",
    "gate": "{y}a = GlobalAveragePool ({x})  {y}b = Sigmoid ({y}a)  {y}d = Mul ({x}, {y}b)"
    "  {y} = Add ({x}, {y}d)",
    "mean": "{y}a = ReduceMean <axes = [2, 3]> ({x})  {y} = Sub ({x}, {y}a)",
    "pool": "{y} = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> ({x})",
    "halves": "{y}a, {y}b = Split <axis = 1> ({x}, eights)  {y} = Concat <axis = 1> ({y}b, {y}a)",
    "channels of zeros": "{y}a = Pad ({x}, more)  {y} = Conv ({y}a, w20)",
    "odd": "{y}a = Conv ({x}, w18)  {y}b = Relu ({y}a)  {y} = Conv ({y}b, v18)",
    "few channels": "{y}a = Conv <pads = [2, 2, 2, 2]> ({x}, few)  {y}b = Relu ({y}a)"
    "  {y} = Conv ({y}b, many)",
    "a row": "{y}a = GlobalAveragePool ({x})  {y}b = Conv <pads = [4, 0, 5, 0]> ({y}a, row)"
    "  {y}d = ReduceMean <axes = [2]> ({y}b)  {y} = Add ({x}, {y}d)",
    "together": "{y}a = Concat <axis = 1> ({x}, {z})  {y} = Conv ({y}a, w32)",
    "sum": "{y} = Add ({x}, {z})",
    "product": "{y} = Mul ({x}, {z})",
}  # fmt: skip
"""What may follow: ``x`` is what it reads, ``y`` what it writes, and ``z`` is an earlier value."""


def network(
    steps: Sequence[str], earlier: Sequence[int], outputs: Sequence[int], opset: int
) -> onnx.ModelProto:
    """A row of steps over maps of 16 channels; some of the values in it are outputs too."""
    names = [f"v{i}" for i in range(len(steps) + 1)]
    body = ["v0 = Conv <pads = [1, 1, 1, 1]> (x, w3)"]
    for i, (step, back) in enumerate(zip(steps, earlier, strict=True)):
        body.append(STEPS[step].format(x=names[i], y=names[i + 1], z=names[back % (i + 1)]))
    ends = dict.fromkeys(names[i % len(names)] for i in (*outputs, len(steps)))
    halves = np.concatenate([normal(12), [1.0, 0.3, 2.0, 0.0]]).astype(np.float32)
    return model(
        "  ".join(body),
        "float[N, 16, 6, 6] x",
        ", ".join(f"float[N, 16, 6, 6] {name}" for name in ends),
        opset=opset,
        w3=normal(16, 16, 3, 3) / 12,
        w1=normal(16, 16, 1, 1) / 4,
        w20=normal(16, 20, 1, 1) / 4,
        w32=normal(16, 32, 1, 1) / 6,
        w18=normal(18, 16, 1, 1) / 4,
        v18=normal(16, 18, 1, 1) / 4,
        few=normal(3, 16, 5, 5) / 20,
        many=normal(16, 3, 1, 1) / 2,
        row=normal(16, 16, 3, 1) / 7,
        wd=normal(16, 1, 3, 3) / 3,
        c=normal(16, seed=4) / 4,
        s=np.abs(normal(16, seed=5)) + np.float32(0.5),
        p=halves.reshape(16, 1, 1),
        k=np.float32(0.4),
        zero=np.float32(0),
        three=np.float32(3),
        one=np.float32(1),
        half=np.float32(0.5),
        start=np.array([0, 0]),
        end=np.array([2**31 - 1, 16]),
        six=np.float32(6),
        eights=np.array([8, 8]),
        more=np.array([0, 1, 0, 0, 0, 3, 0, 0]),
    )


@given(
    st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=8),
    st.lists(st.integers(0, 7), min_size=8, max_size=8),
    st.lists(st.integers(0, 8), max_size=2),
    st.sampled_from([13, 16]),
)
def test_the_same_answers(steps: list[str], earlier: list[int], outputs: list[int], opset: int) -> None:
    proto = network(steps, earlier[: len(steps)], outputs, opset)
    result = rewritten(proto)
    for rule in result.counts:
        event(rule)
    found = ir.to_proto(result.model)
    check(found)
    assert interface(found) == interface(proto)
    feed = {"x": normal(2, 16, 6, 6)}
    for runtime in (run, run_plainly):
        for answer, wanted in zip(runtime(found, feed), run(proto, feed), strict=True):
            assert distance(answer, wanted).snr_db > EXACT_DB or np.abs(wanted).max() < 1e-6
