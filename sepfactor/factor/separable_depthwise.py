"""Separable depthwise: each channel's k×k kernel as ``r`` products of a column and a row.

::

    W[c, 0, p, q] ≈ Σ_r  V_r[c, p] · H_r[c, q]          Σ_r  depthwise kh×1,  depthwise 1×kw

``r·(kh + kw)`` multiply-accumulates per pixel and channel, against ``kh·kw``: nothing is gained on
3×3 beyond rank 1, much on large kernels. Gaussians, Sobel and blur-pools are exactly rank 1. Of a kernel of
three axes ``p`` is the first of them, ``q`` the other two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from sepfactor.codes import Reason
from sepfactor.factor.moments import Moments
from sepfactor.factor.scheme import Decomposition, Rank
from sepfactor.factor.spatial import between, two_sets
from sepfactor.factor.stage import Chain, Stage
from sepfactor.factor.subspace import LowRank, LowRankFactors


@dataclass(frozen=True)
class SeparableDepthwise:
    """The scheme; see the module."""

    name: str = "separable-depthwise"
    form: str = "Σ depthwise kh×1 → depthwise 1×kw"

    def refuses(self, dense: Stage) -> Reason | None:
        if not dense.is_depthwise or dense.out_channels != dense.group:
            return Reason("not-depthwise", "not depthwise")
        if len(dense.kernel_axes) < 2:
            return Reason("one-axis", "kernel has only one axis", "×".join(map(str, dense.kernel_shape)))
        return None

    def decompose(self, dense: Stage, moments: Moments | None = None) -> Decomposition:
        first, second = two_sets(dense)
        metric = () if moments is None else (moments.strip_roots(first), moments.strip_roots(second))
        low = LowRank.of(between(dense, first, second), *metric)

        def build(rank: Rank, factors: LowRankFactors = low.factors) -> tuple[Chain, ...]:
            (terms,) = rank
            columns, rows = factors(terms)  # (c, kh, r), (c, r, kw)
            upright, level = ((len(columns), 1, *dense.kernel_on(axes)) for axes in (first, second))
            return tuple(
                Chain(
                    (
                        dense.along(columns[..., t].reshape(upright), first),
                        dense.along(rows[:, t].reshape(level), second),
                    )
                )
                for t in range(terms)
            )

        return Decomposition(low.squared_error(), build, (False,), partial(build, factors=low.outline))


SEPARABLE_DEPTHWISE = SeparableDepthwise()
