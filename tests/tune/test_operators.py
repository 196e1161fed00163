"""Every operator computes what onnxruntime does, and lets gradients through to every weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graph.build import model, normal, run

torch = pytest.importorskip("torch")

from sepfactor.graph.load import load  # noqa: E402
from sepfactor.tune.maps import MAPS  # noqa: E402
from sepfactor.tune.network import TorchNetwork, put_weights  # noqa: E402
from sepfactor.tune.operators import OPERATORS, Unknown  # noqa: E402

X = normal(2, 4, 7, 6)
K = {"w": normal(6, 4, 3, 3), "b": normal(6)}
I64 = np.int64

ONE: dict[str, tuple[str, dict[str, Any]]] = {
    "conv": ("y = Conv <pads = [1, 0, 2, 1], strides = [2, 1]> (x, w, b)", K),
    "conv-same": ('y = Conv <auto_pad = "SAME_LOWER", strides = [2, 2]> (x, w)', {"w": K["w"]}),
    "conv-group": ("y = Conv <group = 2, dilations = [2, 1]> (x, w)", {"w": normal(6, 2, 3, 3)}),
    "conv-transpose": (
        "y = ConvTranspose <pads = [1, 1, 1, 1], strides = [2, 2], output_padding = [1, 1]> (x, w, b)",
        {"w": normal(4, 3, 3, 3), "b": normal(3)},
    ),
    "conv-transpose-group": (
        "y = ConvTranspose <group = 2, pads = [0, 1, 1, 0]> (x, w)",
        {"w": normal(4, 3, 3, 3)},
    ),
    "max-pool": ("y = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 0, 0, 1]> (x)", {}),
    "max-pool-ceil": ("y = MaxPool <kernel_shape = [3, 2], strides = [3, 3], ceil_mode = 1> (x)", {}),
    "average-pool": ("y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x)", {}),
    "average-pool-pad": (
        "y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1> (x)",
        {},
    ),
    "average-pool-ceil": ("y = AveragePool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (x)", {}),
    "global": ("a = GlobalAveragePool (x) c = GlobalMaxPool (x) y = Add (a, c)", {}),
    "batch-norm": (
        "y = BatchNormalization (x, s, b, m, v)",
        {"s": normal(4), "b": normal(4, seed=1), "m": normal(4, seed=2), "v": np.abs(normal(4, seed=3)) + 1},
    ),
    "instance-norm": ("y = InstanceNormalization (x, s, b)", {"s": normal(4), "b": normal(4, seed=1)}),
    "layer-norm": ("y = LayerNormalization (x, s, b)", {"s": normal(6), "b": normal(6, seed=1)}),
    "gemm": (
        "f = Flatten (x) y = Gemm <alpha = 0.5, beta = 2.0, transB = 1> (f, w, b)",
        {"w": normal(5, 168), "b": normal(5)},
    ),
    "matmul": ("y = MatMul (x, w)", {"w": normal(6, 3)}),
    "prelu": ("y = PRelu (x, s)", {"s": normal(4, 1, 1)}),
    "clip": ("y = Clip (x, low, high)", {"low": np.float32(-0.5), "high": np.float32(0.7)}),
    "clip-below": ("y = Clip (x, low)", {"low": np.float32(-0.5)}),
    "leaky": ("a = LeakyRelu <alpha = 0.2> (x) c = Elu (x) y = Add (a, c)", {}),
    "hard": ("a = HardSigmoid <alpha = 0.3> (x) c = HardSwish (x) y = Mul (a, c)", {}),
    "smooth": ("a = Sigmoid (x) c = Tanh (x) d = Erf (x) e = Softplus (x) y = Sum (a, c, d, e)", {}),
    "signs": ("a = Abs (x) c = Neg (x) d = Softsign (c) y = Max (a, d, x)", {}),
    "waves": ("a = Sin (x) c = Cos (x) y = Min (a, c)", {}),
    "roots": ("a = Abs (x) c = Add (a, o) d = Sqrt (c) e = Log (c) y = Div (d, e)", {"o": np.float32(2)}),
    "powers": ("a = Exp (x) c = Reciprocal (a) d = Pow (a, o) y = Sub (c, d)", {"o": np.float32(2)}),
    "steps": ("a = Floor (x) c = Ceil (x) y = Mul (a, c)", {}),
    "softmax": ("a = Softmax <axis = 1> (x) c = LogSoftmax (x) y = Add (a, c)", {}),
    "reduce": (
        "a = ReduceMean <axes = [2, 3]> (x) c = ReduceMax <axes = [1]> (x) d = ReduceMin <axes = [3]> (x) "
        "y = Sum (a, c, d)",
        {},
    ),
    "reduce-sum": (
        "a = ReduceSum (x, axes) c = ReduceL2 <axes = [2]> (x) y = Add (a, c)",
        {"axes": I64([1])},
    ),
    "shapes": (
        "a = Transpose <perm = [0, 2, 3, 1]> (x) c = Reshape (a, s) "
        "d = Unsqueeze (c, axes) y = Squeeze (d, axes)",
        {"s": I64([0, -1, 2]), "axes": I64([1])},
    ),
    "slice": (
        "y = Slice (x, starts, ends, axes, steps)",
        {"starts": I64([1, -1]), "ends": I64([99, -99]), "axes": I64([2, 3]), "steps": I64([2, -1])},
    ),
    "split": ("a, c = Split <axis = 1> (x, s) y = Concat <axis = 1> (c, a)", {"s": I64([1, 3])}),
    "pad": ("y = Pad (x, p, v)", {"p": I64([0, 1, 2, 0, 0, 0, 1, 3]), "v": np.float32(0.5)}),
    "pad-reflect": ('y = Pad <mode = "reflect"> (x, p)', {"p": I64([0, 0, 2, 0, 0, 0, 1, 3])}),
    "pad-edge": ('y = Pad <mode = "edge"> (x, p)', {"p": I64([0, 0, 2, 0, 0, 0, 1, 3])}),
    "gather": ("y = Gather <axis = 1> (x, i)", {"i": I64([[3, 0], [1, -1]])}),
    "expand": ("a = ReduceMean <axes = [1]> (x) c = Expand (a, s) y = Tile (c, r)",
               {"s": I64([1, 3, 1, 1]), "r": I64([1, 2, 1, 1])}),
    "depth-to-space": ("y = DepthToSpace <blocksize = 2> (x)", {}),
    "depth-to-space-crd": ('y = DepthToSpace <blocksize = 2, mode = "CRD"> (x)', {}),
    "space-to-depth": ("a = Slice (x, z, e, i) y = SpaceToDepth <blocksize = 2> (a)",
                       {"z": I64([0]), "e": I64([6]), "i": I64([2])}),
    "resize-nearest": ('y = Resize <mode = "nearest"> (x, , s)', {"s": np.float32([1, 1, 2, 1.5])}),
    "resize-floor": (
        'y = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", '
        'nearest_mode = "floor"> (x, , s)',
        {"s": np.float32([1, 1, 2, 3])},
    ),
    "resize-linear": ('y = Resize <mode = "linear"> (x, , , s)', {"s": I64([2, 4, 13, 9])}),
    "resize-corners": (
        'y = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, , , s)',
        {"s": I64([2, 4, 13, 9])},
    ),
    "by-shape": (
        "a = Shape (x) c = Gather (a, i) d = ConstantOfShape (c) e = Cast <to = 1> (d) "
        "y = Concat <axis = 1> (x, e)",
        {"i": I64([0, 1, 2, 3])},
    ),
    "where": ("a = Greater (x, o) y = Where (a, x, o)", {"o": np.float32(0.1)}),
    "kept": ("a = Identity (x) c = Dropout (a) y = Relu (c)", {}),
    "mish": ("y = Mish (x)", {}),
}  # fmt: skip


def opened(body: str, weights: dict[str, Any], opset: int) -> Any:
    proto = model(body, "float[N, 4, H, W] x", "float[N] y", opset=opset, **weights)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto


@pytest.mark.parametrize("name", ONE)
def test_computes_what_onnxruntime_does(name: str) -> None:
    body, weights = ONE[name]
    proto = opened(body, weights, 18 if name == "mish" else 17)
    (expected,) = run(proto, {"x": X})
    network = TorchNetwork(load(proto).model)
    (found,) = network.values({"x": X}, ["y"])
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 2e-5 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("name", ONE)
def test_gradients_reach_every_weight_and_the_input(name: str) -> None:
    body, weights = ONE[name]
    network = TorchNetwork(load(opened(body, weights, 18 if name == "mish" else 17)).model)
    x = torch.from_numpy(X.copy()).requires_grad_()
    (found,) = network({"x": x})
    if name == "steps":
        return  # flat everywhere
    (found * torch.from_numpy(normal(*found.shape, seed=5))).sum().backward()
    assert x.grad is not None
    for weight, value in network.weights.items():
        assert value.grad is not None, weight
        assert bool((value.grad != 0).any()), weight


def test_old_forms() -> None:
    old = {
        "y = Clip <min = -0.5, max = 0.7> (x)": 6,
        "y = Pad <pads = [0, 0, 1, 0, 0, 0, 0, 2], value = 0.5> (x)": 10,
        "y = Softmax <axis = 1> (x)": 12,
        "y = Slice <starts = [1], ends = [3], axes = [2]> (x)": 9,
        "y = Upsample <scales = [1.0, 1.0, 2.0, 3.0]> (x)": 7,
        "a = Unsqueeze <axes = [1]> (x) y = Squeeze <axes = [1]> (a)": 12,
        "a, c = Split <axis = 1> (x) y = Add (a, c)": 12,
        "y = ReduceSum <axes = [1], keepdims = 0> (x)": 12,
    }
    for body, opset in old.items():
        proto = opened(body, {}, opset)
        (expected,) = run(proto, {"x": X})
        (found,) = TorchNetwork(load(proto).model).values({"x": X}, ["y"])
        assert np.abs(found - expected).max() < 1e-5, body


def test_every_operator_is_tried() -> None:
    tried = " ".join(body for body, _ in ONE.values())
    plain = {
        "Equal",
        "Less",
        "Not",
        "And",
        "Or",
        "Gelu",
        "Upsample",
    }  # tried in old forms, or of truth values
    assert {name for name in (*OPERATORS, *MAPS) if f"{name} " not in tried} <= plain


def test_what_is_unknown_is_named() -> None:
    for body, named in {
        "y = Round (x)": "Round",
        "a = Round (x) y = Relu (a)": "Round",
    }.items():
        proto = opened(body, {}, 17)
        with pytest.raises(Unknown, match=named):
            TorchNetwork(load(proto).model)


def test_weights_are_put_back_in_their_own_type() -> None:
    proto = model("y = Conv (x, w)", "float16[N, 4, H, W] x", "float16[N, 6, H, W] y",
                  w=normal(6, 4, 3, 3, dtype=np.float16))  # fmt: skip
    opened_model = load(proto).model
    network = TorchNetwork(opened_model)
    put_weights(opened_model, {"w": network.weights["w"] * 2})
    stored = opened_model.graph.initializers["w"].const_value
    assert stored is not None
    assert stored.numpy().dtype == np.float16
    assert np.array_equal(stored.numpy(), 2 * normal(6, 4, 3, 3, dtype=np.float16))


def test_frozen_weights_are_none() -> None:
    body, weights = ONE["conv"]
    network = TorchNetwork(load(opened(body, weights, 17)).model, frozen={"w"})
    assert [*network.weights] == ["b"]
    assert not network.constants["w"].requires_grad
