"""Pixels as channels, maps of width one, and how large maps are."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import onnx
import pytest

from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rewrites.sizes import size_of
from tests.graph.build import model, normal, run
from tests.graph.rewrites.rewriting import assert_rewrites, assert_stays, operators, rewritten

SIZE = (48, 80)


def conv(
    attributes: str, weight: tuple[int, ...], *, behind: str = "", size: tuple[int, int] = SIZE
) -> onnx.ModelProto:
    body = f"{'a' if behind else 'y'} = Conv <{attributes}> (x, w, c)"
    text = f"{body}  {behind}" if behind else body
    return model(
        text,
        f"float[N, {weight[1]}, {size[0]}, {size[1]}] x",
        f"float[N, {weight[0]}, P, Q] y",
        w=normal(*weight) / math.sqrt(math.prod(weight[1:])),
        c=normal(weight[0], seed=1),
        six=np.float32(6),
        zero=np.float32(0),
    )


def feed(channels: int, size: tuple[int, int] = SIZE) -> dict[str, np.ndarray]:
    return {"x": normal(2, channels, *size)}


GROUPED = {
    "same": ("pads = [2, 2, 2, 2]", (3, 5, 5, 5)),
    "unpadded": ("group = 1", (1, 16, 9, 9)),
    "valid": ('auto_pad = "VALID"', (1, 16, 9, 9)),
    "rows": ("pads = [3, 0, 3, 0]", (4, 16, 7, 1)),
    "columns": ("pads = [1, 19, 1, 19]", (8, 8, 3, 39)),
    "strides": ("pads = [4, 3, 3, 4], strides = [2, 1]", (2, 4, 9, 8)),
    "pads that differ": ("pads = [4, 1, 0, 3]", (3, 4, 5, 5)),
    "a rest that no kernel reaches": ("strides = [3, 3]", (2, 16, 9, 8)),
}


@pytest.mark.parametrize(("attributes", "weight"), GROUPED.values(), ids=GROUPED)
def test_several_pixels_as_channels(attributes: str, weight: tuple[int, ...]) -> None:
    result = assert_rewrites(conv(attributes, weight), feed(weight[1]), "group-pixels")
    (node,) = (node for node in result.model.graph if node.op_type == "Conv")
    made = node.inputs[1].const_value.shape[0]  # type: ignore[union-attr]
    assert made > weight[0]
    assert made % weight[0] == 0
    assert made <= 64


@pytest.mark.parametrize(
    "behind", ["y = Relu (a)", "b = Tanh (a)  y = Clip (b, zero, six)", "y = LeakyRelu (a)"]
)
def test_activations_stay_next_to_the_convolution(behind: str) -> None:
    proto = conv("pads = [2, 2, 2, 2]", (3, 5, 5, 5), behind=behind)
    found = operators(assert_rewrites(proto, feed(5), "group-pixels"))
    assert found[: found.index("Reshape")] == [node.op_type for node in proto.graph.node]


def test_work_falls() -> None:
    """No more multiplications are done, blocks filled up, than before; at 9×9 and three channels a third."""

    def work(proto: onnx.ModelProto) -> float:
        shapes = {t.name: t.dims for t in proto.graph.initializer}
        (node,) = (node for node in proto.graph.node if node.op_type == "Conv")
        weight, pixels = (
            shapes[node.input[1]],
            math.prod(run(named(proto, node.output[0]), feed(16))[0].shape[2:]),
        )
        return float(-(-weight[0] // 16) * 16 * math.prod(weight[1:]) * pixels)

    def named(proto: onnx.ModelProto, output: str) -> onnx.ModelProto:
        other = onnx.ModelProto()
        other.CopyFrom(proto)
        del other.graph.output[:]
        other.graph.output.append(onnx.helper.make_empty_tensor_value_info(output))
        return other

    proto = conv("pads = [4, 4, 4, 4]", (3, 16, 9, 9))
    import onnx_ir as ir

    assert work(ir.to_proto(rewritten(proto, "group-pixels").model)) < 0.4 * work(proto)


LEFT = {
    "full blocks": ("pads = [1, 1, 1, 1]", (16, 4, 3, 3), SIZE, None),
    "a kernel of one pixel": ("group = 1", (3, 16, 1, 1), SIZE, None),
    "an odd map": ("pads = [1, 1, 1, 1]", (3, 4, 3, 3), (47, 79), None),
    "so little work that it is not worth more nodes": ("pads = [2, 2, 2, 2]", (3, 5, 5, 5), (8, 8), None),
    "holes": ("dilations = [2, 2]", (3, 4, 5, 5), SIZE, None),
}


@pytest.mark.parametrize(("attributes", "weight", "size", "reason"), LEFT.values(), ids=LEFT)
def test_what_stays(
    attributes: str, weight: tuple[int, ...], size: tuple[int, int], reason: str | None
) -> None:
    assert_stays(conv(attributes, weight, size=size), "group-pixels", reason)


def test_a_map_of_any_size_stays() -> None:
    proto = model(
        "y = Conv <pads = [2, 2, 2, 2]> (x, w)",
        "float[1, 4, H, W] x",
        "float[1, 3, H, W] y",
        w=normal(3, 4, 5, 5),
    )
    assert_stays(proto, "group-pixels", "size of its map is not known")


def test_half_precision() -> None:
    proto = model(
        "y = Conv <pads = [2, 2, 2, 2]> (x, w)",
        "float16[1, 4, 48, 64] x",
        "float16[1, 3, 48, 64] y",
        w=normal(3, 4, 5, 5, dtype=np.float16) / np.float16(10),
    )
    assert_rewrites(proto, {"x": normal(1, 4, 48, 64, dtype=np.float16)}, "group-pixels")


DOWN = {
    "padded": ("pads = [31, 0, 32, 0]", (16, 8, 64, 1)),
    "strides": ("strides = [4, 1], pads = [3, 0, 2, 0]", (16, 8, 9, 1)),
    "dilations": ("dilations = [3, 1]", (4, 8, 5, 1)),
    "groups": ("group = 4", (8, 2, 5, 1)),
}


@pytest.mark.parametrize(("attributes", "weight"), DOWN.values(), ids=DOWN)
def test_a_map_of_width_one_is_laid_down(attributes: str, weight: tuple[int, ...]) -> None:
    proto = model(
        f"a = Conv <{attributes}> (x, w, c)  y = Relu (a)",
        "float[N, 8, 64, 1] x",
        f"float[N, {weight[0]}, P, 1] y",
        w=normal(*weight) / math.sqrt(math.prod(weight[1:])),
        c=normal(weight[0], seed=1),
    )
    result = assert_rewrites(proto, feed(8, (64, 1)), "lay-down")
    assert operators(result) == ["Reshape", "Conv", "Relu", "Reshape"]
    (node,) = (node for node in result.model.graph if node.op_type == "Conv")
    assert node.inputs[1].const_value.shape[2] == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("shape", "weight"), [((64, 2), (4, 8, 5, 1)), ((1, 64), (4, 8, 1, 5)), ((5, 1), (4, 8, 5, 1))]
)
def test_what_stands_otherwise_stays(shape: tuple[int, int], weight: tuple[int, ...]) -> None:
    proto = model(
        "y = Conv (x, w)", f"float[1, 8, {shape[0]}, {shape[1]}] x", "float[1, 4, P, Q] y", w=normal(*weight)
    )
    assert_stays(proto, "lay-down")


@pytest.mark.parametrize(
    ("strides", "pads", "transposed"), [*product([(1, 1), (2, 3)], [0, 1], [False, True])]
)
def test_sizes_are_as_they_come_out(strides: tuple[int, int], pads: int, transposed: bool) -> None:
    """Where onnx does not infer them."""
    name = "ConvTranspose" if transposed else "Conv"
    proto = model(
        f"a = {name} <strides = [{strides[0]}, {strides[1]}], pads = [{pads}, 0, 0, {pads}]> (x, w)"
        " b = Relu (a)  d = Pad (b, more)  y = Add (d, p)",
        "float[1, 8, 17, 23] x",
        "float[A, B, P, Q] y",
        w=normal(8, 8, 4, 5),
        p=normal(8, 1, 1),
        more=np.array([0, 0, 1, 2, 0, 0, 3, 4]),
    )
    prepared = prepare(load(proto).model)
    for node in prepared.graph:
        node.outputs[0].shape = None
    (answer,) = run(proto, feed(8, (17, 23)) | {"x": normal(1, 8, 17, 23)})
    assert size_of(prepared.graph.outputs[0]) == answer.shape[2:]
