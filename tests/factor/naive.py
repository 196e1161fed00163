"""The oracle: convolution as its definition says, one output pixel at a time."""

from __future__ import annotations

import numpy as np

from sepfactor.factor import Chain, Factorization, Stage
from sepfactor.factor.stage import Array


def patches(stage: Stage, x: Array) -> Array:
    """``(*output_size, in_channels, *kernel_shape)``: what the kernel sees at every output pixel."""
    between = np.zeros(
        (x.shape[0], *((n - 1) * u + 1 for n, u in zip(x.shape[1:], stage.upsampling, strict=True)))
    )
    between[(slice(None), *(slice(None, None, u) for u in stage.upsampling))] = x
    padded = np.pad(between, [(0, 0), *stage.pads])
    reach = [(k - 1) * d for k, d in zip(stage.kernel_shape, stage.dilations, strict=True)]
    starts = [range(0, n - r, s) for n, r, s in zip(padded.shape[1:], reach, stage.strides, strict=True)]
    out = np.empty((*map(len, starts), stage.in_channels, *stage.kernel_shape))
    for index in np.ndindex(*map(len, starts)):
        corner = [start[i] for start, i in zip(starts, index, strict=True)]
        window = [slice(c, c + r + 1, d) for c, r, d in zip(corner, reach, stage.dilations, strict=True)]
        out[index] = padded[(slice(None), *window)]
    return out


def convolve(stage: Stage, x: Array) -> Array:
    """``(out_channels, *output_size)`` of ``(in_channels, *size)``."""
    seen = patches(stage, x)
    per_group = stage.weight.shape[0] // stage.group
    ins = stage.weight.shape[1]
    answers = []
    for o in range(stage.out_channels):
        first = o // per_group * ins
        axes = len(x.shape)
        own = seen[(..., slice(first, first + ins), *[slice(None)] * (axes - 1))]
        answers.append(np.tensordot(own, stage.weight[o], axes=axes))
    return np.array(answers)


def run(chains: tuple[Chain, ...], x: Array) -> Array:
    """The sum of ``chains``, every one run stage by stage."""
    total: Array | float = 0.0
    for chain in chains:
        y = x
        for stage in chain.stages:
            y = convolve(stage, y)
        total = total + y
    return np.asarray(total)


def distance(stage: Stage, chains: tuple[Chain, ...], x: Array) -> float:
    """How far ``chains`` stray from ``stage`` on ``x``, against the largest they could answer.

    Shapes must agree: nothing is broadcast.
    """
    expected, found = convolve(stage, x), run(chains, x)
    assert expected.shape == found.shape
    whole = float(np.linalg.norm(stage.weight) * np.linalg.norm(x)) or 1.0
    return float(np.linalg.norm(expected - found)) / whole


def dense(chains: tuple[Chain, ...]) -> Stage:
    return Factorization(chains).dense()
