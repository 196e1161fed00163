"""Separable depthwise: each channel's k×k kernel as ``r`` products of a column and a row.

::

    W[c, 0, p, q] ≈ Σ_r  V_r[c, p] · H_r[c, q]          Σ_r  depthwise kh×1,  depthwise 1×kw

``r·(kh + kw)`` multiply-accumulates per pixel and channel, against ``kh·kw``: nothing is gained on
3×3 beyond rank 1, much on large kernels. Gaussians, Sobel and blur-pools are exactly rank 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sepfactor.factor.moments import Moments
from sepfactor.factor.scheme import Decomposition, Rank
from sepfactor.factor.stage import Array, Chain, Stage
from sepfactor.factor.subspace import LowRank


@dataclass(frozen=True)
class SeparableDepthwise:
    """The scheme; see the module."""

    name: str = "separable-depthwise"
    form: str = "Σ depthwise kh×1 → depthwise 1×kw"

    def refuses(self, dense: Stage) -> str | None:
        if not dense.is_depthwise or dense.out_channels != dense.group:
            return "not depthwise"
        if min(dense.kernel_shape) == 1:
            return f"kernel {'×'.join(map(str, dense.kernel_shape))} has only one axis"
        return None

    def decompose(self, dense: Stage, moments: Moments | None = None) -> Decomposition:
        low = LowRank.of(dense.weight[:, 0], *_metric(dense, moments))

        def build(rank: Rank) -> tuple[Chain, ...]:
            (terms,) = rank
            columns, rows = low.factors(terms)  # (c, kh, r), (c, r, kw)
            return tuple(
                Chain(
                    (
                        dense.along(columns[:, None, :, t, None], [0]),
                        dense.along(rows[:, None, t, None, :], [1]),
                    )
                )
                for t in range(terms)
            )

        return Decomposition(low.squared_error(), build, (False,))


def _metric(dense: Stage, moments: Moments | None) -> tuple[Array | None, Array | None]:
    """Covariances along a column and along a row of each channel's patch."""
    if moments is None:
        return None, None
    taps = moments.per_channel().reshape(-1, *dense.kernel_shape, *dense.kernel_shape)
    return np.einsum("cpqrq->cpr", taps), np.einsum("cpqps->cqs", taps)


SEPARABLE_DEPTHWISE = SeparableDepthwise()
