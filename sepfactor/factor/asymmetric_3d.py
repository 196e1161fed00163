"""Asymmetric 3-d: one kernel axis, then the other, then the channels.

Per group::

    W[o, i, p, q] ≈ Σ_{r, s}  P[o, s] · H[s, r, q] · V[r, i, p]      kh×1 I→r,  1×kw r→s,  1×1 s→O

``r·I·kh + r·s·kw + s·O`` multiply-accumulates per pixel at stride 1. The rank is the pair
``(r, s)``. Zhang et al. 2015 (arXiv 1505.06798), section 3.4, apply the channel step and then the
spatial one; the two truncate different modes of ``W`` as a tensor ``(i·p, q, o)``, so one truncated
HOSVD gives both, for all pairs of ranks at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sepfactor.factor.moments import Moments
from sepfactor.factor.scheme import Decomposition, Rank
from sepfactor.factor.stage import Chain, Stage
from sepfactor.factor.subspace import Tucker


@dataclass(frozen=True)
class Asymmetric3d:
    """The scheme; see the module."""

    name: str = "asymmetric-3d"
    form: str = "kh×1 → 1×kw → 1×1"

    def refuses(self, dense: Stage) -> str | None:
        if min(dense.kernel_shape) == 1:
            return f"kernel {'×'.join(map(str, dense.kernel_shape))} has only one axis"
        if dense.weight.shape[1] == 1 or dense.out_channels == dense.group:
            return "one channel per group: nothing to factor between channels"
        return None

    def decompose(self, dense: Stage, moments: Moments | None = None) -> Decomposition:
        g, outs, ins, kh, kw = dense.grouped().shape
        tensor = np.transpose(dense.grouped(), (0, 2, 3, 4, 1)).reshape(g, ins * kh, kw, outs)
        metric = () if moments is None else (moments.strips(0), moments.columns())
        tucker = Tucker.of(tensor, *metric)

        def build(rank: Rank) -> tuple[Chain, ...]:
            r, s = rank
            first, core, last = tucker.factors((r, s))  # (g, i*p, r), (g, r, q, s), (g, s, o)
            vertical = np.swapaxes(first, 1, 2).reshape(g * r, ins, kh, 1)
            horizontal = np.transpose(core, (0, 3, 1, 2)).reshape(g * s, r, 1, kw)
            stages = (
                dense.along(vertical, [0]),
                dense.along(horizontal, [1]),
                Stage.pointwise(np.swapaxes(last, 1, 2).reshape(g * outs, s), 2, g),
            )
            return (Chain(stages),)

        return Decomposition(tucker.squared_error(), build, (True, True))


ASYMMETRIC_3D = Asymmetric3d()
