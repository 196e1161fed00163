"""Who reads an answer: the kernels found are those that errors go through."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sepfactor.graph.consumers import consumer_grams
from tests.graph.build import model, normal, run

SHAPED = "float[1,4,9,9] x"
"""Named ``x``: what the convolution under test would answer; ``a`` is the same behind an Identity."""


def grams(body: str, outputs: str = "y", **constants: np.ndarray) -> dict[str, Any]:
    """Of the value ``a``, which is the input passed on."""
    declared = ", ".join(f"float[N,C,H,W] {name}" for name in outputs.split())
    proto = model(f"a = Identity (x) {body}", SHAPED, declared, **constants)
    return dict(consumer_grams(ir.from_proto(onnx.shape_inference.infer_shapes(proto)), {"a": 4}))


def summed(*kernels: np.ndarray) -> np.ndarray:
    """Each ``Σ AᵀA`` at a mean diagonal of 1."""
    total = np.zeros((4, 4))
    for kernel in kernels:
        flat = np.moveaxis(kernel, 1, 0).reshape(4, -1).astype(np.float64)
        gram = flat @ flat.T
        total += gram / (np.trace(gram) / 4)
    return total


W, V = normal(3, 4, 3, 3), normal(5, 4, 1, 1, seed=1)
SAME = "<pads = [1, 1, 1, 1]>"


def test_it_is_what_a_convolution_makes_of_single_errors() -> None:
    """An error in one channel of one pixel, through the convolution: its energy is the diagonal."""
    proto = model(f"y = Conv {SAME} (x, w)", SHAPED, "float[N,C,H,W] y", w=W)
    energies = []
    for channel in range(4):
        x = np.zeros((1, 4, 9, 9), np.float32)
        x[0, channel, 4, 4] = 1
        energies.append(float(np.square(run(proto, {"x": x})[0]).sum()))
    found = grams(f"r = Relu (a) y = Conv {SAME} (r, w)", w=W)["a"]
    np.testing.assert_allclose(np.diag(found), np.array(energies) / np.mean(energies), rtol=1e-4)


def test_every_reader_counts_alike() -> None:
    found = grams("y = Conv <pads = [1, 1, 1, 1]> (a, w) z = Conv (a, v)", "y z", w=W, v=1000 * V)
    np.testing.assert_allclose(found["a"], summed(W, V), rtol=1e-5)


@pytest.mark.parametrize(
    "body",
    [
        "r = Relu (a) p = MaxPool <kernel_shape = [2, 2]> (r) y = Conv (p, v)",
        "s = Add (a, a) y = Conv (s, v)",
        "r = Relu (a) t = Sigmoid (x) s = Add (t, r) y = Conv (s, v)",
    ],
)
def test_it_follows_what_goes_channel_by_channel(body: str) -> None:
    np.testing.assert_allclose(grams(body, v=V)["a"], summed(V), rtol=1e-5)


def test_behind_a_concat_it_is_the_slice_that_is_read() -> None:
    wide = normal(6, 11, 3, 3, seed=4)
    body = f"b = Conv (x, u) r = Relu (a) c = Concat <axis = 1> (b, r) y = Conv {SAME} (c, wide)"
    found = grams(body, u=normal(7, 4, 1, 1, seed=3), wide=wide)["a"]
    np.testing.assert_allclose(found, summed(wide[:, 7:]), rtol=1e-5)


def test_groups_read_apart() -> None:
    grouped = normal(6, 2, 3, 3, seed=5)
    found = grams("y = Conv <pads = [1, 1, 1, 1], group = 2> (a, w)", w=grouped)["a"]
    whole = np.zeros((6, 4, 3, 3))
    whole[:3, :2], whole[3:, 2:] = grouped[:3], grouped[3:]
    np.testing.assert_allclose(found, summed(whole), rtol=1e-5)


def test_what_cannot_be_followed_reads_all_channels_evenly() -> None:
    found = grams("y = Conv (a, v) z = Transpose (a)", "y z", v=V)["a"]
    np.testing.assert_allclose(found, summed(V) + np.eye(4), rtol=1e-5)
    found = grams("y = Conv (a, v)", "y a", v=V)["a"]  # the network answers with it too
    np.testing.assert_allclose(found, summed(V) + np.eye(4), rtol=1e-5)


def test_nothing_is_said_where_no_convolution_reads() -> None:
    assert grams("y = Relu (a)") == {}
    assert grams("y = Conv (x, a)") == {}
    assert grams("u = Abs (x) y = Conv (a, u)") == {}


def test_channels_that_moved_are_not_followed() -> None:
    wide = normal(5, 6, 1, 1, seed=6)
    pads = np.array([0, 2, 0, 0, 0, 0, 0, 0], np.int64)
    assert grams("p = Pad (a, pads) y = Conv (p, wide)", pads=pads, wide=wide) == {}
    found = grams("p = Pad (a, pads) y = Conv (p, wide) z = Conv (a, v)", "y z", pads=pads, wide=wide, v=V)
    np.testing.assert_allclose(found["a"], summed(V) + np.eye(4), rtol=1e-5)


def test_what_leaves_through_a_branch_is_read_evenly() -> None:
    branches = """
        y = Conv (a, v)
        z = If (on) <then_branch = t () => (float[N,C,H,W] r) { r = Relu (a) },
                     else_branch = e () => (float[N,C,H,W] s) { s = Neg (a) }>
    """
    found = grams(branches, "y z", v=V, on=np.array(True))
    np.testing.assert_allclose(found["a"], summed(V) + np.eye(4), rtol=1e-5)


def test_operators_of_other_domains_are_not_followed() -> None:
    proto = model(
        "a = Identity (x) y = own.Conv (a, v) z = Conv (a, v)",
        SHAPED,
        "float[N,C,H,W] y, float[N,C,H,W] z",
        v=V,
    )
    proto.opset_import.append(onnx.helper.make_opsetid("own", 1))
    found = dict(consumer_grams(ir.from_proto(onnx.shape_inference.infer_shapes(proto)), {"a": 4}))
    np.testing.assert_allclose(found["a"], summed(V) + np.eye(4), rtol=1e-5)


def test_another_number_of_channels_than_expected_says_nothing() -> None:
    proto = model("a = Identity (x) y = Conv (a, v)", SHAPED, "float[N,C,H,W] y", v=V)
    inferred = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    assert dict(consumer_grams(inferred, {"a": 10**9, "nowhere": 4})) == {}
