"""Spatial: a kernel as two, one along each set of its axes, through ``r`` channels.

Vertical first, per group::

    W[o, i, p, q] ≈ Σ_r  H[o, r, q] · V[r, i, p]        kh×1  I→r,  1×kw  r→O
    A[(i, p), (o, q)] = W[o, i, p, q]                   truncated SVD of A

``r·(I·kh + O·kw)`` multiply-accumulates per pixel at stride 1, against ``O·I·kh·kw``. Horizontal
first is the same with the axes exchanged. Of a kernel of three axes one set holds the first or the last
of them, the other set the rest: ``p`` or ``q`` then counts the taps of two axes. A plane and then an
axis is the (2+1)D of Tran et al. 2018 (arXiv 1711.11248). Source: Jaderberg et al. 2014
(arXiv 1405.3866), in the closed form of Tai et al. 2016 (arXiv 1511.06067).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from sepfactor.codes import Reason
from sepfactor.factor.moments import Moments
from sepfactor.factor.scheme import Decomposition, Rank
from sepfactor.factor.stage import Array, Chain, Ints, Stage
from sepfactor.factor.subspace import LowRank, LowRankFactors


@dataclass(frozen=True)
class Spatial:
    """``alone`` is the axis that has a set to itself, 0 the first or -1 the last of those with a kernel."""

    name: str
    form: str
    alone: int
    alone_first: bool = True

    def refuses(self, dense: Stage) -> Reason | None:
        if len(dense.kernel_axes) < 2:
            return Reason("one-axis", "kernel has only one axis", _by(dense.kernel_shape))
        if dense.is_depthwise and dense.out_channels == dense.group:
            return Reason("depthwise", "depthwise: separable-depthwise does this")
        if len(dense.kernel_axes) == 2 and not self.alone_first:
            same = HORIZONTAL_FIRST if self.alone == 0 else VERTICAL_FIRST
            return Reason("two-axes", f"kernel has two axes: {same.name} does this", _by(dense.kernel_shape))
        return None

    def decompose(self, dense: Stage, moments: Moments | None = None) -> Decomposition:
        first, second = two_sets(dense, self.alone, self.alone_first)
        g, outs, ins = dense.grouped().shape[:3]
        low = LowRank.of(
            between(dense, first, second), left=None if moments is None else moments.strip_roots(first)
        )

        def build(rank: Rank, factors: LowRankFactors = low.factors) -> tuple[Chain, ...]:
            (r,) = rank
            left, right = factors(r)
            before = np.swapaxes(left, 1, 2).reshape(g * r, ins, *dense.kernel_on(first))
            after = np.swapaxes(right.reshape(g, r, outs, -1), 1, 2)
            after = after.reshape(g * outs, r, *dense.kernel_on(second))
            return (Chain((dense.along(before, first), dense.along(after, second))),)

        return Decomposition(low.squared_error(), build, (True,), partial(build, factors=low.outline))


def two_sets(dense: Stage, alone: int = 0, alone_first: bool = True) -> tuple[Ints, Ints]:
    """The axes in the order they are worked on: one that stands alone, and the rest, or the other way round.

    Axes without a kernel join the first, where a stride of theirs spares most.
    """
    axis = dense.kernel_axes[alone]
    late = tuple(a for a in dense.kernel_axes if (a == axis) != alone_first)
    return tuple(a for a in dense.axes if a not in late), late


def between(dense: Stage, first: Ints, second: Ints) -> Array:
    """``(group, in · taps on first, out · taps on second)``: what goes from the one side to the other."""
    kernel = [3 + a for a in (*first, *second)]
    tensor = np.transpose(dense.grouped(), (0, 2, *kernel[: len(first)], 1, *kernel[len(first) :]))
    rows = int(np.prod(tensor.shape[1 : 2 + len(first)]))
    return tensor.reshape(dense.group, rows, -1)


def _by(shape: Ints) -> str:
    return "×".join(map(str, shape))


VERTICAL_FIRST = Spatial("spatial-vertical", "kh×1 → 1×kw", 0)
HORIZONTAL_FIRST = Spatial("spatial-horizontal", "1×kw → kh×1", -1)
DEPTH_LAST = Spatial("spatial-depth-last", "1×kh×kw → kd×1×1", 0, alone_first=False)
WIDTH_LAST = Spatial("spatial-width-last", "kd×kh×1 → 1×1×kw", -1, alone_first=False)
