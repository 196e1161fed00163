"""Channel: a k×k convolution through ``r`` channels, with a 1×1 behind it or before it.

Per group, behind: ``W ≈ P Q`` with ``W`` as ``O × I·kh·kw``::

    W[o, (i, p, q)] ≈ Σ_r  P[o, r] · Q[r, (i, p, q)]    k×k  I→r,  1×1  r→O      r·(I·kh·kw + O)
    W[i, (o, p, q)] ≈ Σ_r  P[i, r] · Q[r, (o, p, q)]    1×1  I→r,  k×k  r→O      r·(I + O·kh·kw)

Source: Zhang et al. 2015 (arXiv 1505.06798), section 3.1, in weight space.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from sepfactor.codes import Reason
from sepfactor.factor.moments import Moments
from sepfactor.factor.scheme import Decomposition, Rank
from sepfactor.factor.stage import Chain, Stage
from sepfactor.factor.subspace import LowRank, LowRankFactors


@dataclass(frozen=True)
class Channel:
    """``pointwise_first`` says on which side of the k×k stage the 1×1 stands."""

    name: str
    form: str
    pointwise_first: bool

    def refuses(self, dense: Stage) -> Reason | None:
        if dense.weight.shape[1] == 1 or dense.out_channels == dense.group:
            return Reason("one-channel", "one channel per group: nothing to factor between channels")
        if self.pointwise_first and dense.is_pointwise:
            return Reason("pointwise", "kernel is 1×1: the same as channel-out")
        return None

    def decompose(self, dense: Stage, moments: Moments | None = None) -> Decomposition:
        kernel = dense.kernel_shape
        grouped = dense.grouped()
        if self.pointwise_first:
            grouped = np.swapaxes(grouped, 1, 2)
        g, near, far = grouped.shape[:3]
        matrix = grouped.reshape(g, near, -1)
        if moments is None:
            low = LowRank.of(matrix)
        elif self.pointwise_first:
            low = LowRank.of(matrix, left=moments.strip_roots())
        else:
            low = LowRank.seen_through(matrix, moments.inputs)

        def build(rank: Rank, factors: LowRankFactors = low.factors) -> tuple[Chain, ...]:
            (r,) = rank
            mixing, kernels = factors(r)  # (g, near, r), (g, r, far * k)
            kernels = kernels.reshape(g, r, far, *kernel)
            if self.pointwise_first:
                matrix = np.swapaxes(mixing, 1, 2).reshape(g * r, near)
                weight = np.swapaxes(kernels, 1, 2).reshape(g * far, r, *kernel)
                return (Chain((Stage.pointwise(matrix, len(kernel), g), dense.along(weight, dense.axes))),)
            weight = kernels.reshape(g * r, far, *kernel)
            matrix = mixing.reshape(g * near, r)
            return (Chain((dense.along(weight, dense.axes), Stage.pointwise(matrix, len(kernel), g))),)

        return Decomposition(low.squared_error(), build, (True,), partial(build, factors=low.outline))


OUT = Channel("channel-out", "k×k → 1×1", False)
IN = Channel("channel-in", "1×1 → k×k", True)
