"""A convolution of few channels, computing several pixels as channels of one.

    y[m, a·h + i, b·w + j] = Σ W[m, c, u, v] · x[c, (a·h + i)·s + u, (b·w + j)·t + v]
                           = Σ V[(i, j, m), c, u, v] · x[c, a·s·h + u, b·t·w + v]
    V[(i, j, m), c, i·s + u, j·t + v] = W[m, c, u, v],  zero elsewhere

onnxruntime computes channels in blocks of sixteen: a convolution that answers three fills thirteen with
zeros. With a×b pixels as channels the blocks are full; the kernel grows by ``(a−1)·s`` and ``(b−1)·t``, which
is little where it is large. The channels are spread over pixels afterwards, behind the activation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.read import SINGLE, Array, Convolution, convolution
from sepfactor.graph.rewrites.rule import Build, Edit, Rule
from sepfactor.graph.rewrites.sizes import size_of
from sepfactor.graph.rewrites.spread import Block, again, behind
from sepfactor.layout import BLOCK

_MOST_PIXELS, _MOST_CHANNELS = 8, 64
"""Along an axis of a block, and that are answered after."""

_WORTH = 0.8
"""Share of the work that must be left."""

_LEAST = 2e6
"""Multiplications that must be saved: as many as are done while a few small nodes run."""

_ALONE = 0.74
"""How fast a single block of channels is computed beside several: what is read of the map serves them all."""


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    found = behind(node, "Conv")
    conv = None if found is None else convolution(found[0])
    if found is None or conv is None or conv.dtype not in SINGLE or conv.group != 1 or len(conv.kernel) != 2:
        return None
    before, after = size_of(found[0].inputs[0]), size_of(found[0].outputs[0])
    if conv.out_channels > _MOST_CHANNELS or set(conv.kernel) == {1}:
        return None
    attributes = found[0].attributes
    if before is None or after is None:
        return "the size of its map is not known" if conv.out_channels < BLOCK else None
    auto = attributes.get_string("auto_pad", "NOTSET")
    if auto not in ("NOTSET", "VALID"):
        return "its pads are not given"
    if set(attributes.get_ints("dilations", (1,))) != {1}:
        return None
    strides = tuple(attributes.get_ints("strides", (1, 1)))
    cost, sides = min(_blocks(conv, strides, after))
    before_it = _cost(conv, strides, (1, 1))
    saved = (before_it - cost) * after[0] * after[1] * conv.in_channels
    if sides == (1, 1) or cost > _WORTH * before_it or saved < _LEAST:
        return None
    block = Block(sides, (after[0] // sides[0], after[1] // sides[1]))

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        weight = block.in_order(_grouped(conv.weight, strides, sides))
        inputs = [found[0].inputs[0], edit.constant(weight, conv.dtype)]
        if conv.bias is not None:
            bias = np.broadcast_to(conv.bias, (*sides, conv.out_channels))
            inputs.append(edit.constant(block.in_order(bias), conv.dtype))
        begins = (0, 0) if auto == "VALID" else tuple(attributes.get_ints("pads", (0,) * 4))[:2]
        axes = zip(before, after, strides, conv.kernel, begins, strict=True)
        ends = [max((out - 1) * step + taps - begin - size, 0) for size, out, step, taps, begin in axes]
        grouped = edit.emit(
            "Conv",
            inputs,
            {
                "kernel_shape": weight.shape[2:],
                "strides": [step * side for step, side in zip(strides, sides, strict=True)],
                "pads": [*begins, *ends],
            },
            like=found[0],
        )
        value = again(edit, grouped, found[1])
        return {node.outputs[0]: block.spread(edit, value, conv.out_channels)}

    return build


def _blocks(
    conv: Convolution, strides: tuple[int, ...], size: tuple[int, int]
) -> Iterator[tuple[float, tuple[int, int]]]:
    """What each block of pixels would cost that the map can be cut into."""
    for a, b in product(range(1, _MOST_PIXELS + 1), repeat=2):
        if not (size[0] % a or size[1] % b) and a * b * conv.out_channels <= _MOST_CHANNELS:
            yield _cost(conv, strides, (a, b)), (a, b)


def _cost(conv: Convolution, strides: tuple[int, ...], block: tuple[int, int]) -> float:
    """Work for a pixel and a channel that is read, with what fills blocks up."""
    pixels = block[0] * block[1]
    blocks = -(-conv.out_channels * pixels // BLOCK)
    taps = [k + (side - 1) * step for k, side, step in zip(conv.kernel, block, strides, strict=True)]
    return blocks * BLOCK * taps[0] * taps[1] / pixels / (1.0 if blocks > 1 else _ALONE)


def _grouped(weight: Array, strides: tuple[int, ...], block: tuple[int, int]) -> Array:
    """``V`` of the formula."""
    out, ins, height, width = weight.shape
    (s, t), (a, b) = strides, block
    found = np.zeros((a, b, out, ins, height + (a - 1) * s, width + (b - 1) * t))
    for i, j in product(range(a), range(b)):
        found[i, j, :, :, i * s : i * s + height, j * t : j * t + width] = weight
    return found


GROUP_PIXELS = Rule("group-pixels", "several pixels as channels of one where blocks are not full", _check)
