"""Factors of the bare weights, and whether they lose nothing."""

from __future__ import annotations

import numpy as np

from sepfactor.factor import Decomposition, Factorization, Rank, weight_error
from sepfactor.factor.stage import Array, Stage

_EXACT_ULPS = 8
"""A weight error of so many units in the last place is rounding: the rewrite is lossless."""


def epsilon(dtype: np.dtype[np.floating]) -> float:
    """Distance from 1 to the next larger number of a type; numpy's finfo does not know bfloat16."""
    one = np.ones((), dtype)
    return float(np.nextafter(one, one + one) - one)


def is_rounding(error: float, epsilon: float) -> bool:
    """Whether a relative error of weights is rounding in a type of this ``epsilon``."""
    return error <= _EXACT_ULPS * epsilon


def lossless_factors(
    stage: Stage, bias: Array | None, decomposition: Decomposition, rank: Rank, epsilon: float
) -> Factorization | None:
    """The bare weights at a rank, where that loses nothing but rounding.

    Args:
        stage: the dense convolution.
        bias: ``(out,)`` of it, or None.
        decomposition: of its bare weights.
        rank: to build.
        epsilon: of the type that weights are written in.
    """
    if not is_rounding(float(np.sqrt(decomposition.squared_error[rank])), epsilon):
        return None
    found = Factorization(decomposition.build(rank), bias)
    return found if is_rounding(weight_error(stage, found), epsilon) else None
