"""Inputs that may be left out stay inputs; weights that are listed among the inputs do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sepfactor.graph.instrument import serialized
from sepfactor.graph.prepare import prepare
from sepfactor.graph.survey import survey
from tests.graph.build import assert_same, model, norm_of, normal, run, run_reference, with_weights_as_inputs
from tests.robustness.way import attempt, pretend_faster

CONV = "[k] a = Conv<pads = [1,1,1,1]>(x, w)"
X = {"x": normal(1, 4, 6, 7)}
W = {"w": normal(8, 4, 3, 3)}
DEFAULTS: dict[str, tuple[str, dict[str, np.ndarray], dict[str, np.ndarray]]] = {
    "a gain": ("y = Mul(a, gain)", {"gain": np.array(2, np.float32)}, {"gain": np.array(-0.5, np.float32)}),
    "a bound": ("y = Max(a, least)", {"least": np.array(0, np.float32)}, {"least": np.array(9, np.float32)}),
    "a summand as large as the map": (
        "y = Add(a, m)",
        {"m": normal(1, 8, 6, 7)},
        {"m": normal(1, 8, 6, 7, seed=1)},
    ),
    "a shape": ("y = Reshape(a, s)", {"s": np.array([1, 8, 42])}, {"s": np.array([2, 4, -1])}),
    "a choice": (
        """y = If(c) <then_branch = t () => (float[N,8,H,W] d) {d = Relu(a)},
                     else_branch = e () => (float[N,8,H,W] f) {f = Neg(a)}>""",
        {"c": np.array(True)},
        {"c": np.array(False)},
    ),
}


def listing(proto: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    """The model with these initialisers among its inputs."""
    for tensor in proto.graph.initializer:
        if tensor.name in names:
            proto.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return proto


@pytest.mark.parametrize(("body", "defaults", "others"), DEFAULTS.values(), ids=DEFAULTS.keys())
def test_a_default_can_still_be_overridden(body, defaults, others) -> None:
    proto = listing(model(f"{CONV}  {body}", "float[N,4,H,W] x", "float y", **W, **defaults), *defaults)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    prepared = prepare(ir.from_proto(proto))
    assert [value.name for value in prepared.graph.inputs] == ["x", *defaults]
    assert [site.skipped for site in survey(prepared)] == [None]
    for feed in (X, X | others):
        assert_same(run(serialized(prepared), feed), run(proto, feed))


def test_the_whole_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_faster(monkeypatch.setattr)
    gain = {"gain": np.array(2, np.float32)}
    body = f"{CONV}  b = Mul(a, gain)  y = Conv(b, v)"
    proto = model(body, "float[N,4,6,7] x", "float[N,3,4,5] y", **W, **gain, v=normal(3, 8, 3, 3))
    listing(proto, "gain", "w")
    result = attempt(proto, tmp_path / "out.onnx", data=X, rank=2, scheme=["spatial"], overwrite=True)
    assert not isinstance(result, str), result
    found = onnx.load(tmp_path / "out.onnx")
    assert [value.name for value in found.graph.input] == ["x", "gain"]
    none, two, four = (run(found, X | {"gain": np.array(n, np.float32)})[0] for n in (0, 2, 4))
    assert_same([four - two], [two - none])  # what is fitted is affine in the gain
    assert_same(run(found, X), [two])
    assert np.abs(two - none).max() > 1


LISTED = {
    "the weight of a layer": (CONV.replace("a =", "y ="), W, ("w",)),
    "what a weight is computed of": (
        "t = Cast<to = 1>(h)  q = Mul(t, g)  [k] y = Conv<pads = [1,1,1,1]>(x, q)",
        {"h": normal(8, 4, 3, 3).astype(np.float16), "g": np.array(2, np.float32), "other": np.zeros(1)},
        ("h", "g"),
    ),
    "those of a normalisation": (
        f"{CONV}  y = BatchNormalization(a, s, b, m, v)",
        W | norm_of(8),
        ("s", "b", "m", "v"),
    ),
}


@pytest.mark.parametrize(("body", "constants", "listed"), LISTED.values(), ids=LISTED.keys())
def test_weights_leave(body, constants, listed) -> None:
    proto = listing(model(body, "float[N,4,6,7] x", "float[N,8,6,7] y", **constants), *listed)
    prepared = prepare(ir.from_proto(proto))
    assert [value.name for value in prepared.graph.inputs] == ["x"]
    # Not onnxruntime: 1.23, the last for Python 3.10, crashes over weights computed of listed values.
    assert_same(run(serialized(prepared), X), run_reference(proto, X))


@pytest.mark.parametrize("version", [3, 8])
def test_where_everything_is_listed_all_of_it_leaves(version: int) -> None:
    body, defaults, _ = DEFAULTS["a gain"]
    proto = model(f"{CONV}  {body}", "float[N,4,6,7] x", "float[N,8,6,7] y", **W, **defaults)
    proto.ir_version = version
    prepared = prepare(ir.from_proto(with_weights_as_inputs(proto)))
    assert [value.name for value in prepared.graph.inputs] == ["x"]
