"""Average-first: a 1×1 layer whose answers are averaged works on averages of its inputs instead.

Where the map it answers is only looked at as averages over blocks of pixels (a global average before
the class scores, most often), the average may come before the layer::

    mean_p f(W·x_p + b) ≈ Σ_blocks w_block · f(W·mean_{p∈block} x_p + b)

A depthwise average at the stride of the blocks, then the layer itself on a map that is so much
smaller. It is exact where ``f`` is linear, and by Jensen's inequality off by what ``f`` bends within a
block where it is not. This is no decomposition of the weights, so it has no spectrum and is no
:class:`~sepfactor.factor.scheme.Scheme`: what it costs in accuracy only the answers tell.
"""

from __future__ import annotations

import math

import numpy as np

from sepfactor.factor.stage import Array, Chain, Factorization, Ints, Stage

NAME = "average-first"
"""What a user types."""

FORM = "average → 1×1"

_FEWER = 0.6
"""Of the blocks of the last one tried, at most."""


def average_first(dense: Stage, bias: Array | None, block: Ints, size: Ints) -> Factorization:
    """The layer behind an average over blocks, as a depthwise stage and itself.

    Exact on blocks that lie within the map; ragged ones at its end are averaged over the zeros beyond
    it too, which for the time they take makes no difference.

    Args:
        dense: a 1×1 convolution of stride 1 without pads.
        bias: of it.
        block: pixels along each axis.
        size: of the map.
    """
    kernel = np.full((dense.in_channels, 1, *block), 1.0 / math.prod(block))
    ends = tuple((0, -n % b) for n, b in zip(size, block, strict=True))
    average = Stage(kernel, block, ends, (1,) * len(block), dense.in_channels)
    return Factorization((Chain((average, dense)),), bias)


def blocks(size: Ints) -> list[Ints]:
    """Blocks worth trying on a map, from small to the whole of it, each with clearly fewer than the last."""
    found: list[Ints] = []
    fewest = math.prod(size)
    for side in range(2, max(size) + 1):
        block = tuple(min(side, n) for n in size)
        count = math.prod(grid(size, block))
        if count <= _FEWER * fewest or (count < fewest and count == 1):
            found.append(block)
            fewest = count
    return found


def grid(size: Ints, block: Ints) -> Ints:
    """How many blocks a map has along each axis, ragged ones included."""
    return tuple(-(-n // b) for n, b in zip(size, block, strict=True))


def weights(size: Ints, block: Ints) -> Array | None:
    """By what each block counts in the mean over the map, 1 on average; None where all count alike.

    Returns:
        ``(1, 1, *grid)``.
    """
    counts = [
        np.minimum(b, n - b * np.arange(g)) * (g / n)
        for n, b, g in zip(size, block, grid(size, block), strict=True)
    ]
    if all(np.allclose(row, 1.0) for row in counts):
        return None
    return np.asarray(np.multiply.outer(counts[0], counts[1]))[None, None]
