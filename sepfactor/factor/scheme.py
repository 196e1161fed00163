"""What a factorisation scheme is, and what it returns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sepfactor.factor.stage import Array, Chain, Stage
from sepfactor.factor.statistics import Statistics

Rank = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Decomposition:
    """All ranks of one scheme on one convolution, from one decomposition.

    Attributes:
        squared_error: share of the kernel's energy left out, indexed by rank (one axis per rank,
            from 0 to the full rank; no axis for schemes without a rank).
        build: the chains at a rank.
        widths: per rank, whether it is the width of a feature map in every group (then it belongs
            on onnxruntime's block grid), or a number of parallel terms.
    """

    squared_error: Array
    build: Callable[[Rank], tuple[Chain, ...]]
    widths: tuple[bool, ...]

    @property
    def full_rank(self) -> Rank:
        return tuple(n - 1 for n in self.squared_error.shape)

    def error(self, rank: Rank) -> float:
        """Relative error in weight space, ``‖W − W'‖ / ‖W‖``."""
        return math.sqrt(self.squared_error[rank])


class Scheme(Protocol):
    """A form of factorisation: one file in this package, one line in its registry."""

    @property
    def name(self) -> str:
        """What a user types; ``family-variant`` where there are variants."""

    @property
    def form(self) -> str:
        """The chain in a few signs, for tables and help."""

    def refuses(self, dense: Stage) -> str | None:
        """Why this convolution cannot take this form, in words; None if it can."""

    def decompose(self, dense: Stage, statistics: Statistics | None = None) -> Decomposition:
        """Decompose ``dense``; with ``statistics`` in their metric, else in weight space."""
