"""Spatial: a k×k kernel as one along each axis, through ``r`` channels.

Vertical first, per group::

    W[o, i, p, q] ≈ Σ_r  H[o, r, q] · V[r, i, p]        kh×1  I→r,  1×kw  r→O
    A[(i, p), (o, q)] = W[o, i, p, q]                   truncated SVD of A

``r·(I·kh + O·kw)`` multiply-accumulates per pixel at stride 1, against ``O·I·kh·kw``. Horizontal
first is the same with the axes exchanged. Source: Jaderberg et al. 2014 (arXiv 1405.3866), in the
closed form of Tai et al. 2016 (arXiv 1511.06067).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sepfactor.factor.moments import Moments
from sepfactor.factor.scheme import Decomposition, Rank
from sepfactor.factor.stage import Array, Chain, Stage
from sepfactor.factor.subspace import LowRank


@dataclass(frozen=True)
class Spatial:
    """``first`` is the axis whose kernel runs first: 0 vertical, 1 horizontal."""

    name: str
    form: str
    first: int

    def refuses(self, dense: Stage) -> str | None:
        if min(dense.kernel_shape) == 1:
            return f"kernel {_by(dense.kernel_shape)} has only one axis"
        if dense.is_depthwise and dense.out_channels == dense.group:
            return "depthwise: separable-depthwise does this"
        return None

    def decompose(self, dense: Stage, moments: Moments | None = None) -> Decomposition:
        # (g, i, first, o, second)
        second = 1 - self.first
        tensor = np.transpose(dense.grouped(), (0, 2, 3 + self.first, 1, 3 + second))
        g, ins, k1, outs, k2 = tensor.shape
        strips = None if moments is None else moments.strips(self.first)
        low = LowRank.of(tensor.reshape(g, ins * k1, outs * k2), left=strips)

        def build(rank: Rank) -> tuple[Chain, ...]:
            (r,) = rank
            left, right = low.factors(r)
            before = np.swapaxes(left, 1, 2).reshape(g * r, ins, k1)
            after = np.transpose(right.reshape(g, r, outs, k2), (0, 2, 1, 3)).reshape(g * outs, r, k2)
            stages = (
                dense.along(_upright(before, self.first), [self.first]),
                dense.along(_upright(after, second), [second]),
            )
            return (Chain(stages),)

        return Decomposition(low.squared_error(), build, (True,))


def _upright(kernel: Array, axis: int) -> Array:
    """``(out, in, k)`` as ``(out, in, k, 1)`` for axis 0 and ``(out, in, 1, k)`` for axis 1."""
    return np.expand_dims(kernel, 3 - axis)


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


VERTICAL_FIRST = Spatial("spatial-vertical", "kh×1 → 1×kw", 0)
HORIZONTAL_FIRST = Spatial("spatial-horizontal", "1×kw → kh×1", 1)
