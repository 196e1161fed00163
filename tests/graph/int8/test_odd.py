"""Odd networks in eight bits: small weights beside large biases, rows that are added, sizes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sepfactor.fit.ranges import look_at
from sepfactor.graph.int8 import int8_units
from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.measure import OnnxRuntime
from tests.graph.build import model
from tests.graph.int8.quantizing import in_eight_bits, kernel, ran, snr


def prepared(made: onnx.ModelProto) -> ir.Model:
    made.opset_import[0].version = 19
    return prepare(load(made.SerializeToString()).model)


@pytest.mark.parametrize("small", [1e-8, 1e-43, 0.0])
def test_a_channel_of_next_to_nothing_keeps_its_bias(small: float) -> None:
    weight = kernel(16, 8, 3, 3)
    weight[:4] = small
    plain = prepared(
        model(
            "y = Conv (x, w, b)",
            "float[N, 8, 9, 9] x",
            "float[N, 16, 7, 7] y",
            w=weight,
            b=np.full(16, 2.0, np.float32),
        )
    )
    x = np.random.default_rng(0).standard_normal((1, 8, 9, 9)).astype(np.float32)
    found, wanted = ran(in_eight_bits(plain, x), x), ran(plain, x)
    assert snr(wanted, found) > 35
    assert np.abs(found - wanted)[:, :4].max() < 0.05


@pytest.mark.parametrize(
    ("shape", "fits"), [((8,), True), ((1, 8), True), ((1,), True), ((8, 1), False), ((8, 8), False)]
)
def test_a_product_adds_a_number_to_each_output(shape: tuple[int, ...], fits: bool) -> None:
    bias = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    plain = prepared(model("y = Gemm (x, w, b)", "float[8, 12] x", "float[8, 8] y", w=kernel(12, 8), b=bias))
    assert bool(int8_units(plain)) == fits
    x = np.random.default_rng(2).standard_normal((8, 12)).astype(np.float32)
    assert snr(ran(plain, x), ran(in_eight_bits(plain, x), x)) > 30


def test_sizes_stay_what_they_are() -> None:
    plain = prepared(
        model(
            """
            s = Shape (x)
            f = Cast <to = 1> (s)
            t = Unsqueeze (f, zero)
            u = Squeeze (t, zero)
            g = Cast <to = 7> (u)
            y = Expand (x, g)
            """,
            "float[N, 3, 9, 9] x",
            "float[N, 3, 9, 9] y",
            zero=np.array([0], np.int64),
        )
    )
    assert not [name for name in int8_units(plain) if name in "stu"]


def test_a_relu_of_another_domain_is_none() -> None:
    plain = prepared(
        model(
            "a = Conv (x, w)\ny = Relu (a)",
            "float[N, 3, 9, 9] x",
            "float[N, 4, 7, 7] y",
            w=kernel(4, 3, 3, 3),
        )
    )
    assert [unit.is_cut_off for unit in int8_units(plain).values()] == [True]
    next(node for node in plain.graph if node.op_type == "Relu").domain = "mine"
    assert [unit.is_cut_off for unit in int8_units(plain).values()] == [False]


def test_numbers_without_end_and_maps_of_many_sizes() -> None:
    plain = prepared(model("a = Log (x)\ny = Relu (a)", "float[N, C, 4] x", "float[N, C, 4] y"))
    feeds = [{"x": np.full((1, channels, 4), value, np.float32)} for channels, value in ((2, 0.0), (3, 5.0))]
    found = look_at(plain, ["x", "a"], feeds, OnnxRuntime(), 10**9)
    assert found["x"].high == 5.0
    assert found["x"].channels.shape == (1,)
    assert np.isfinite([found["a"].low, found["a"].high]).all()
    assert found["a"].counts.sum() == 12
