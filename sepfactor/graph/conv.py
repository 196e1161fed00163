"""Conv and ConvTranspose, of one axis to three.

A 1-D convolution is a 2-D one with a 1×k kernel over maps of one row, ``(N, C, L)`` as ``(N, C, 1, L)``.
So it is read, and so it is written where onnxruntime then runs it in its blocked layout, which it has
for values of four axes only; elsewhere it stays the 1-D Conv it was.

A transposed convolution is read as the convolution it is over its input with zeros between the pixels;
a stage that sees such zeros is written as a ConvTranspose again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.factor import Factorization, Stage
from sepfactor.factor.stage import Array, Ints, Pads
from sepfactor.graph.kind import CONV_2D, Kind, Reading, Skip, constant, optional
from sepfactor.graph.writer import Writer, turned
from sepfactor.layout import blockable

_ROW = 2
"""The axis of the one row."""


@dataclass(frozen=True)
class Conv1d(Kind):
    """A convolution of one axis."""

    name: str = "conv-1d"

    is_blocked: ClassVar[bool] = False

    def maps(self, value: NDArray[Any]) -> NDArray[Any]:
        """``(N, C, L)`` as ``(N, C, 1, L)``."""
        return np.expand_dims(value, _ROW)

    def shape(self, batch: int, channels: int, size: Ints) -> Ints:
        """``(N, C, L)``."""
        return (batch, channels, *self.own(size))

    def own(self, numbers: Ints) -> Ints:
        """The number along the row."""
        return numbers[1:]

    def rewrites(self, stage: Stage) -> bool:
        """Where the layer gains by a row, or may by that of its neighbour."""
        return _fits([stage])

    def write(self, writer: Writer, factorization: Factorization, x: ir.Value, output: ir.Value) -> None:
        """As Convs of two axes between Unsqueeze and Squeeze where that is faster, else of one."""
        if not gains_by_a_row(factorization.stages):
            writer.chains(factorization, x, output, lambda stage, *rest: writer.conv(_bare(stage), *rest))
            return
        lifted = _reshaped(writer, "Unsqueeze", x)
        _reshaped(writer, "Squeeze", writer.chains(factorization, lifted, None, writer.conv), output)


CONV_1D = Conv1d()


@dataclass(frozen=True)
class Conv3d(Kind):
    """A convolution of three axes, for which onnxruntime has no blocked layout."""

    name: str = "conv-3d"

    is_blocked: ClassVar[bool] = False


CONV_3D = Conv3d()


def gains_by_a_row(stages: Sequence[Stage]) -> bool:
    """Whether a 1-D convolution of these stages runs faster as a 2-D one.

    So it does where every stage fits the blocked layout, which spares copying the taps of a kernel side
    by side: on AVX-512 1.02 to 1.4 times as fast, and twice where a stage is depthwise, changes of layout
    on both sides included. A pointwise one has no taps, and only pays for the changes (0.8 to 1.0).
    """
    return _fits(stages) and not all(stage.is_pointwise for stage in stages)


def _fits(stages: Sequence[Stage]) -> bool:
    """Whether all of them may run in the blocked layout."""
    return all(
        blockable(stage.in_channels) and blockable(stage.out_channels) and not stage.is_transposed
        for stage in stages
    )


def _bare(stage: Stage) -> Stage:
    """A stage over maps of one row, as one of a single axis."""
    return Stage(
        stage.weight[:, :, 0],
        stage.strides[1:],
        stage.pads[1:],
        stage.dilations[1:],
        stage.group,
        stage.upsampling[1:],
    )


def _reshaped(writer: Writer, op_type: str, x: ir.Value, output: ir.Value | None = None) -> ir.Value:
    name = op_type.lower()
    if writer.opset < 13:
        return writer.emit(op_type, [x], name, {"axes": [_ROW]}, output)
    axes = writer.constant(np.array([_ROW], np.int64), f"{name}.axes")
    return writer.emit(op_type, [x, axes], name, output=output)


def read_conv(node: ir.Node, opset: int) -> Reading:
    """A Conv as numbers; ``opset`` is that of the model.

    Raises:
        Skip: it cannot be replaced.
        TypeError, ValueError, AttributeError: it is no valid Conv.
    """
    weight, dtype = constant(node, 1, "weight", opset)
    strides, dilations, group = _geometry(node, weight, "outputs")
    pads = _pads(node, weight.shape[2:], strides, dilations)
    if any(p < 0 for pair in pads for p in pair):
        raise Skip("negative-pads", "it has negative pads")
    return _reading(node, Stage(weight, strides, pads, dilations, group), dtype, opset)


def read_transposed(node: ir.Node, opset: int) -> Reading:
    """A ConvTranspose as numbers; ``opset`` is that of the model.

    Raises:
        Skip: it cannot be replaced.
        TypeError, ValueError, AttributeError: it is no valid ConvTranspose.
    """
    weight, dtype = constant(node, 1, "weight", opset)
    strides, dilations, group = _geometry(node, weight, "inputs")
    reach = [(k - 1) * d for k, d in zip(weight.shape[2:], dilations, strict=True)]
    cropped = _cropped(node, reach, strides)
    pads = tuple((r - b, r - e) for r, (b, e) in zip(reach, cropped, strict=True))
    if any(p < 0 for pair in pads for p in pair):
        raise Skip("crops-too-much", "it crops more than its kernel adds")
    stage = Stage(turned(weight, group), (1,) * len(reach), pads, dilations, group, strides)
    return _reading(node, stage, dtype, opset)


def _reading(node: ir.Node, stage: Stage, dtype: np.dtype[np.floating], opset: int) -> Reading:
    bias, shape = optional(node, 2, "bias", opset), stage.weight.shape
    if len(stage.axes) > 1:
        return Reading(CONV_2D if len(stage.axes) == 2 else CONV_3D, stage, bias, shape, dtype)
    over_a_row = Stage(
        stage.weight[:, :, None],
        (1, *stage.strides),
        ((0, 0), *stage.pads),
        (1, *stage.dilations),
        stage.group,
        (1, *stage.upsampling),
    )
    return Reading(CONV_1D, over_a_row, bias, shape, dtype)


def _geometry(node: ir.Node, weight: Array, first: str) -> tuple[Ints, Ints, int]:
    """``strides, dilations, group``; ``first`` is what the first axis of the weight counts."""
    axes = weight.ndim - 2
    if axes not in (1, 2, 3):
        raise Skip("axes", f"a {axes}-D convolution: only those of 1 to 3 axes are factored")
    if weight.size == 0:
        raise Skip("empty-weight", "its weight is empty")
    attributes = node.attributes
    strides = _ints(attributes.get_ints("strides", (1,) * axes))
    dilations = _ints(attributes.get_ints("dilations", (1,) * axes))
    group = int(attributes.get_int("group", 1))
    if min(group, *strides, *dilations) < 1:
        numbers = f"group {group}, strides {strides}, dilations {dilations}"
        raise Skip("not-valid", f"not a valid {node.op_type}", numbers)
    if _ints(attributes.get_ints("kernel_shape", weight.shape[2:])) != weight.shape[2:]:
        raise Skip("not-valid", f"not a valid {node.op_type}", "its kernel_shape is not that of its weight")
    if weight.shape[0] % group:
        raise Skip("groups", f"its {first} do not divide into its groups", f"{weight.shape[0]} into {group}")
    return strides, dilations, group


def _pads(node: ir.Node, kernel: Ints, strides: Ints, dilations: Ints) -> Pads:
    """Explicit ``(begin, end)`` per axis; ``SAME`` at stride 1 does not depend on the map's size."""
    axes = len(kernel)
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    if auto == "NOTSET":
        flat = _ints(node.attributes.get_ints("pads", (0,) * (2 * axes)))
        return tuple(zip(flat[:axes], flat[axes:], strict=True))
    if auto == "VALID":
        return ((0, 0),) * axes
    if any(s > 1 for s in strides):
        raise Skip(
            "open-size",
            "its auto_pad pads by the size of the map, which the model leaves open",
            f"{auto} at stride {'×'.join(map(str, strides))}",
        )
    return _halves(node, auto, [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)])


