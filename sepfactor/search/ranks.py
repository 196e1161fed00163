"""One scheme on one convolution: the ranks worth looking at, what they cost, and candidates made of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from sepfactor.factor import Chain, Decomposition, Factorization, Rank, Scheme, Stage
from sepfactor.factor.refit import refit
from sepfactor.factor.stage import Array, Ints
from sepfactor.fit.lossless import is_rounding, lossless_factors
from sepfactor.layout import BLOCK
from sepfactor.search.candidate import Factorized
from sepfactor.search.dense_layer import Aim, DenseLayer
from sepfactor.search.stored import StoredFactorization


class RankSearch:
    """One scheme on one layer: the ranks worth looking at, and candidates made of them."""

    def __init__(self, layer: DenseLayer, scheme: Scheme) -> None:
        self.layer, self.scheme = layer, scheme
        self.decomposition = self._bare = scheme.decompose(layer.stage)
        self.macs = MacsByRank(self.decomposition, layer.size)
        self.lossless = self._lossless()
        least = tuple(min(1, full) for full in self.decomposition.full_rank)
        form = Factorization(self.decomposition.outline(least))
        self.aim = layer.aim_for(form if self.lossless is None else None)
        if self.aim is not None and self.lossless is None:
            self.decomposition = scheme.decompose(self.aim.target, self.aim.moments)

    def _lossless(self) -> Factorized | None:
        """The cheapest rank at which the bare weights lose nothing, if it is cheaper than the layer."""
        for rank in self.front():
            if (found := self.exactly(rank)) is not None:
                return found
        return None

    def exactly(self, rank: Rank) -> Factorized | None:
        """The bare weights at this rank, on the grid or not, if they lose nothing."""
        layer = self.layer
        found = lossless_factors(layer.stage, layer.bias, self._bare, rank, layer.epsilon)
        return None if found is None else self._candidate(rank, found)

    def candidate(self, rank: Rank) -> Factorized:
        """The candidate of this rank, fitted to the patches if there is anything to fit to."""
        factorization = Factorization(self.decomposition.build(rank), self.layer.bias)
        if self.aim is not None:
            factorization = self._fit(replace(factorization, bias=None), self.aim)
        return self._candidate(rank, factorization)

    def _candidate(self, rank: Rank, factorization: Factorization) -> Factorized:
        layer = self.layer
        errors = layer.errors(factorization)
        return Factorized(
            scheme=self.scheme.name,
            form=self.scheme.form,
            rank=rank,
            stored=StoredFactorization(factorization.held_as(_kept_in(layer.epsilon)), layer.pool),
            macs=self.macs(rank),
            weight_error=errors.weight,
            output_error=errors.output,
            weighted_error=errors.weighted,
            exact=is_rounding(errors.weight, layer.epsilon),
        )

    def _fit(self, factorization: Factorization, aim: Aim) -> Factorization:
        """Last factors solved for; in wide layers, where that takes seconds each time, the bias only."""
        if self.layer.is_wide:
            found = replace(factorization, bias=aim.moments.bias(factorization.dense().weight))
        else:
            found = refit(aim.target, factorization, aim.moments, sweeps=0)
        return found if aim.metric is None else aim.metric.unwhiten(found)

    def at_rank(self, rank: int) -> tuple[Factorized | None, Factorized | None]:
        """The candidate of about this rank if it is cheaper than the layer, and the one to name if not."""
        wanted = []
        for full, is_width in zip(self.decomposition.full_rank, self.decomposition.widths, strict=True):
            step = _grid_step(self.layer.stage, full, self.layer.block) if is_width else 1
            wanted.append(min(math.ceil(rank / step) * step, full))
        chosen = tuple(wanted)
        if self.lossless is not None and all(r <= c for r, c in zip(self.lossless.rank, chosen, strict=True)):
            return self.lossless, self.lossless
        if (wanted and max(wanted) < rank) or self.macs(chosen) >= self.layer.macs:
            return None, None
        return self.exactly(chosen) or self.candidate(chosen), None

    def within(self, max_error: float) -> tuple[Factorized | None, Factorized | None]:
        """The cheapest lossless rank, else the cheapest within ``max_error``; and the most accurate one.

        Found by bisection along the front, on which errors fall as costs rise.
        """
        if self.lossless is not None:
            return self.lossless, self.lossless
        front = self.front()
        if not front:
            return None, None
        most_accurate = self.candidate(front[-1])
        if not most_accurate.output_error <= max_error:
            return None, most_accurate
        best, low, high = most_accurate, 0, len(front) - 1
        while low < high:
            middle = (low + high) // 2
            candidate = self.candidate(front[middle])
            if candidate.output_error <= max_error:
                best, high = candidate, middle
            else:
                low = middle + 1
        return best, best

    def front(self) -> list[Rank]:
        """Ranks cheaper than the layer, none of them beaten in both cost and weight error, cheapest first."""
        cheaper = [
            r
            for r in ranks(self.decomposition, self.layer.stage, self.layer.block)
            if self.macs(r) < self.layer.macs
        ]
        front: list[Rank] = []
        least = math.inf
        for rank in sorted(cheaper, key=lambda r: (self.macs(r), self.decomposition.squared_error[r])):
            error = float(self.decomposition.squared_error[rank])
            if error < least:
                front.append(rank)
                least = error
        return front


def ranks(decomposition: Decomposition, stage: Stage, block: int = BLOCK) -> Iterator[Rank]:
    """The ranks on the grid: multiples of the block where a width is meant and the layer is that wide."""
    if sum(decomposition.widths) > 1:
        block = BLOCK  # a finer grid in two directions is thousands of ranks
    axes = [
        range(step := _grid_step(stage, full, block) if is_width else 1, full + 1, step)
        for full, is_width in zip(decomposition.full_rank, decomposition.widths, strict=True)
    ]
    return itertools.product(*axes)


def _grid_step(stage: Stage, full_rank: int, block: int) -> int:
    narrow = min(stage.weight.shape[1], stage.out_channels // stage.group) < BLOCK
    return 1 if narrow or full_rank < BLOCK else block


class MacsByRank:
    """Multiply-accumulates of a decomposition at any rank, without building it.

    Every weight of a chain has as many entries as a product of its widths, and each rank is a factor
    of it at most once: the count is multilinear in the ranks. So the corners of a unit cube, outlined
    once, determine it everywhere.
    """

    def __init__(self, decomposition: Decomposition, size: Ints) -> None:
        axes = len(decomposition.full_rank)
        corners: dict[Rank, int] = {}
        for corner in itertools.product((1, 2), repeat=axes):
            if all(c <= full for c, full in zip(corner, decomposition.full_rank, strict=True)):
                corners[corner] = _macs(decomposition.outline(corner), size)
        self._corners = corners

    def __call__(self, rank: Rank) -> int:
        """The count at ``rank``."""
        total = 0
        for corner, value in self._corners.items():
            weight = 1
            for at, r in zip(corner, rank, strict=True):
                weight *= (2 - r) if at == 1 else (r - 1)
            total += weight * value
        return total


def _kept_in(epsilon: float) -> np.dtype[np.floating]:
    """What candidates are kept in until they are built: there are many, larger together than their layers."""
    return np.dtype(np.float32 if epsilon >= np.finfo(np.float32).eps else np.float64)


def _macs(chains: Sequence[Chain], size: Ints) -> int:
    return sum(chain.macs(size) for chain in chains)


def energy_ranks(decomposition: Decomposition, shares: Sequence[float]) -> list[Rank]:
    """For each share the smallest rank that keeps so much of the kernel's energy.

    With two ranks each is the smallest that would do with the other one full, which is what the
    spectrum of that mode says.
    """
    result = []
    for share in shares:
        allowed = 1.0 - share
        wanted = []
        for axis in range(decomposition.squared_error.ndim):
            curve: Array = np.moveaxis(decomposition.squared_error, axis, 0)
            curve = curve.reshape(curve.shape[0], -1)[:, -1]
            wanted.append(max(1, int(np.argmax(curve <= allowed))))
        result.append(tuple(wanted))
    return result
