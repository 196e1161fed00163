"""Networks in eight bits: valid, alike in onnxruntime and the reference, near to what they were in float."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from sepfactor.factor.rounding import rounded
from sepfactor.graph.int8 import INT8_OPSET, Grid, in_eight_bits_for_timing, int8_units, quantized
from sepfactor.graph.int8.even import QUARTERS, even_out, stretches
from sepfactor.graph.int8.units import groups_of_one_grid
from sepfactor.graph.load import load
from sepfactor.graph.opset import with_opset
from sepfactor.graph.prepare import prepare
from tests.graph.build import model
from tests.graph.int8.quantizing import in_eight_bits, kernel, operators, ran, snr

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 4, 12, 12)).astype(np.float32)
INPUT, OUTPUT = "float[N, 4, 12, 12] x", "float[N, C, H, W] y"
SAME = "<pads = [1, 1, 1, 1]>"


WEIGHTS = {
    "w1": kernel(16, 4, 3, 3),
    "b1": kernel(16, 1, seed=5)[:, 0],
    "w2": kernel(16, 16, 3, 3, seed=1),
    "w3": kernel(16, 16, 1, 1, seed=2),
    "dw": kernel(16, 1, 3, 3, seed=3),
    "w5": kernel(16, 4, 1, 1, seed=6),
    "wc": kernel(8, 32, 1, 1, seed=4),
    "floor": np.array(0, np.float32),
    "below": np.array(-1, np.float32),
    "top": np.array(1, np.float32),
}

NETWORKS = {
    "chain": f"""
        a = Conv {SAME} (x, w1, b1)
        b = Relu (a)
        y = Conv {SAME} (b, w2)
        """,
    "sum": f"""
        a = Conv {SAME} (x, w1, b1)
        b = Conv {SAME} (a, w2)
        c = Add (a, b)
        y = Relu (c)
        """,
    "fire": f"""
        a = Conv {SAME} (x, w1, b1)
        r = Relu (a)
        b = Conv {SAME} (r, w2)
        s = Relu (b)
        c = Conv (r, w3)
        t = Relu (c)
        d = Concat <axis = 1> (s, t)
        p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (d)
        y = Conv (p, wc)
        """,
    "depthwise": f"""
        a = Conv {SAME} (x, w1, b1)
        r = Relu (a)
        d = Conv <group = 16, pads = [1, 1, 1, 1]> (r, dw)
        e = Conv (d, w3)
        y = GlobalAveragePool (e)
        """,
    "cut off on both sides": f"""
        a = Conv {SAME} (x, w1, b1)
        r = Clip (a, floor, top)
        d = Conv <group = 16, pads = [1, 1, 1, 1]> (r, dw)
        s = Clip (d, floor, top)
        p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (s)
        y = Conv (p, w3)
        """,
    "joined with what is negative": f"""
        a = Conv {SAME} (x, w1, b1)
        r = Relu (a)
        b = Conv (x, w5)
        d = Concat <axis = 1> (r, b)
        y = Conv (d, wc)
        """,
    "read before its Relu": f"""
        a = Conv {SAME} (x, w1, b1)
        r = Relu (a)
        b = Conv {SAME} (r, w2)
        y = Add (a, b)
        """,
    "seen twice": f"""
        a = Conv {SAME} (x, w1, b1)
        r = Relu (a)
        h = Sigmoid (r)
        b = Conv {SAME} (r, w2)
        y = Mul (b, h)
        """,
}


def network(name: str) -> ir.Model:
    return read(NETWORKS[name], INPUT, **{k: v for k, v in WEIGHTS.items() if k in NETWORKS[name]})


def read(body: str, inputs: str, **weights: np.ndarray) -> ir.Model:
    made = model(body, inputs, OUTPUT, **weights)
    made.opset_import[0].version = 19  # the first that onnx.reference knows these operators of
    stream = io.BytesIO()
    onnx.save(made, stream)
    return prepare(load(stream.getvalue()).model)


each = pytest.mark.parametrize("name", NETWORKS)


@each
def test_near_to_float(name: str) -> None:
    plain = network(name)
    before = ir.to_proto(plain).SerializeToString()
    made = in_eight_bits(plain, X)
    onnx.checker.check_model(ir.to_proto(made), full_check=True)
    assert snr(ran(plain, X), ran(made, X)) > 30
    assert [value.name for value in made.graph.outputs] == ["y"]
    assert ir.to_proto(plain).SerializeToString() == before


@each
def test_the_reference_says_the_same(name: str) -> None:
    proto = ir.to_proto(in_eight_bits(network(name), X))
    (wanted,) = ReferenceEvaluator(proto).run(None, {"x": X})
    # A product that lies between two codes may be rounded to either of them.
    assert snr(wanted, ran(ir.from_proto(proto), X)) > 40


@each
def test_onnxruntime_computes_in_integers(name: str, tmp_path: Path) -> None:
    found = operators(in_eight_bits(network(name), X), tmp_path)
    assert "Conv" not in found
    assert not {"FusedConv", "Relu", "Clip"} & set(found)
    assert found.count("QLinearConv") == NETWORKS[name].count("= Conv")
    if name == "sum":
        assert "QLinearAdd" in found
    if name == "fire":
        assert "QLinearConcat" in found


@each
def test_for_timing_it_computes_in_integers_too(name: str, tmp_path: Path) -> None:
    found = operators(in_eight_bits_for_timing(network(name)), tmp_path)
    assert not {"Conv", "FusedConv", "Clip"} & set(found)


@each
@pytest.mark.parametrize("number", range(4))
def test_any_part_of_it(name: str, number: int) -> None:
    plain = network(name)
    names = list(int8_units(plain))
    chosen = [one for k, one in enumerate(names) if (k + number) % (2 + number // 2) == 0]
    made = in_eight_bits(plain, X, chosen)
    onnx.checker.check_model(ir.to_proto(made), full_check=True)
    assert snr(ran(plain, X), ran(made, X)) > 30
    codes = {
        str(node.inputs[0].name) for node in made.graph if node.op_type == "QuantizeLinear" and node.inputs[0]
    }
    assert bool(codes) == bool(chosen)


def test_nothing_chosen_is_the_same_network() -> None:
    plain = network("fire")
    assert np.array_equal(ran(plain, X), ran(in_eight_bits(plain, X, ()), X))


def test_what_has_no_form_in_eight_bits() -> None:
    units = int8_units(network("seen twice"))
    assert {unit.node.op_type for unit in units.values()} == {"Conv"}
    old = network("chain")
    old.graph.opset_imports[""] = INT8_OPSET - 1
    assert not int8_units(old)


def test_a_relu_stays_where_its_codes_do_not_begin_at_zero() -> None:
    plain = network("chain")
    units = int8_units(plain)
    weights = {n: rounded(unit.weight) for n, unit in units.items()}
    grids = {name: Grid(0.1, 128) for name in ("x", "b", "y")}
    assert snr(ran(plain, X), ran(quantized(plain, list(units), grids, weights), X)) > 15


def test_a_clip_stays_where_codes_go_beyond_it() -> None:
    plain = network("cut off on both sides")
    units = int8_units(plain)
    weights = {n: rounded(unit.weight) for n, unit in units.items() if unit.is_weighted}
    for scale, clips in ((1 / 255, 0), (2 / 255, 2)):
        grids = {name: Grid(scale) for name in ("r", "s", "p")} | {n: Grid(0.05, 128) for n in "xy"}
        made = quantized(plain, list(units), grids, weights)
        assert sum(node.op_type == "Clip" for node in made.graph) == clips
        assert snr(ran(plain, X), ran(made, X)) > 15


@pytest.mark.parametrize(
    ("low", "high"), [("below", "top"), ("floor", "bound"), ("bound", "top"), ("", "top")]
)
def test_a_clip_is_no_part_of_a_unit_unless_it_is_at_zero_and_constant(low: str, high: str) -> None:
    body = f"a = Conv (x, w5)  r = Clip (a, {low}, {high})  y = Conv (r, w3)"
    given = {name: WEIGHTS[name] for name in ("w5", "w3", low, high) if name in WEIGHTS}
    plain = read(body, f"{INPUT}, float bound", **given)
    assert set(int8_units(plain)) == {"a", "y"}


def test_what_a_join_brings_together_shares_a_grid() -> None:
    units = [*int8_units(network("fire")).values()]
    groups = {frozenset(group) for group in groups_of_one_grid(units)}
    assert frozenset({"s", "t", "d", "p"}) in groups
    assert frozenset({"r"}) in groups


@pytest.mark.parametrize("name", ["chain", "fire", "depthwise"])
def test_evening_out_changes_nothing_in_float(name: str) -> None:
    plain = network(name)
    found = stretches(int8_units(plain))
    wanted = ran(plain, X)
    assert found
    for number, stretch in enumerate(found):
        quarters = np.random.default_rng(number).integers(-2 * QUARTERS, 3 * QUARTERS, stretch.channels)
        even_out(stretch, [int(n) for n in quarters])
    assert snr(wanted, ran(plain, X)) > 110


def test_only_what_takes_the_scale_back_is_evened_out() -> None:
    makers: Callable[[str], set[str]] = lambda name: {  # noqa: E731
        s.maker.name for s in stretches(int8_units(network(name)))
    }
    assert makers("chain") == {"b"}
    assert makers("sum") == set()  # both summands would have to be scaled alike
    assert makers("fire") == {"r"}  # behind a Concat it is none's own
    assert makers("depthwise") == {"r", "d"}
    assert makers("seen twice") == set()  # a Sigmoid does not take it back
    assert makers("cut off on both sides") == set()  # nor does a Clip
    shown = network("chain")
    shown.graph.outputs.append(ir.convenience.create_value_mapping(shown.graph)["b"])
    assert not stretches(int8_units(shown))


def test_even_channels_lose_less() -> None:
    plain = network("chain")
    (stretch,) = stretches(int8_units(plain))
    even_out(stretch, [-3 * QUARTERS * (i % 3) for i in range(16)])  # now some are 64 times smaller
    uneven = snr(ran(plain, X), ran(in_eight_bits(plain, X), X))
    even_out(stretch, [3 * QUARTERS * (i % 3) for i in range(16)])
    assert snr(ran(plain, X), ran(in_eight_bits(plain, X), X)) > uneven + 3


def test_an_older_operator_set_is_raised() -> None:
    plain = network("fire")
    plain.graph.opset_imports[""] = 11
    assert not int8_units(plain)
    raised = with_opset(plain, INT8_OPSET)
    assert raised is not None
    assert raised.opset_imports[""] == INT8_OPSET
    assert np.array_equal(ran(plain, X), ran(raised, X))
    assert with_opset(raised, INT8_OPSET) is raised
    assert snr(ran(plain, X), ran(in_eight_bits(raised, X), X)) > 30