def _cropped(node: ir.Node, reach: Sequence[int], strides: Ints) -> Pads:
    """What a ConvTranspose crops of its full answer, ``(begin, end)`` per axis; less than 0 adds to it.

    ``SAME`` crops what is more than the size of the map times its strides, which any map has as much of.
    """
    axes = len(reach)
    extra = _ints(node.attributes.get_ints("output_padding", (0,) * axes))
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    wanted = _ints(node.attributes.get_ints("output_shape", ()))
    if wanted:
        pads = _halves(
            node, "SAME_LOWER" if auto == "NOTSET" else auto, _surplus(node, reach, strides, wanted)
        )
    elif auto == "NOTSET":
        flat = _ints(node.attributes.get_ints("pads", (0,) * (2 * axes)))
        if min(flat) < 0:
            raise Skip("negative-pads", "it has negative pads")
        pads = tuple(zip(flat[:axes], flat[axes:], strict=True))
    elif auto == "VALID":
        pads = ((0, 0),) * axes
    else:
        pads = _halves(node, auto, [r + 1 - s for r, s in zip(reach, strides, strict=True)])
    return tuple((begin, end - x) for (begin, end), x in zip(pads, extra, strict=True))


def _surplus(node: ir.Node, reach: Sequence[int], strides: Ints, wanted: Ints) -> list[int]:
    """By how much the full answer is larger than its ``output_shape``."""
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    size = [n for n in ([] if shape is None else list(shape)[2:]) if isinstance(n, int)]
    if len(size) != len(wanted):
        raise Skip("open-size", "its output_shape crops by the size of the map, which the model leaves open")
    return [(n - 1) * s + r + 1 - out for n, s, r, out in zip(size, strides, reach, wanted, strict=True)]


def _halves(node: ir.Node, auto: str, totals: Sequence[int]) -> Pads:
    """Totals shared out to both ends; of an odd one more to the end, or to the begin of ``SAME_LOWER``."""
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise Skip("not-valid", f"not a valid {node.op_type}", f"there is no auto_pad={auto}")
    if min(totals) < 0:
        raise Skip(
            "pads-too-much", f"auto_pad={auto} asks for more than its kernel reaches, where runtimes differ"
        )
    small_first = tuple((t // 2, t - t // 2) for t in totals)
    return small_first if auto == "SAME_UPPER" else tuple((e, b) for b, e in small_first)


def _ints(values: Sequence[int]) -> Ints:
    return tuple(int(v) for v in values)
