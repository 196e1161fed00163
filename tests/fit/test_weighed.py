"""Errors count by what the layers that read an answer make of them, and rules by none of that."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sepfactor
from sepfactor.factor import Factorization, Stage, select_schemes
from sepfactor.factor.output_metric import OutputMetric
from sepfactor.factor.stage import Array
from sepfactor.fit.relu import error_behind_relu
from sepfactor.fit.samples import Rows
from tests.fit.small import EVERYWHERE, built, feeds, fitted, off_by, smooth, weights
from tests.graph.build import model
from tests.strategies import normal, unpadded
from tests.timing import decide_times

INS, OUTS, COUNT = 6, 12, 300


def read_in_part(relu: bool, seed: int = 0, also: str = "") -> onnx.ModelProto:
    """A 3×3 convolution of eight channels, ``a``, and a 1×1 one that makes two of them."""
    values = weights(w1=(8, 3, 3, 3), w2=(2, 8, 1, 1))
    values |= {name: normal(seed, *values[name].shape) * np.float32(0.2) for name in ("w1", "w2")}
    between = "r = Relu (a)" if relu else "r = Identity (a)"
    found = model(
        f"a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)  {between}  y = Conv (r, w2, b2)",
        "float[N, 3, H, W] x",
        "float[N, 2, H, W] y",
        **{name: value.astype(np.float32) for name, value in values.items()},
    )
    if also:
        found.graph.output.append(onnx.helper.make_tensor_value_info(also, 1, ["N", 8, "H", "W"]))
    return found


def centred(count: int, seed: int) -> list[dict[str, np.ndarray]]:
    """Around zero, so that a ReLU cuts off about half."""
    return [{"x": feed["x"] - feed["x"].mean((2, 3), keepdims=True)} for feed in feeds(count, seed=seed)]


@pytest.mark.parametrize(("relu", "share"), [(False, 0.5), (True, 0.85)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_read_of_the_answer_is_nearer(relu: bool, share: float, seed: int) -> None:
    proto, unseen = read_in_part(relu, seed), centred(6, seed + 10)
    errors = []
    for weigh in (False, True):
        settings: dict[str, Any] = {"weigh_by_readers": weigh, "entries": EVERYWHERE}
        found = fitted(proto, {"a": ("channel-out", (3,))}, centred(12, seed), **settings)
        errors.append(off_by(built(proto, found), proto, unseen))
    assert errors[1] < share * errors[0]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("rule", [{"rank": 3}, {"max_error": 0.3}])
def test_a_rule_goes_by_the_plain_error(
    relu: bool, rule: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds what it finds where the answer itself is an output of the network."""
    decide_times(monkeypatch, 2.0)
    options = {"data": {"x": smooth(12)}, "ignore": ["y"], "scheme": "spatial", "bench_seconds": 0} | rule

    def chosen(also: str) -> Any:
        row = sepfactor.compress(read_in_part(relu, also=also), **options).report.layers[0]
        return row.scheme, row.rank, row.output_error

    assert chosen("") == chosen("a")


def rows_of(seed: int, group: int, summed: bool) -> tuple[Rows, Array, Array, Array]:
    """Rows in several parts; and all of ``x``, the answers and what is added to them."""
    stage = unpadded(normal(seed, OUTS, INS // group, 2, 2), group)
    x, y, beside = (
        normal(seed + k, COUNT, *shape).astype(np.float32)
        for k, shape in enumerate([(INS, 2, 2), (OUTS,), (OUTS,)], 1)
    )
    rows = Rows(stage, keep=True)
    for part in np.array_split(np.arange(COUNT), 3):
        rows.add(x[part], y[part], beside[part] if summed else None)
    return rows, x, y, beside if summed else np.zeros_like(y)


@pytest.mark.parametrize("group", [1, 3])
@given(seed=st.integers(0, 999), summed=st.booleans())
def test_positive_at_once_is_counted(group: int, seed: int, summed: bool) -> None:
    rows, _, y, beside = rows_of(seed, group, summed)
    found, size = rows.both_positive(), OUTS // group
    assert found.shape == (group, size, size)
    for g in range(group):
        for i in range(size):
            for j in range(size):
                one, other = ((y + beside)[:, g * size + k] > 0 for k in (i, j))
                assert found[g, i, j] == pytest.approx(np.count_nonzero(one & other) / COUNT, rel=1e-6)


@pytest.mark.parametrize("group", [1, 3])
@given(seed=st.integers(0, 999), summed=st.booleans(), weigh=st.booleans())
def test_errors_behind_a_relu_are_those_of_rows_computed_one_by_one(
    group: int, seed: int, summed: bool, weigh: bool
) -> None:
    rows, x, y, beside = rows_of(seed, group, summed)
    size = OUTS // group
    stage: Stage = unpadded(normal(seed + 7, OUTS, INS // group, 2, 2), group)
    (scheme,) = select_schemes(["channel-out"])
    found = Factorization(scheme.decompose(stage).build((size,)), normal(seed + 8, OUTS))
    kernels = normal(seed + 9, group, 2, size)
    metric = OutputMetric(np.swapaxes(kernels, 1, 2) @ kernels) if weigh else None
    left = np.stack([np.eye(size)] * group) if metric is None else metric.roots[0]
    right, wrong = np.zeros((COUNT, OUTS)), np.zeros((COUNT, OUTS))
    for n in range(COUNT):
        for g in range(group):
            own = slice(g * size, (g + 1) * size)
            patch = x[n, g * (INS // group) : (g + 1) * (INS // group)]
            answer = np.tensordot(stage.weight[own], patch, 3) + found.bias[own]
            right[n, own] = left[g] @ np.maximum(y[n, own] + beside[n, own], 0)
            wrong[n, own] = left[g] @ np.maximum(answer + beside[n, own], 0)
    expected = np.linalg.norm(wrong - right) / np.linalg.norm(right - right.mean(axis=0))
    got = error_behind_relu(found, rows, metric)
    assert got == pytest.approx(float(expected), rel=1e-4)
