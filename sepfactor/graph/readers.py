"""Who reads what a convolution answers, and by which kernels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Gram = NDArray[np.float64]

_CHANNEL_BY_CHANNEL = {
    *("Relu", "LeakyRelu", "PRelu", "Clip", "Elu", "Selu", "Celu", "ThresholdedRelu", "Gelu", "Mish"),
    *("Swish", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Softsign", "Erf"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"),
    *("Identity", "Dropout", "Cast", "Pad", "Resize", "Upsample", "BatchNormalization"),
}
"""Errors go through these without mixing channels. How much they are changed is left out."""

_SUMS = {"Add", "Sum", "Sub"}


def reading_grams(model: ir.Model, outputs: Iterable[str]) -> dict[str, Gram]:
    """``Σ AᵀA`` over the kernels that read each value, ``(channels, channels)``, by the value's name.

    Each convolution that reads a value counts alike. What else reads it, or cannot be followed, counts
    as one that reads all channels evenly; a value that nothing else reads is left out.

    Args:
        model: with constant weights and known shapes.
        outputs: names of values ``(N, C, …)``.
    """
    values = {value.name: value for node in model.graph for value in node.outputs}
    found = {}
    for name in outputs:
        value = values.get(name)
        channels = None if value is None else _channels(value)
        gram = None if value is None or channels is None else _gram(value, channels, model)
        if gram is not None:
            found[name] = gram
    return found


def _gram(value: ir.Value, channels: int, model: ir.Model) -> Gram | None:
    total: Gram = np.zeros((channels, channels))
    evenly = False
    results = set(model.graph.outputs)
    front, seen = [(value, 0)], set()
    while front:
        at = front.pop()
        if at in seen:
            continue
        seen.add(at)
        evenly |= at[0] in results
        for node, index in at[0].uses():
            gram = _kernels(node, index, at[1], channels)
            onward = [] if gram is not None else _through(node, index, at[1])
            front += onward
            evenly |= gram is None and not onward
            if gram is not None and np.trace(gram) > 0:
                total += gram * (channels / np.trace(gram))
    if not total.any():
        return None
    return total + np.eye(channels) if evenly else total


def _through(node: ir.Node, index: int, offset: int) -> list[tuple[ir.Value, int]]:
    """Where the value goes on, and from which channel on it lies there."""
    if (node.op_type in _CHANNEL_BY_CHANNEL and index == 0) or node.op_type in _SUMS:
        return [(node.outputs[0], offset)]
    axis = node.attributes.get("axis")
    if node.op_type != "Concat" or axis is None or axis.as_int() not in (1, -3):
        return []
    before = [None if other is None else _channels(other) for other in node.inputs[:index]]
    if None in before:
        return []
    return [(node.outputs[0], offset + sum(size for size in before if size is not None))]


def _kernels(node: ir.Node, index: int, offset: int, channels: int) -> Gram | None:
    """``Σ AᵀA`` of a convolution over some of the channels it reads; None if it is none, or not constant."""
    if node.op_type != "Conv" or index != 0:
        return None
    constant = ir.convenience.get_const_tensor(node.inputs[1]) if node.inputs[1] is not None else None
    if constant is None:
        return None
    weight = constant.numpy().astype(np.float64)
    group = node.attributes.get_int("group", 1)
    width = weight.shape[1]
    if offset + channels > group * width or not np.isfinite(weight).all():
        return None
    taps = weight.reshape(group, weight.shape[0] // group, width, -1)
    blocks = np.einsum("goit,gojt->gij", taps, taps, optimize=True)
    whole = np.zeros((group * width, group * width))
    for g, block in enumerate(blocks):
        whole[g * width : (g + 1) * width, g * width : (g + 1) * width] = block
    return whole[offset : offset + channels, offset : offset + channels]


def _channels(value: ir.Value) -> int | None:
    """Of ``(N, C, …)``, if known."""
    shape = value.shape
    if shape is None or len(shape) < 2:
        return None
    size = shape[1]
    return size if isinstance(size, int) else None
