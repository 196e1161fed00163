"""ONNX operators on maps in torch: convolutions, pools, norms, products, and what makes maps larger."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from sepfactor.tune.operators import Node, Operator, Tensor, Unknown, ints

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _of_axes(functions: Mapping[int, Any], node: Node, axes: int) -> Any:
    if axes not in functions:
        raise Unknown(f"{node.op} of {axes} axes")
    return functions[axes]


def _pads(node: Node, size: Sequence[int], window: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Begin of each axis, then end of each. ``window`` counts dilation."""
    mode = node.only("auto_pad", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    if mode == "NOTSET":
        return list(node.get("pads", [0] * 2 * len(window)))
    if mode == "VALID":
        return [0] * 2 * len(window)
    sizes = zip(size, window, strides, strict=True)
    total = [max(0, (-(-n // s) - 1) * s + w - n) for n, w, s in sizes]
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return [*small, *large] if mode == "SAME_UPPER" else [*large, *small]


def _padded(x: Tensor, pads: Sequence[int], value: float = 0.0) -> tuple[Tensor, list[int]]:
    """The map with what torch cannot pad by itself; and what it still has to, alike on both sides."""
    half = len(pads) // 2
    begin, end = list(pads[:half]), list(pads[half:])
    if begin == end and value == 0.0:
        return x, begin
    flat = [size for pair in zip(reversed(begin), reversed(end), strict=True) for size in pair]
    return F.pad(x, flat, value=value), [0] * half


def _conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    axes = weight.ndim - 2
    strides, dilations = node.get("strides", [1] * axes), node.get("dilations", [1] * axes)
    window = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    x, pads = _padded(x, _pads(node, x.shape[2:], window, strides))
    function = _of_axes(_CONV, node, axes)
    return function(x, weight, bias, tuple(strides), tuple(pads), tuple(dilations), node.get("group", 1))


def _conv_transpose(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    axes = weight.ndim - 2
    if node.get("output_shape") is not None:
        raise Unknown("ConvTranspose with output_shape")
    node.only("auto_pad", "NOTSET", "VALID")
    strides, dilations = node.get("strides", [1] * axes), node.get("dilations", [1] * axes)
    more, pads = list(node.get("output_padding", [0] * axes)), list(node.get("pads", [0] * 2 * axes))
    function = _of_axes(_TRANSPOSED, node, axes)
    whole = function(x, weight, bias, strides, 0, 0, node.get("group", 1), dilations)
    cut = [m - end for m, end in zip(more, pads[axes:], strict=True)]  # what is added at the end, less pads
    flat = [n for pair in zip(reversed(pads[:axes]), reversed(cut), strict=True) for n in (-pair[0], pair[1])]
    if max(cut, default=0) > 0:  # there the bias alone stands
        raise Unknown("ConvTranspose with output_padding beyond pads")
    return F.pad(whole, flat)


def _window(node: Node, x: Tensor) -> tuple[list[int], list[int], list[int], list[int]]:
    kernel = list(node.get("kernel_shape"))
    strides = list(node.get("strides", [1] * len(kernel)))
    dilations = list(node.get("dilations", [1] * len(kernel)))
    seen = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = _pads(node, x.shape[2:], seen, strides)
    if node.get("ceil_mode", 0):
        half = len(kernel)
        for i, (n, k, s) in enumerate(zip(x.shape[2:], seen, strides, strict=True)):
            over = n + pads[i] + pads[half + i] - k
            steps = -(-over // s)
            if steps * s >= n + pads[i]:  # no window begins in the end
                steps -= 1
            pads[half + i] += steps * s - over
    return kernel, strides, dilations, pads


def _max_pool(node: Node, x: Tensor) -> Tensor:
    if len(node.outputs) > 1:
        raise Unknown("MaxPool with indices")
    kernel, strides, dilations, pads = _window(node, x)
    if any(size < 0 for size in pads):
        pads = [max(size, 0) for size in pads]
    if any(pads):
        x, _ = _padded(x, pads, -math.inf)
    return _of_axes(_MAX_POOL, node, len(kernel))(x, kernel, strides, 0, dilations)


def _average_pool(node: Node, x: Tensor) -> Tensor:
    kernel, strides, dilations, pads = _window(node, x)
    if any(d != 1 for d in dilations):
        raise Unknown("AveragePool with dilations")
    pads = [max(size, 0) for size in pads]
    pool = _of_axes(_AVERAGE_POOL, node, len(kernel))
    if not any(pads):
        return pool(x, kernel, strides)
    ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype)
    if node.get("count_include_pad", 0):
        own = list(node.get("pads", [0] * len(pads)))
        ones, _ = _padded(ones, own, 1.0)
        rest = [a - b for a, b in zip(pads, own, strict=True)]
        ones, _ = _padded(ones, rest, math.nan) if any(rest) else (ones, 0)
        ones = torch.nan_to_num(ones, nan=0.0)
    else:
        flat, _ = _padded(ones, pads, math.nan)
        ones = torch.nan_to_num(flat, nan=0.0)
    half = len(kernel)
    flat = [n for i in reversed(range(half)) for n in (pads[i], pads[half + i])]
    return pool(F.pad(x, flat), kernel, strides) / pool(ones, kernel, strides)


def _global(node: Node, x: Tensor) -> Tensor:
    axes = list(range(2, x.ndim))
    pool = torch.mean if node.op == "GlobalAveragePool" else torch.amax
    return pool(x, dim=axes, keepdim=True)


def _batch_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    if len(node.outputs) > 1 or node.get("training_mode", 0):
        raise Unknown("BatchNormalization in training")
    return F.batch_norm(x, mean, var, scale, bias, False, 0.0, node.get("epsilon", 1e-5))


def _instance_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=node.get("epsilon", 1e-5))


def _layer_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    if len(node.outputs) > 1:
        raise Unknown("LayerNormalization with statistics")
    axis = node.get("axis", -1) % x.ndim
    return F.layer_norm(x, x.shape[axis:], scale, bias, node.get("epsilon", 1e-5))


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    if node.opset < 7 and node.get("broadcast") and c is not None and c.ndim > 2:
        raise Unknown("Gemm with broadcast")
    a, b = (v.t() if node.get(name, 0) else v for name, v in (("transA", a), ("transB", b)))
    product = node.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + node.get("beta", 1.0) * c


def _depth_to_space(node: Node, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    block = node.get("blocksize")
    rest = c // block**2
    if node.only("mode", "DCR", "CRD") == "DCR":
        split = x.reshape(n, block, block, rest, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        split = x.reshape(n, rest, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
    return split.reshape(n, rest, h * block, w * block)


def _space_to_depth(node: Node, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    block = node.get("blocksize")
    split = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return split.reshape(n, c * block**2, h // block, w // block)


def _resize(node: Node, x: Tensor, *rest: Tensor | None) -> Tensor:
    """Nearest and linear, axis by axis."""
    scales, sizes = _scales_of(node, rest), None
    if len(rest) > 2 and rest[2] is not None:
        sizes = ints(rest[2])
    if node.get("axes") is not None or node.get("antialias", 0):
        raise Unknown("Resize with axes or antialias")
    mode = node.only("mode", "nearest", "linear")
    where = node.get("coordinate_transformation_mode", "half_pixel" if node.op == "Resize" else "asymmetric")
    where = "asymmetric" if node.op == "Resize" and node.opset < 11 else where
    for axis, before in enumerate(list(x.shape)):
        after = sizes[axis] if sizes is not None else math.floor(before * scales[axis])
        scale = after / before if sizes is not None else scales[axis]
        if after != before or scale != 1.0:
            at = _coordinates(node, where, before, after, scale)
            x = _nearest(node, x, axis, at) if mode == "nearest" else _linear(x, axis, at)
    return x


def _scales_of(node: Node, rest: Sequence[Tensor | None]) -> list[float]:
    """By axis; empty where sizes are given."""
    if node.get("scales") is not None:
        return [float(one) for one in node.get("scales")]
    found = rest[0] if node.op == "Upsample" or node.opset < 11 else rest[1] if len(rest) > 1 else None
    return [] if found is None else [float(one) for one in found.tolist()]


def _coordinates(node: Node, where: str, before: int, after: int, scale: float) -> Tensor:
    """Of each pixel of the larger map, in the smaller one."""
    at = torch.arange(after, dtype=torch.float64)
    if where == "asymmetric":
        return at / scale
    if where == "align_corners":
        return at * ((before - 1) / max(after - 1, 1))
    if where in ("half_pixel", "pytorch_half_pixel"):
        return at * 0 if where == "pytorch_half_pixel" and after == 1 else (at + 0.5) / scale - 0.5
    raise Unknown(f"{node.op} with coordinates {where!r}")


def _nearest(node: Node, x: Tensor, axis: int, at: Tensor) -> Tensor:
    rounding = node.get("nearest_mode", "round_prefer_floor") if node.opset >= 11 else "floor"
    rounded = {
        "floor": torch.floor,
        "ceil": torch.ceil,
        "round_prefer_floor": lambda v: torch.ceil(v - 0.5),
        "round_prefer_ceil": lambda v: torch.floor(v + 0.5),
    }[rounding](at)
    return x.index_select(axis, rounded.long().clamp(0, x.shape[axis] - 1))


def _linear(x: Tensor, axis: int, at: Tensor) -> Tensor:
    last = x.shape[axis] - 1
    at = at.clamp(0, last)
    low = at.floor().long()
    high = (low + 1).clamp(max=last)
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    share = (at - low).to(x.dtype).reshape(shape)
    return x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share


MAPS: Mapping[str, Operator] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "Gemm": _gemm,
    "GlobalAveragePool": _global,
    "GlobalMaxPool": _global,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "MatMul": lambda node, a, b: a @ b,
    "MaxPool": _max_pool,
    "Resize": _resize,
    "SpaceToDepth": _space_to_depth,
    "Upsample": _resize,
}
"""Operator → what computes it."""
