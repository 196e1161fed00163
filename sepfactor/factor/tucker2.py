"""Tucker-2: a k×k core between two 1×1.

Per group::

    W[o, i, p, q] ≈ Σ_{r, s}  P[o, s] · C[s, r, p, q] · Q[i, r]      1×1 I→r,  k×k r→s,  1×1 s→O

``I·r + r·s·kh·kw + s·O`` multiply-accumulates per pixel at stride 1. The rank is the pair
``(r, s)``. Source: Kim et al. 2016 (arXiv 1511.06530); truncated HOSVD instead of their VBMF ranks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from sepfactor.codes import Reason
from sepfactor.factor.moments import Moments
from sepfactor.factor.scheme import Decomposition, Rank
from sepfactor.factor.solving import roots
from sepfactor.factor.stage import Chain, Stage
from sepfactor.factor.subspace import Tucker, TuckerFactors


@dataclass(frozen=True)
class Tucker2:
    """The scheme; see the module."""

    name: str = "tucker2"
    form: str = "1×1 → k×k → 1×1"

    def refuses(self, dense: Stage) -> Reason | None:
        if dense.is_pointwise:
            return Reason("pointwise", "kernel is 1×1: channel-out does this")
        if dense.weight.shape[1] == 1 or dense.out_channels == dense.group:
            return Reason("one-channel", "one channel per group: nothing to factor between channels")
        return None

    def decompose(self, dense: Stage, moments: Moments | None = None) -> Decomposition:
        kernel = dense.kernel_shape
        grouped = dense.grouped()
        g, outs, ins = grouped.shape[:3]
        taps = math.prod(kernel)
        tensor = np.transpose(grouped.reshape(g, outs, ins, taps), (0, 2, 3, 1))
        metric = () if moments is None else (moments.strip_roots(), roots(moments.per_channel().mean(axis=1)))
        tucker = Tucker.of(tensor, *metric)

        def build(rank: Rank, factors: TuckerFactors = tucker.factors) -> tuple[Chain, ...]:
            r, s = rank
            first, core, last = factors((r, s))  # (g, i, r), (g, r, k, s), (g, s, o)
            middle = np.transpose(core, (0, 3, 1, 2)).reshape(g * s, r, *kernel)
            stages = (
                Stage.pointwise(np.swapaxes(first, 1, 2).reshape(g * r, ins), len(kernel), g),
                dense.along(middle, dense.axes),
                Stage.pointwise(np.swapaxes(last, 1, 2).reshape(g * outs, s), len(kernel), g),
            )
            return (Chain(stages),)

        return Decomposition(
            tucker.squared_error(), build, (True, True), partial(build, factors=tucker.outline)
        )


TUCKER2 = Tucker2()
