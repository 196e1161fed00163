"""Channels are filled up for the integer kernels, and nothing of it is seen outside."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from sepfactor.graph.int8 import in_eight_bits_for_timing, int8_units
from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from tests.graph.build import model
from tests.graph.int8.quantizing import in_eight_bits, kernel, operators, ran, snr

SAME = "<pads = [1, 1, 1, 1]>"
BODIES = {
    "ends the network": f"""
        a = Conv {SAME} (x, w1, b1)
        r = Relu (a)
        y = Conv {SAME} (r, w2, b2)
        """,
    "behind a Relu": f"""
        a = Conv {SAME} (x, w1, b1)
        r = Relu (a)
        b = Conv {SAME} (r, w2, b2)
        s = Relu (b)
        y = Conv (s, w3)
        """,
    "into a sum": f"""
        a = Conv {SAME} (x, w1, b1)
        b = Conv (a, w4)
        c = Add (a, b)
        y = Relu (c)
        """,
}


def network(body: str, read: int, hidden: int, written: int) -> ir.Model:
    weights = {
        "w1": kernel(hidden, read, 3, 3),
        "b1": kernel(hidden, 1, seed=1)[:, 0],
        "w2": kernel(written, hidden, 3, 3, seed=2),
        "b2": kernel(written, 1, seed=3)[:, 0],
        "w3": kernel(4, written, 1, 1, seed=4),
        "w4": kernel(hidden, hidden, 1, 1, seed=5),
    }
    made = model(
        BODIES[body],
        f"float[N, {read}, 12, 12] x",
        "float[N, C, 12, 12] y",
        **{name: weight for name, weight in weights.items() if name in BODIES[body]},
    )
    made.opset_import[0].version = 19
    stream = io.BytesIO()
    onnx.save(made, stream)
    return prepare(load(stream.getvalue()).model)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(("read", "hidden", "written"), [(1, 16, 9), (3, 18, 3), (4, 16, 16), (5, 7, 21)])
def test_filled_channels(body: str, read: int, hidden: int, written: int, tmp_path: Path) -> None:
    plain = network(body, read, hidden, written)
    x = np.random.default_rng(0).standard_normal((2, read, 12, 12)).astype(np.float32)
    made = in_eight_bits(plain, x)
    proto = ir.to_proto(made)
    onnx.checker.check_model(proto, full_check=True)
    found, wanted = ran(made, x), ran(plain, x)
    assert found.shape == wanted.shape
    assert snr(wanted, found) > 30
    (same,) = ReferenceEvaluator(proto).run(None, {"x": x})
    assert snr(same, found) > 40
    assert [value.name for value in made.graph.outputs] == ["y"]
    assert "Conv" not in operators(made, tmp_path)
    for node in made.graph:
        if node.op_type == "Pad":  # of codes, which are a quarter of the bytes
            assert node.inputs[0].producer().op_type == "QuantizeLinear"  # type: ignore[union-attr]
        if node.op_type == "Conv":
            codes = node.inputs[1].producer().inputs[0].const_value.numpy()  # type: ignore[union-attr]
            assert codes.shape[1] % 4 == 0
            assert codes.shape[0] % 4 == 0
            assert codes.shape[0] >= 16


def test_grouped_ones_stay() -> None:
    made = model(
        "y = Conv <group = 3> (x, w)", "float[N, 3, 8, 8] x", "float[N, 3, 6, 6] y", w=kernel(3, 1, 3, 3)
    )
    stream = io.BytesIO()
    onnx.save(made, stream)
    plain = prepare(load(stream.getvalue()).model)
    assert int8_units(plain)
    assert not [n for n in in_eight_bits_for_timing(plain).graph if n.op_type in ("Pad", "Slice")]
