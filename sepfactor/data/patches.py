"""Sample the patches a convolution reads, out of the maps it is given."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.factor import Stage

_HUGE = 1e15
"""What no activation means to be: products of two such numbers still fit a float32."""


def sample_positions(size: tuple[int, ...], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``(count, axes)`` positions of a map of ``size``: all of them, if it has no more than ``count``."""
    total = math.prod(size)
    flat = rng.choice(total, size=count, replace=False) if total >= count else np.arange(total)
    return np.stack(np.unravel_index(flat, size), axis=1)


def usable(*arrays: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """The rows that hold, in every array, numbers to compute with: not NaN, infinite or next to it."""
    if all(not a.size or max(a.max(), -a.min()) < _HUGE for a in arrays):
        return arrays
    kept = np.all([(np.abs(a) < _HUGE).reshape(len(a), -1).all(axis=1) for a in arrays], axis=0)
    return tuple(a[kept] for a in arrays)


def gather_patches(
    x: NDArray[np.floating], stage: Stage, batch: int, positions: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The patches ``stage`` reads for these output positions.

    Args:
        x: ``(batch, in_channels, *size)``, the input of the convolution.
        stage: its kernel shape, strides, pads, dilations and upsampling.
        batch: which element of the batch.
        positions: ``(n, axes)`` output positions.

    Returns:
        ``(n, in_channels, *kernel_shape)``, zeros where the patch hangs over the border, and
        where upsampling puts them.
    """
    image = x[batch]
    index, inside = [], []
    for axis, (k, s, (begin, _), d, u) in enumerate(
        zip(stage.kernel_shape, stage.strides, stage.pads, stage.dilations, stage.upsampling, strict=True)
    ):
        taps = positions[:, axis, None] * s - begin + np.arange(k) * d  # (n, k)
        pixels, between = np.divmod(taps, u)
        inside.append((pixels >= 0) & (pixels < image.shape[axis + 1]) & (between == 0))
        index.append(np.clip(pixels, 0, image.shape[axis + 1] - 1))
    axes = len(index)
    spread = tuple(_spread(taps, axis, axes) for axis, taps in enumerate(index))
    patches = image[(slice(None), *spread)]  # (c, n, *kernel)
    mask = functools.reduce(np.logical_and, (_spread(one, axis, axes) for axis, one in enumerate(inside)))
    return np.ascontiguousarray(np.where(mask, patches, 0).swapaxes(0, 1), dtype=np.float32)


def _spread(taps: NDArray[Any], axis: int, axes: int) -> NDArray[Any]:
    """``(n, k)`` as ``(n, 1, …, k, …, 1)``, with the taps on one of the axes of a kernel."""
    return taps.reshape(len(taps), *(taps.shape[1] if a == axis else 1 for a in range(axes)))
