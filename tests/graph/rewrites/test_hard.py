"""Hard sigmoids and hard swish as exporters spell them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from sepfactor.graph.rewrites import opset as opset_module
from tests.graph.build import model, normal
from tests.graph.rewrites.rewriting import assert_rewrites, assert_stays, operators, rewritten

CLIPS = {
    "clip": ("c = Clip (p, zero, six)", 11),
    "clip of old": ("c = Clip <min = 0.0, max = 6.0> (p)", 9),
    "min of max": ("l = Max (p, zero)  c = Min (l, six)", 13),
    "max of min": ("l = Min (six, p)  c = Max (zero, l)", 13),
    "min of relu": ("l = Relu (p)  c = Min (l, six)", 13),
}
SWISHES = {
    "divided at last": "m = Mul (x, c)  y = Div (m, six)",
    "times a sixth at last": "m = Mul (c, x)  y = Mul (sixth, m)",
    "divided before": "d = Div (c, six)  y = Mul (x, d)",
    "the value divided": "d = Mul (x, sixth)  y = Mul (d, c)",
}
NUMBERS = {name: np.float32(n) for name, n in (("three", 3), ("zero", 0), ("six", 6), ("sixth", 1 / 6))}


def network(body: str, opset: int = 13, kind: str = "float", dtype: Any = np.float32) -> onnx.ModelProto:
    numbers = {name: dtype(number) for name, number in NUMBERS.items()}
    return model(body, f"{kind}[N, 4, 5] x", f"{kind}[N, 4, 5] y", opset=opset, **numbers)


def feed(dtype: Any = np.float32) -> dict[str, np.ndarray]:
    return {"x": 4 * normal(2, 4, 5, dtype=dtype)}


@pytest.mark.parametrize(("clip", "opset"), CLIPS.values(), ids=CLIPS)
@pytest.mark.parametrize("swish", SWISHES.values(), ids=SWISHES)
def test_hard_swish(clip: str, opset: int, swish: str) -> None:
    body = f"p = Add (x, three)  {clip}  {swish}"
    proto = network(body, opset)
    if opset >= 11:
        result = assert_rewrites(proto, feed(), "hard-swish")
        assert operators(result) == ["HardSwish"]
        assert result.model.opset_imports[""] == 14
    result = assert_rewrites(proto, feed(), "hard-sigmoid")
    assert operators(result) == ["HardSigmoid", "Mul"]


@pytest.mark.parametrize(("clip", "opset"), CLIPS.values(), ids=CLIPS)
@pytest.mark.parametrize("scale", ["y = Div (c, six)", "y = Mul (sixth, c)"])
def test_hard_sigmoid(clip: str, opset: int, scale: str) -> None:
    result = assert_rewrites(network(f"p = Add (three, x)  {clip}  {scale}", opset), feed(), "hard-sigmoid")
    assert operators(result) == ["HardSigmoid"]


@pytest.mark.parametrize("opset", [14, 20])
def test_a_hard_sigmoid_times_what_it_reads(opset: int) -> None:
    body = "h = HardSigmoid <alpha = 0.1666667, beta = 0.5> (x)  y = Mul (h, x)"
    assert_rewrites(network(body, opset), feed(), "hard-swish")
    assert_stays(network(body, opset), "hard-sigmoid")


def test_half_precision() -> None:
    body = "p = Add (x, three)  c = Clip (p, zero, six)  m = Mul (x, c)  y = Div (m, six)"
    proto = network(body, kind="float16", dtype=np.float16)
    for rule in ("hard-swish", "hard-sigmoid"):
        assert_rewrites(proto, feed(np.float16), rule)


def test_double_precision_stays() -> None:
    body = "p = Add (x, three)  c = Clip (p, zero, six)  m = Mul (x, c)  y = Div (m, six)"
    proto = network(body, kind="double", dtype=np.float64)
    for rule in ("hard-swish", "hard-sigmoid"):
        assert_stays(proto, rule, "of its type")


OTHERS = {
    "another value": "p = Add (x, three)  c = Clip(p, zero, six)  r = Neg(x)  m = Mul(r, c)  y = Div(m, six)",
    "not from zero": "p = Add (x, three)  c = Clip (p, sixth, six)  m = Mul (x, c)  y = Div (m, six)",
    "another end": "p = Add (x, three)  c = Clip (p, zero, three)  m = Mul (x, c)  y = Div (m, six)",
    "another shift": "p = Add (x, sixth)  c = Clip (p, zero, six)  m = Mul (x, c)  y = Div (m, six)",
    "divided into": "p = Add (x, three)  c = Clip (p, zero, six)  m = Mul (x, c)  y = Div (six, m)",
}


@pytest.mark.parametrize("body", OTHERS.values(), ids=OTHERS)
def test_what_is_not_hard_swish(body: str) -> None:
    assert_stays(network(body), "hard-swish")


def test_a_gate_of_another_value_is_a_hard_sigmoid() -> None:
    assert_rewrites(network(OTHERS["another value"]), feed(), "hard-sigmoid")
    assert_rewrites(network(OTHERS["another shift"]), feed(), "hard-sigmoid")


def test_what_others_read_is_still_computed() -> None:
    body = "p = Add (x, three)  c = Clip (p, zero, six)  m = Mul (x, c)  d = Div (m, six)  y = Add (d, c)"
    assert_rewrites(network(body), feed(), "hard-sigmoid")


RAISED = {
    "axes": ("r = ReduceSum <axes = [2], keepdims = 0> (h)  y = Unsqueeze <axes = [2]> (r)", 12),
    "squeeze": ("u = Unsqueeze <axes = [0]> (h)  y = Squeeze <axes = [0]> (u)", 11),
    "split": ("a, b = Split <axis = 1, split = [1, 3]> (h)  y = Concat <axis = 1> (a, b)", 12),
    "even split": ("a, b = Split <axis = 1> (h)  y = Concat <axis = 1> (b, a)", 12),
    "softmax": ("y = Softmax <axis = 2> (h)", 12),
    "softmax of unknown shape": (
        "r = Reshape (h, open)  t = Transpose <perm = [0, 1, 2]> (r)  y = Softmax <axis = 2> (t)", 11
    ),
    "norm": ("y = BatchNormalization (h, s, s, s, s)", 11),
    "dropout": ("y = Dropout <ratio = 0.3> (h)", 11),
}  # fmt: skip


@pytest.mark.parametrize(("behind", "opset"), RAISED.values(), ids=RAISED)
def test_what_a_newer_opset_says_otherwise(behind: str, opset: int) -> None:
    body = f"p = Add (x, three)  c = Clip (p, zero, six)  m = Mul (x, c)  h = Div (m, six)  {behind}"
    proto = model(body, "float[2, 4, 5] x", "float[A, B, C] y", opset=opset, **NUMBERS,
                  s=np.abs(normal(4)) + 1, open=np.array([0, 4, -1]))  # fmt: skip
    assert_rewrites(proto, feed(), "hard-swish")


REFUSED = {
    "over two axes": ("y = Softmax <axis = 1> (h)", 12, "over several axes"),
    "training": ("y, e, f, i, j = BatchNormalization (h, s, s, s, s)", 11, "as in training"),
    "too old": ("y = Neg (h)", 10, "of opset 10"),
}


@pytest.mark.parametrize(("behind", "opset", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_raised(behind: str, opset: int, reason: str) -> None:
    clip = "Clip (p, zero, six)" if opset > 10 else "Clip <min = 0.0, max = 6.0> (p)"
    body = f"p = Add (x, three)  c = {clip}  m = Mul (x, c)  h = Div (m, six)  {behind}"
    proto = model(
        body, "float[2, 4, 5] x", "float[2, 4, 5] y", opset=opset, **NUMBERS, s=np.ones(4, np.float32)
    )
    assert_stays(proto, "hard-swish", reason)
    assert rewritten(proto).counts["hard-sigmoid"] == 1


SAME_MEANING = {
    *("ArgMax", "ArgMin", "Constant", "DequantizeLinear", "GRU", "GatherND", "LSTM", "QuantizeLinear", "RNN"),
    *("Reshape", "Resize"),
}
"""New attributes whose default is what was before, and inputs that may be left out now."""


def test_every_operator_that_changed_its_meaning_is_known() -> None:
    """Those whose attributes or number of inputs and outputs differ; in the others types were added."""
    changed = set()
    for schema in onnx.defs.get_all_schemas():
        if schema.domain == "" and schema.name not in changed:
            try:
                old, new = (onnx.defs.get_schema(schema.name, opset, "") for opset in (11, 14))
            except onnx.defs.SchemaError:  # it came later
                continue
            if _form(old) != _form(new):
                changed.add(schema.name)
    known = {*opset_module._OVER_LAST_AXIS, *opset_module._TO_INPUT, *opset_module._CHECKS, *SAME_MEANING}
    assert changed == known


def _form(schema: Any) -> Any:
    attributes = {name: str(value.default_value) for name, value in schema.attributes.items()}
    ends = schema.min_input, schema.max_input, schema.min_output, schema.max_output
    return attributes, ends
