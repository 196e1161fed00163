"""Trim: rows and columns of zeros at the border of a kernel, cut off together with the padding they read.

A 3×3 kernel that is zero but for its centre becomes a 1×1. Exact, and without a rank. A side is
trimmed only as far as there is padding to give up: beyond that the input would have to be cropped. And of
a transposed convolution only as far as it crops its answer on the other side, or may pad that at its end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sepfactor.codes import Reason
from sepfactor.factor.moments import Moments
from sepfactor.factor.scheme import Decomposition, Rank
from sepfactor.factor.stage import Chain, Stage

_NEGLIGIBLE = 1e-14
"""Share of the kernel's energy below which a row of taps is zero but for rounding."""


@dataclass(frozen=True)
class Trim:
    """The scheme; see the module."""

    name: str = "trim"
    form: str = "k×k with a zero border → smaller"

    def refuses(self, dense: Stage) -> Reason | None:
        if not any(begin or end for begin, end in _margins(dense)):
            return Reason("no-zeros", "no row or column of zeros at the border of the kernel")
        return None

    def decompose(self, dense: Stage, moments: Moments | None = None) -> Decomposition:
        margins = _margins(dense)
        window = tuple(slice(b, k - e) for (b, e), k in zip(margins, dense.kernel_shape, strict=True))
        weight = dense.weight[(slice(None), slice(None), *window)]
        pads = tuple(
            (pb - b * d, pe - e * d)
            for (pb, pe), (b, e), d in zip(dense.pads, margins, dense.dilations, strict=True)
        )
        trimmed = replace(dense, weight=weight, pads=pads)
        whole = float(np.sum(dense.weight**2))
        lost = 1.0 - float(np.sum(weight**2)) / whole if whole else 0.0

        def build(_: Rank) -> tuple[Chain, ...]:
            return (Chain((trimmed,)),)

        return Decomposition(np.array(max(lost, 0.0)), build, (), build)


def _margins(dense: Stage) -> list[tuple[int, int]]:
    """Per axis, how many taps at either end are zero and stand on padding that can go with them."""
    whole = float(np.sum(dense.weight**2))
    margins = []
    for axis, ((before, behind), dilation) in enumerate(zip(dense.pads, dense.dilations, strict=True)):
        others = tuple(a for a in range(dense.weight.ndim) if a != axis + 2)
        zero = np.sum(dense.weight**2, axis=others) <= _NEGLIGIBLE * whole
        begin, end = _run(zero), _run(zero[::-1])
        if begin == zero.size:  # an all-zero kernel: keep one tap
            begin, end = 0, zero.size - 1
        begin, end = min(begin, before // dilation), min(end, behind // dilation)
        if dense.is_transposed:
            reach = (zero.size - 1) * dilation
            begin = min(begin, max(reach - behind + dense.upsampling[axis] - 1, 0) // dilation)
            end = min(end, max(reach - before, 0) // dilation)
        margins.append((begin, end))
    return margins


def _run(flags: np.ndarray) -> int:
    """Length of the run of True at the start."""
    return int(np.argmin(flags)) if not flags.all() else int(flags.size)


TRIM = Trim()
