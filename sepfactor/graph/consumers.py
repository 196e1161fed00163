"""Who reads what a convolution answers, and by which kernels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.threads import one_blas_thread

Gram = NDArray[np.float64]

ACTIVATIONS = {
    *("Relu", "LeakyRelu", "PRelu", "Clip", "Elu", "Selu", "Celu", "ThresholdedRelu", "Gelu", "Mish"),
    *("Swish", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Softsign", "Erf"),
}
"""Operators that work number by number on the first of their inputs, and bend it."""

_CHANNEL_BY_CHANNEL = ACTIVATIONS | {
    *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"),
    *("Identity", "Dropout", "Cast", "Pad", "Resize", "Upsample", "BatchNormalization"),
}
"""Errors go through these without mixing channels. How much they are changed is left out."""

_SUMS = {"Add", "Sum", "Sub"}

_MOST_FOLLOWED = 64
"""Convolutions that read one answer, through sums, up to which each is looked at; more read it evenly."""


def consumer_grams(model: ir.Model, channels: Mapping[str, int]) -> Iterator[tuple[str, Gram]]:
    """``Σ AᵀA`` over the kernels that read each value, ``(channels, channels)``, with the value's name.

    Each convolution that reads a value counts alike. What else reads it, or cannot be followed, counts
    as one that reads all channels evenly; a value that nothing else reads is left out.

    Args:
        model: with constant weights and known shapes.
        channels: names of values ``(N, C, …)``, and how many channels each has.
    """
    values = {value.name: value for node in model.graph for value in node.outputs}
    for name, count in channels.items():
        value = values.get(name)
        if value is None or _channels(value) != count:
            continue
        gram = _gram(value, count)
        if gram is not None:
            yield name, gram


def _gram(value: ir.Value, channels: int) -> Gram | None:
    kernels, evenly = _kernels(value)
    total: Gram = np.zeros((channels, channels))
    for weight, offset in kernels:
        gram = _square(weight, offset, channels)
        evenly |= gram is None
        if gram is not None and np.trace(gram) > 0:
            total += gram * (channels / np.trace(gram))
    if not total.any():
        return None
    return total + np.eye(channels) if evenly else total


def _kernels(value: ir.Value) -> tuple[list[tuple[ir.Node, int]], bool]:
    """Convolutions that read the value with the channel it begins at there; whether others read it too."""
    found: list[tuple[ir.Node, int]] = []
    evenly = False
    front, seen = [(value, 0)], set()
    while front:
        at = front.pop()
        if at in seen:
            continue
        seen.add(at)
        evenly |= at[0].is_graph_output()
        for node, index in at[0].uses():
            if _is(node, {"Conv"}) and index == 0:
                found.append((node, at[1]))
                continue
            onward = _through(node, index, at[1])
            front += [onward] if onward is not None else []
            evenly |= onward is None
    return found[:_MOST_FOLLOWED], evenly or len(found) > _MOST_FOLLOWED


def _is(node: ir.Node, kinds: Collection[str]) -> bool:
    return node.op_type in kinds and node.domain in ("", "ai.onnx")


def _through(node: ir.Node, index: int, offset: int) -> tuple[ir.Value, int] | None:
    """Where the value goes on, and from which channel on it lies there; None if that cannot be said."""
    if not node.outputs:
        return None
    read, written = node.inputs[index], node.outputs[0]
    if (_is(node, _CHANNEL_BY_CHANNEL) and index == 0) or _is(node, _SUMS):
        same = read is not None and _rank(read) == _rank(written) and _channels(read) == _channels(written)
        return (written, offset) if same else None
    axis = node.attributes.get("axis")
    if not _is(node, {"Concat"}) or axis is None or axis.as_int() % (_rank(written) or 4) != 1:
        return None
    before = [None if other is None else _channels(other) for other in node.inputs[:index]]
    if None in before:
        return None
    return written, offset + sum(size for size in before if size is not None)


@one_blas_thread()
def _square(node: ir.Node, offset: int, channels: int) -> Gram | None:
    """``Σ AᵀA`` of a convolution over some of the channels it reads; None if its weights are not constant."""
    constant = ir.convenience.get_const_tensor(node.inputs[1]) if node.inputs[1] is not None else None
    if constant is None:
        return None
    weight = constant.numpy().astype(np.float64)
    group = node.attributes.get_int("group", 1)
    width = weight.shape[1]
    if offset + channels > group * width or not np.isfinite(weight).all():
        return None
    taps = weight.reshape(group, weight.shape[0] // group, width, -1)
    gram = np.zeros((channels, channels))
    for g in range(offset // width, -(-(offset + channels) // width)):
        begin, end = max(g * width, offset), min((g + 1) * width, offset + channels)
        read = np.moveaxis(taps[g][:, begin - g * width : end - g * width], 1, 0).reshape(end - begin, -1)
        gram[begin - offset : end - offset, begin - offset : end - offset] = read @ read.T
    return gram


def _channels(value: ir.Value) -> int | None:
    """Of ``(N, C, …)``, if known."""
    shape = value.shape
    if shape is None or len(shape) < 2:
        return None
    size = shape[1]
    return size if isinstance(size, int) else None


def _rank(value: ir.Value) -> int | None:
    return None if value.shape is None else len(value.shape)
