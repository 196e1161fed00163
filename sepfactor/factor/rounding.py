"""Round weights to eight bits so that what a layer answers changes least, not the weights themselves.

Entries are rounded one after the other, and those that are still to come make up for what each was off, in
the metric of what the layer reads (optimal brain surgeon; Frantar & Alistarh 2022, arXiv 2208.11580, and
GPTQ, arXiv 2210.17323).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sepfactor.factor.stage import Array

STEPS = 127
"""Codes on either side of zero."""

REDUCED_STEPS = 63
"""The same of 7 bits: two products with bytes, 2 · 255 · 63, are then less than 2¹⁵."""

_BLOCK = 64
"""Entries that are rounded before what is behind them is brought up to date."""

_DAMPED = 0.01
"""Of the mean variance, added to each: what was hardly seen is not to make up for much."""


@dataclass(frozen=True, eq=False)
class Rounded:
    """A weight in eight bits.

    Attributes:
        codes: int8, of the shape of the weight.
        scales: ``(out,)`` float32, of a step of each output.
        shift: ``(out,)``, to be added to the bias: what rounding takes from the mean of the answer.
    """

    codes: np.ndarray
    scales: np.ndarray
    shift: Array

    def along(self, axis: int) -> Rounded:
        """The same with the outputs along another axis than the first."""
        return replace(self, codes=np.ascontiguousarray(np.moveaxis(self.codes, 0, axis)))


def rounded(weight: Array, steps: int = STEPS) -> Rounded:
    """To the nearest codes, whatever is read.

    Args:
        weight: ``(out, …)``.
        steps: codes on either side of zero.
    """
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    scales = _scales(rows, steps)
    codes = _nearest(rows / scales.astype(np.float64)[:, None], steps)
    return Rounded(codes.astype(np.int8).reshape(weight.shape), scales, np.zeros(len(weight)))


def rounded_to_data(weight: Array, patches: Array, group: int = 1, steps: int = STEPS) -> Rounded:
    """To the codes that change least what is answered to ``patches``.

    Args:
        weight: ``(out, in/group, *kernel)``.
        patches: ``(samples, in, *kernel)`` of what is read.
        group: of the convolution.
        steps: codes on either side of zero.
    """
    out = len(weight)
    rows = weight.reshape(group, out // group, -1).astype(np.float64)
    read = patches.reshape(len(patches), group, -1).astype(np.float64).swapaxes(0, 1)
    mean = read.mean(axis=1)
    centred = read - mean[:, None]
    covariance = centred.swapaxes(1, 2) @ centred / max(len(patches), 1)
    scales = _scales(rows.reshape(out, -1), steps)
    step = scales.astype(np.float64).reshape(group, -1, 1)
    codes = _compensated(rows, step, covariance, steps)
    shift = ((rows - codes * step) @ mean[:, :, None]).reshape(out)
    return Rounded(codes.reshape(weight.shape).astype(np.int8), scales, shift)


def _compensated(rows: Array, step: Array, covariance: Array, steps: int) -> Array:
    """Codes ``(group, out, entries)``, those of entries that vary most first."""
    size = rows.shape[-1]
    variances = np.einsum("gii->gi", covariance)
    damped = covariance + (_DAMPED * variances.mean(axis=1) + 1e-12)[:, None, None] * np.eye(size)
    order = np.argsort(-variances.sum(axis=0), kind="stable")
    inverse = np.linalg.inv(damped[:, order][:, :, order])
    factor = np.linalg.cholesky(inverse).swapaxes(1, 2)  # upper: row j says how the rest makes up for entry j
    left, codes = rows[:, :, order].copy(), np.zeros_like(rows)
    for begin in range(0, size, _BLOCK):  # what is behind a block makes up for all of it at once
        end = min(begin + _BLOCK, size)
        off = np.zeros((*rows.shape[:2], end - begin))
        for j in range(begin, end):
            codes[:, :, j] = _nearest(left[:, :, j] / step[:, :, 0], steps)
            own = (left[:, :, j] - codes[:, :, j] * step[:, :, 0]) / factor[:, j, j, None]
            left[:, :, j + 1 : end] -= own[:, :, None] * factor[:, None, j, j + 1 : end]
            off[:, :, j - begin] = own
        left[:, :, end:] -= off @ factor[:, begin:end, end:]
    back = np.empty_like(order)
    back[order] = np.arange(size)
    return np.asarray(codes[:, :, back])


def _scales(rows: Array, steps: int) -> np.ndarray:
    largest = np.abs(rows).max(axis=1)
    return np.asarray((np.where(largest > 0, largest, 1.0) / steps).astype(np.float32))


def _nearest(values: Array, steps: int) -> Array:
    return np.asarray(np.clip(np.rint(values), -steps, steps))
