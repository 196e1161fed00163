"""Factors put away until they are looked at: of all candidates together they are larger than the network."""

from __future__ import annotations

import numpy as np

from sepfactor.factor import Factorization
from sepfactor.memory import Pool, StoredArrays


class StoredFactorization:
    """A factorization whose weights are in a pool.

    Args:
        factorization: nobody changes it from here on.
        pool: keeps its weights; None for memory without a bound.

    Attributes:
        outline: the same with zeros for weights, which take no memory.
    """

    def __init__(self, factorization: Factorization, pool: Pool | None = None) -> None:
        weights = [stage.weight for stage in factorization.stages]
        self._weights = StoredArrays.of(weights, Pool() if pool is None else pool)
        self.outline = factorization.with_weights(
            [np.broadcast_to(np.zeros((), weight.dtype), weight.shape) for weight in weights]
        )

    def load(self) -> Factorization:
        """With its weights, which are in memory as long as it is."""
        return self.outline.with_weights([*self._weights])
