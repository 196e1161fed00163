"""How absolute errors are distributed: a few large ones, or many small ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.results import Histogram

_PER_DECADE = 2
_LEAST, _MOST = -12, 12
"""Powers of ten; what is smaller or larger is counted with the last bin of its side."""

_BINS = (_MOST - _LEAST) * _PER_DECADE


@dataclass
class HistogramMeter:
    """A histogram of ``|a − b|``, fed array by array."""

    _counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64))
    _equal: int = 0

    def update(self, reference: NDArray[Any], candidate: NDArray[Any]) -> None:
        """Add two arrays of numbers of one shape; what is not finite in either is left out."""
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            errors = np.abs(reference.astype(np.float64) - candidate.astype(np.float64)).ravel()
            errors = errors[np.isfinite(errors)]
            different = errors[errors > 0]
            places = np.floor((np.log10(different) - _LEAST) * _PER_DECADE)
        self._equal += errors.size - different.size
        self._counts += np.bincount(np.clip(places, 0, _BINS - 1).astype(np.int64), minlength=_BINS)

    def result(self) -> Histogram | None:
        """The histogram, without empty bins at its ends; None if nothing was compared."""
        filled = np.flatnonzero(self._counts)
        if not filled.size:
            return Histogram(edges=(), counts=(), equal=self._equal, within_99=0.0) if self._equal else None
        first, last = int(filled[0]), int(filled[-1])
        edges = tuple(float(10.0 ** (_LEAST + i / _PER_DECADE)) for i in range(first, last + 2))
        counts = tuple(int(c) for c in self._counts[first : last + 1])
        within = within_share(0.99, edges, counts, self._equal)
        return Histogram(edges=edges, counts=counts, equal=self._equal, within_99=within)


def within_share(share: float, edges: Sequence[float], counts: Sequence[int], equal: int) -> float:
    """An error that ``share`` of all elements do not exceed: the upper edge of the bin it falls in."""
    wanted, seen = share * (equal + sum(counts)), equal
    if seen >= wanted:
        return 0.0
    for count, edge in zip(counts, edges[1:], strict=True):
        seen += count
        if seen >= wanted:
            return edge
    return edges[-1]
