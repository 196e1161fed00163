"""What the tests draw at random: convolutions, maps for them and stages that may follow one another.

Weights come from a seeded generator, so that hypothesis shrinks shapes and geometry (what bugs hang
on) instead of thousands of floats.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from sepfactor.factor import Stage
from sepfactor.factor.stage import Array, Ints

GROUPINGS = ("dense", "grouped", "depthwise", "multiplier")
"""One group; several of several inputs; one input each and one output; one input, many outputs."""


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


seeds = st.integers(0, 2**32 - 1)


@st.composite
def channels(draw: st.DrawFn, grouping: str, most: int = 5) -> tuple[int, int, int]:
    """``(out_channels, in_channels / group, group)``."""
    if grouping == "dense":
        return draw(st.integers(1, most)), draw(st.integers(1, most)), 1
    group = draw(st.integers(2, 4))
    if grouping == "depthwise":
        return group, 1, group
    if grouping == "multiplier":
        return group * draw(st.integers(2, 3)), 1, group
    return group * draw(st.integers(1, 3)), draw(st.integers(2, 3)), group


@st.composite
def weights(draw: st.DrawFn, shape: Ints) -> Array:
    """Mostly normal; sometimes of few values, so that singular ones and zero rows turn up."""
    seed = draw(seeds)
    if draw(st.integers(0, 3)):
        return normal(seed, *shape)
    return np.random.default_rng(seed).integers(-1, 2, shape).astype(np.float64)


@st.composite
def stages(
    draw: st.DrawFn,
    groupings: tuple[str, ...] = GROUPINGS,
    kernel: tuple[int, int] = (1, 5),
    axes: int = 2,
) -> Stage:
    """A convolution of any kind: even and 1×N kernels, strides, dilations, lopsided pads, groups."""
    outs, ins, group = draw(channels(draw(st.sampled_from(groupings))))

    def each(low: int, high: int) -> Ints:
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    weight = draw(weights((outs, ins, *each(*kernel))))
    pads = tuple(zip(each(0, 3), each(0, 3), strict=True))
    return Stage(weight, each(1, 3), pads, each(1, 3), group)


@st.composite
def transposed(
    draw: st.DrawFn,
    groupings: tuple[str, ...] = GROUPINGS,
    kernel: tuple[int, int] = (1, 5),
    axes: int = 2,
) -> Stage:
    """A transposed convolution: upsampled by 2 or 3 on an axis at least, cropped or with output padding."""
    stage = draw(stages(groupings, kernel, axes))
    upsampling = [draw(st.integers(1, 3)) for _ in stage.axes]
    upsampling[draw(st.integers(0, axes - 1))] = draw(st.integers(2, 3))
    pads = []
    for k, d, u in zip(stage.kernel_shape, stage.dilations, upsampling, strict=True):
        reach = (k - 1) * d
        extra = draw(st.integers(0, max(u, d) - 1)) if u > 1 else 0
        pads.append((draw(st.integers(0, reach)), draw(st.integers(0, reach)) + extra))
    return replace(stage, strides=(1,) * axes, pads=tuple(pads), upsampling=tuple(upsampling))


@st.composite
def sizes(draw: st.DrawFn, stage: Stage) -> Ints:
    """A map of which something is left behind ``stage``."""
    return tuple(
        max(1, -(-((k - 1) * d - begin - end) // u) + 1) + draw(st.integers(0, 4))
        for k, d, (begin, end), u in zip(
            stage.kernel_shape, stage.dilations, stage.pads, stage.upsampling, strict=True
        )
    )


@st.composite
def inputs(draw: st.DrawFn, stage: Stage) -> Array:
    """``(in_channels, *size)`` for ``stage``."""
    return normal(draw(seeds), stage.in_channels, *draw(sizes(stage)))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Stage, Stage]:
    """Two stages that may follow one another: channels fit, nothing is padded behind a kernel."""
    groups = [draw(st.sampled_from((1, 2, 3, 4))) for _ in range(2)]
    middle = math.lcm(*groups) * draw(st.integers(1, 2))
    ins, outs = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    first, last = draw(stages(kernel=(1, 3))), draw(stages(kernel=(1, 3)))
    first = replace(
        first,
        weight=draw(weights((middle, ins, *first.kernel_shape))),
        group=groups[0],
    )
    last = replace(
        last,
        weight=draw(weights((groups[1] * outs, middle // groups[1], *last.kernel_shape))),
        group=groups[1],
        pads=tuple(
            (0, 0) if k > 1 or own != (0, 0) else pads
            for k, own, pads in zip(first.kernel_shape, first.pads, last.pads, strict=True)
        ),
    )
    return first, last


def unpadded(weight: Array, group: int = 1) -> Stage:
    """``weight`` at stride 1, undilated and without padding."""
    axes = weight.ndim - 2
    return Stage(weight, (1,) * axes, ((0, 0),) * axes, (1,) * axes, group)


def same(stage: Stage) -> Stage:
    """``stage`` at stride 1, padded so that the map keeps its size."""
    spare = [(k - 1) * d for k, d in zip(stage.kernel_shape, stage.dilations, strict=True)]
    return replace(stage, strides=(1,) * len(spare), pads=tuple((n // 2, n - n // 2) for n in spare))
