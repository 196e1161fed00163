"""What a factorisation scheme is, and what it returns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sepfactor.codes import Reason
from sepfactor.factor.moments import Moments
from sepfactor.factor.stage import Array, Chain, Stage

Rank = tuple[int, ...]

Spectrum = tuple[tuple[int, float], ...]
"""Ranks with the relative error that each leaves, rising."""

_SPECTRUM_POINTS = 16


@dataclass(frozen=True, eq=False)
class Decomposition:
    """All ranks of one scheme on one convolution, from one decomposition.

    Attributes:
        squared_error: share of the energy left out, of the kernel or in the metric, indexed by rank
            (one axis per rank, from 0 to the full rank; no axis for schemes without a rank).
        build: the chains at a rank.
        widths: per rank, whether it is the width of a feature map in every group (then it belongs
            on onnxruntime's block grid), or a number of parallel terms.
        outline: chains of the same shapes, of zeros: to count by, where building would take long.
    """

    squared_error: Array
    build: Callable[[Rank], tuple[Chain, ...]]
    widths: tuple[bool, ...]
    outline: Callable[[Rank], tuple[Chain, ...]]

    @property
    def full_rank(self) -> Rank:
        return tuple(n - 1 for n in self.squared_error.shape)

    def error(self, rank: Rank) -> float:
        """Relative error, ``‖W − W'‖ / ‖W‖``, in weight space or in the metric decomposed in."""
        return math.sqrt(self.squared_error[rank])

    def spectrum(self) -> Spectrum:
        """The error at a few ranks from 1 to the full one; nothing for schemes of two ranks, or none."""
        if len(self.full_rank) != 1:
            return ()
        (full,) = self.full_rank
        ranks = sorted({round(r) for r in np.geomspace(1, full, _SPECTRUM_POINTS)}) if full else []
        return tuple((rank, float(f"{self.error((rank,)):.4g}")) for rank in ranks)


class Scheme(Protocol):
    """A form of factorisation: one file in this package, one line in its registry."""

    @property
    def name(self) -> str:
        """What a user types; ``family-variant`` where there are variants."""

    @property
    def form(self) -> str:
        """The chain in a few signs, for tables and help."""

    def refuses(self, dense: Stage) -> Reason | None:
        """Why this convolution cannot take this form; None if it can."""

    def decompose(self, dense: Stage, moments: Moments | None = None) -> Decomposition:
        """Decompose ``dense``; with ``moments`` in the metric of what it reads, else in weight space.

        With moments the dense weight should be their :meth:`~Moments.target`, so that the factors
        start from what the convolution should answer on the inputs it will see.
        """
