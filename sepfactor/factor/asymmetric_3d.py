"""Asymmetric 3-d: one kernel axis, then the other, then the channels.

Per group::

    W[o, i, p, q] ≈ Σ_{r, s}  P[o, s] · H[s, r, q] · V[r, i, p]      kh×1 I→r,  1×kw r→s,  1×1 s→O

``r·I·kh + r·s·kw + s·O`` multiply-accumulates per pixel at stride 1. The rank is the pair
``(r, s)``. Zhang et al. 2015 (arXiv 1505.06798), section 3.4, apply the channel step and then the
spatial one; the two truncate different modes of ``W`` as a tensor ``(i·p, q, o)``, so one truncated
HOSVD gives both, for all pairs of ranks at once. Of a kernel of three axes ``p`` is the first of them,
``q`` the other two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from sepfactor.codes import Reason
from sepfactor.factor.moments import Moments
from sepfactor.factor.scheme import Decomposition, Rank
from sepfactor.factor.solving import roots
from sepfactor.factor.spatial import between, two_sets
from sepfactor.factor.stage import Chain, Stage
from sepfactor.factor.subspace import Tucker, TuckerFactors


@dataclass(frozen=True)
class Asymmetric3d:
    """The scheme; see the module."""

    name: str = "asymmetric-3d"
    form: str = "kh×1 → 1×kw → 1×1"

    def refuses(self, dense: Stage) -> Reason | None:
        if len(dense.kernel_axes) < 2:
            return Reason("one-axis", "kernel has only one axis", "×".join(map(str, dense.kernel_shape)))
        if dense.weight.shape[1] == 1 or dense.out_channels == dense.group:
            return Reason("one-channel", "one channel per group: nothing to factor between channels")
        return None

    def decompose(self, dense: Stage, moments: Moments | None = None) -> Decomposition:
        g, outs, ins = dense.grouped().shape[:3]
        first_axes, second_axes = two_sets(dense)
        between_sides = between(dense, first_axes, second_axes)
        tensor = np.swapaxes(between_sides.reshape(*between_sides.shape[:2], outs, -1), 2, 3)
        metric = (
            () if moments is None else (moments.strip_roots(first_axes), roots(moments.taps_on(second_axes)))
        )
        tucker = Tucker.of(tensor, *metric)

        def build(rank: Rank, factors: TuckerFactors = tucker.factors) -> tuple[Chain, ...]:
            r, s = rank
            first, core, last = factors((r, s))  # (g, i*p, r), (g, r, q, s), (g, s, o)
            vertical = np.swapaxes(first, 1, 2).reshape(g * r, ins, *dense.kernel_on(first_axes))
            horizontal = np.transpose(core, (0, 3, 1, 2)).reshape(g * s, r, *dense.kernel_on(second_axes))
            stages = (
                dense.along(vertical, first_axes),
                dense.along(horizontal, second_axes),
                Stage.pointwise(np.swapaxes(last, 1, 2).reshape(g * outs, s), len(dense.axes), g),
            )
            return (Chain(stages),)

        return Decomposition(
            tucker.squared_error(), build, (True, True), partial(build, factors=tucker.outline)
        )


ASYMMETRIC_3D = Asymmetric3d()
