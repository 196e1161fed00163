"""The choice itself: one option for every layer, exactly.

A multiple-choice knapsack: minimise the sum of one quantity over the chosen options while sums of
others stay within bounds. Solved as a mixed-integer program by HiGHS through scipy, to optimality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.sparse

from sepfactor.factor.stage import Array

_SECONDS = 20.0
"""After so long the best choice found is taken; networks of a hundred layers need well under one second."""

_TIE = 1e-6
"""Weight of the bounded quantities in the objective: of equal choices, the one that leaves more room."""

_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Options:
    """The options of one layer; every array has one entry an option.

    Attributes:
        quantities: name → ``(options,)``: what is added up over layers.
    """

    quantities: Mapping[str, Array]

    def __len__(self) -> int:
        return len(next(iter(self.quantities.values())))


def solve(layers: Sequence[Options], minimise: str, bounds: Mapping[str, float]) -> tuple[int, ...] | None:
    """The option to take in each layer, or None where no choice keeps the bounds.

    Args:
        layers: options of each layer.
        minimise: the quantity whose sum is to be least.
        bounds: quantity → the most its sum may be.
    """
    if not layers:
        return () if all(bound >= 0 for bound in bounds.values()) else None
    kept = [_undominated(layer, (minimise, *bounds)) for layer in layers]
    counts = [len(rows) for rows in kept]
    if not all(counts):
        return None
    pick = np.repeat(np.arange(len(layers)), counts)

    def column(name: str) -> Array:
        parts = [layer.quantities[name][rows] for layer, rows in zip(layers, kept, strict=True)]
        return np.concatenate(parts).astype(np.float64)

    objective = _scaled(column(minimise))
    one_each = scipy.sparse.csr_array((np.ones(len(pick)), (pick, np.arange(len(pick)))))
    constraints = [scipy.optimize.LinearConstraint(one_each, 1, 1)]
    open_to = np.ones(len(pick))
    for name, bound in bounds.items():
        least = [float(layer.quantities[name][rows].min()) for layer, rows in zip(layers, kept, strict=True)]
        # What is spent beyond the least possible: the solver's tolerance is then one of what may be chosen.
        spent, room = column(name) - np.repeat(least, counts), bound - sum(least)
        if room < -_ROUNDING * max(abs(bound), abs(sum(least))):
            return None
        open_to[spent > max(room, 0.0) * (1 + _ROUNDING)] = 0.0
        spent = np.where(open_to > 0, spent, 0.0) / (room if room > 0 else 1.0)
        constraints.append(scipy.optimize.LinearConstraint(spent[None, :], -np.inf, 1.0))
        objective = objective + _TIE * _scaled(spent)
    # Presolved, HiGHS may repair a solution it found, and prints a line to stdout when it does.
    found = scipy.optimize.milp(
        objective,
        constraints=constraints,
        integrality=np.ones(len(pick), np.int64),
        bounds=scipy.optimize.Bounds(0, open_to),
        options={"mip_rel_gap": 0.0, "time_limit": _SECONDS, "presolve": False},
    )
    if found.x is None:
        return None
    starts = np.concatenate([[0], np.cumsum(counts)])
    return tuple(
        int(rows[np.argmax(found.x[a:b])]) for rows, a, b in zip(kept, starts[:-1], starts[1:], strict=True)
    )


def _undominated(layer: Options, names: Sequence[str]) -> np.ndarray:
    """Rows that no other row beats or equals in everything; not those of which anything is unbounded."""
    table = np.stack([layer.quantities[name] for name in names], axis=1)
    finite = np.atleast_1d(np.isfinite(table).all(axis=1))
    kept: list[int] = []
    for row in np.lexsort(table.T[::-1]):
        if finite[row] and not any((table[other] <= table[row]).all() for other in kept):
            kept.append(int(row))
    return np.array(sorted(kept), np.int64)


def _scaled(values: Array) -> Array:
    size = float(np.abs(values).max())
    return values / size if size > 0 else values
