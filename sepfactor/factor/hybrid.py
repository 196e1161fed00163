"""Hybrid: ``T`` depthwise→pointwise pairs, and a spatial chain for what they leave.

::

    W ≈ Σ_t  P_t D_t  +  H V        Σ_T depthwise k×k → 1×1   +   kh×1 I→r, 1×kw r→O

``T·I·(kh·kw + O) + r·(I·kh + O·kw)`` multiply-accumulates per pixel at stride 1. The rank is the pair
``(T, r)``. The pairs come from the SVD of each input channel's slice, the chain from the SVD of the
residual; a refit then solves for both together. The pairs catch what is individual to a channel, the
chain what channels share: on classifiers half the error of either alone at the same cost
(``benchmarks/results/experiments.md``). A combination of Guo et al. 2018 (arXiv 1808.05517) and
Jaderberg et al. 2014 (arXiv 1405.3866).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sepfactor.codes import Reason
from sepfactor.factor.depthwise_pointwise import DEPTHWISE_FIRST
from sepfactor.factor.moments import Moments
from sepfactor.factor.scheme import Decomposition, Rank
from sepfactor.factor.spatial import VERTICAL_FIRST, between, two_sets
from sepfactor.factor.stage import Chain, Factorization, Stage

_MOST_PAIRS, _MOST_OF_WIDE = 3, 1
"""More pairs than this have not beaten fewer with a wider chain; in wide layers each takes seconds."""

_WIDE = 2000
"""Entries per patch."""


@dataclass(frozen=True)
class Hybrid:
    """The scheme; see the module."""

    name: str = "hybrid"
    form: str = "Σ depthwise k×k → 1×1, + kh×1 → 1×kw"

    def refuses(self, dense: Stage) -> Reason | None:
        return DEPTHWISE_FIRST.refuses(dense) or VERTICAL_FIRST.refuses(dense)

    def decompose(self, dense: Stage, moments: Moments | None = None) -> Decomposition:
        pairs = DEPTHWISE_FIRST.decompose(dense, moments)
        most = min(_MOST_OF_WIDE if dense.weight[0].size >= _WIDE else _MOST_PAIRS, *pairs.full_rank)
        parts = [VERTICAL_FIRST.decompose(dense, moments)]
        energies = [_energy(dense, moments)]
        for terms in range(1, most + 1):
            left = replace(dense, weight=dense.weight - _dense(pairs.build((terms,)), dense))
            parts.append(VERTICAL_FIRST.decompose(left, moments))
            energies.append(_energy(left, moments))
        whole = energies[0]
        share = [energy / whole if whole > 0 else 0.0 for energy in energies]
        curves = np.stack([part.squared_error * s for part, s in zip(parts, share, strict=True)])

        def build(rank: Rank) -> tuple[Chain, ...]:
            terms, r = rank
            return (*pairs.build((terms,)), *parts[terms].build((r,)))

        def outline(rank: Rank) -> tuple[Chain, ...]:
            terms, r = rank
            return (*pairs.outline((terms,)), *parts[terms].outline((r,)))

        # More pairs may not pay in the metric of the chain; a curve over them must not rise.
        return Decomposition(np.minimum.accumulate(curves, axis=0), build, (False, True), outline)


def _dense(chains: tuple[Chain, ...], like: Stage) -> np.ndarray:
    return Factorization(chains).dense().regrouped(like.group).weight


def _energy(stage: Stage, moments: Moments | None) -> float:
    """Of a kernel, in the metric the spatial chain is found in."""
    if moments is None:
        return float(np.sum(stage.weight**2))
    first, second = two_sets(stage)
    columns = between(stage, first, second)
    root, _ = moments.strip_roots(first)
    return float(np.sum((root @ columns) ** 2))


HYBRID = Hybrid()
