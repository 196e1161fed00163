"""Depthwise and pointwise: ``T`` parallel pairs of a depthwise k×k and a 1×1, either one first.

Depthwise first, per input channel ``i``::

    W[o, i, :] ≈ Σ_t  P_t[o, i] · D_t[i, :]             Σ_T  depthwise k×k,  1×1  I→O

by truncated SVD of each ``O × kh·kw`` slice: ``T·I·(kh·kw + O)`` multiply-accumulates per pixel.
Pointwise first, per output channel ``o``, by SVD of each ``I × kh·kw`` slice: ``T·O·(I + kh·kw)``.
``T`` pairs of channel multiplier 1 stay on onnxruntime's fast path where one multiplier-``T``
convolution does not. Source: Guo et al. 2018, Network Decoupling (arXiv 1808.05517).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from sepfactor.codes import Reason
from sepfactor.factor.moments import Moments
from sepfactor.factor.scheme import Decomposition, Rank
from sepfactor.factor.solving import Roots, roots
from sepfactor.factor.stage import Array, Chain, Stage
from sepfactor.factor.subspace import LowRank, LowRankFactors


@dataclass(frozen=True)
class DepthwisePointwise:
    """``depthwise_first`` says which of the two runs first."""

    name: str
    form: str
    depthwise_first: bool

    def refuses(self, dense: Stage) -> Reason | None:
        if dense.is_pointwise:
            return Reason("pointwise", "kernel is 1×1: no depthwise part")
        if dense.weight.shape[1] == 1:
            return Reason("one-channel", "one input channel per group: no channels to mix")
        return None

    def _metric(self, moments: Moments | None) -> tuple[Roots | None, Roots | None]:
        """Roots of covariances of taps and of input channels, for the channels the depthwise kernel acts on.

        Those that all channels share have a one in place of the channels: ``(g, 1, n, n)``.
        """
        if moments is None:
            return None, None
        own = moments.per_channel()  # (g, in, k, k)
        if self.depthwise_first:
            return roots(own), None
        root, inverse = moments.strip_roots()
        return roots(own.mean(axis=1, keepdims=True)), (root[:, None], inverse[:, None])

    def decompose(self, dense: Stage, moments: Moments | None = None) -> Decomposition:
        kernel = dense.kernel_shape
        g, outs, ins = dense.group, dense.out_channels // dense.group, dense.weight.shape[1]
        slices = dense.grouped().reshape(g, outs, ins, -1)
        # One matrix (taps, channels on the other side) per channel the depthwise kernel acts on.
        order = (0, 2, 3, 1) if self.depthwise_first else (0, 1, 3, 2)
        low = LowRank.of(np.transpose(slices, order), *self._metric(moments))

        def build(rank: Rank, factors: LowRankFactors = low.factors) -> tuple[Chain, ...]:
            (terms,) = rank
            taps, mixing = factors(terms)  # (g, channels, k, T), (g, channels, T, others)
            return tuple(chain(taps[..., t], mixing[..., t, :]) for t in range(terms))

        def chain(taps: Array, mixing: Array) -> Chain:
            channels = taps.shape[0] * taps.shape[1]
            depthwise = dense.along(taps.reshape(channels, 1, *kernel), dense.axes, group=channels)
            if not self.depthwise_first:
                matrix = mixing.reshape(channels, ins)
                return Chain((Stage.pointwise(matrix, len(kernel), g), depthwise))
            matrix = np.swapaxes(mixing, 1, 2).reshape(g * outs, ins)
            return Chain((depthwise, Stage.pointwise(matrix, len(kernel), g)))

        return Decomposition(low.squared_error(), build, (False,), partial(build, factors=low.outline))


DEPTHWISE_FIRST = DepthwisePointwise("depthwise-pointwise", "Σ depthwise k×k → 1×1", True)
POINTWISE_FIRST = DepthwisePointwise("pointwise-depthwise", "Σ 1×1 → depthwise k×k", False)
