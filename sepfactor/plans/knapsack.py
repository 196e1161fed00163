"""The choice itself: one option for every layer, exactly.

A multiple-choice knapsack: minimise the sum of one quantity over the chosen options while sums of
others stay within bounds. Options are on one of two sides, and a value that crosses between layers on
different sides costs more. Solved as a mixed-integer program by HiGHS through scipy, to optimality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.sparse

from sepfactor.factor.stage import Array
from sepfactor.plans.unprinted import without_lines_of_highs

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
        side: ``(options,)``, 0 or 1; None where all are on side 0.
    """

    quantities: Mapping[str, Array]
    side: Array | None = None

    def __len__(self) -> int:
        return len(next(iter(self.quantities.values())))


@dataclass(frozen=True)
class Border:
    """A value that one layer makes and others read, and what it costs to bring it to the other side.

    Attributes:
        maker: number of the layer that makes it; None for what is always on side 0.
        readers: numbers of those that read it; None for what is always on side 0.
        up: cost where it is made on side 0, and any reader is on side 1.
        down: cost where it is made on side 1, and any reader is on side 0.
        quantities: that the costs add to.
    """

    maker: int | None
    readers: tuple[int | None, ...]
    up: float
    down: float
    quantities: tuple[str, ...] = ()

    def cost(self, sides: Sequence[float]) -> float:
        """What it costs where layers are on these sides."""
        made, read = _side(sides, self.maker), [_side(sides, reader) for reader in self.readers]
        if made:
            return self.down if not all(read) else 0.0
        return self.up if any(read) else 0.0


def _side(sides: Sequence[float], number: int | None) -> float:
    return 0.0 if number is None else sides[number]


def solve(
    layers: Sequence[Options],
    minimise: str,
    bounds: Mapping[str, float],
    borders: Sequence[Border] = (),
) -> tuple[int, ...] | None:
    """The option to take in each layer, or None where no choice keeps the bounds.

    Args:
        layers: options of each layer.
        minimise: the quantity whose sum is to be least.
        bounds: quantity → the most its sum may be.
        borders: between layers.
    """
    if not layers:
        return () if all(bound >= 0 for bound in bounds.values()) else None
    kept = [_undominated(layer, (minimise, *bounds)) for layer in layers]
    counts = [len(rows) for rows in kept]
    if not all(counts):
        return None
    pick = np.repeat(np.arange(len(layers)), counts)
    crossing = _Crossings(layers, kept, borders)

    def column(name: str) -> Array:
        parts = [layer.quantities[name][rows] for layer, rows in zip(layers, kept, strict=True)]
        return np.concatenate([*parts, crossing.costs(name)]).astype(np.float64)

    objective = _scaled(column(minimise))
    one_each = scipy.sparse.csr_array(
        (np.ones(len(pick)), (pick, np.arange(len(pick)))), shape=(len(layers), len(objective))
    )
    constraints = [scipy.optimize.LinearConstraint(one_each, 1, 1), *crossing.constraints(len(pick))]
    open_to = np.ones(len(objective))
    for name, bound in bounds.items():
        least = [float(layer.quantities[name][rows].min()) for layer, rows in zip(layers, kept, strict=True)]
        # What is spent beyond the least possible: the solver's tolerance is then one of what may be chosen.
        floor = np.concatenate([np.repeat(least, counts), np.zeros(len(objective) - len(pick))])
        spent, room = column(name) - floor, bound - sum(least)
        if room < -_ROUNDING * max(abs(bound), abs(sum(least))):
            return None
        open_to[spent > max(room, 0.0) * (1 + _ROUNDING)] = 0.0
        spent = np.where(open_to > 0, spent, 0.0) / (room if room > 0 else 1.0)
        constraints.append(scipy.optimize.LinearConstraint(spent[None, :], -np.inf, 1.0))
        objective = objective + _TIE * _scaled(spent)
    with without_lines_of_highs():
        found = scipy.optimize.milp(
            objective,
            constraints=constraints,
            integrality=np.concatenate([np.ones(len(pick)), np.zeros(len(objective) - len(pick))]),
            bounds=scipy.optimize.Bounds(0, open_to),
            options={"mip_rel_gap": 0.0, "time_limit": _SECONDS, "presolve": False},
        )
    if found.x is None:
        return None
    starts = np.concatenate([[0], np.cumsum(counts)])
    return tuple(
        int(rows[np.argmax(found.x[a:b])]) for rows, a, b in zip(kept, starts[:-1], starts[1:], strict=True)
    )


class _Crossings:
    """Variables of the programme beside the options: for every border, whether it is crossed up, and down.

    They need not be whole numbers: where sides are, the least of them are.
    """

    def __init__(
        self, layers: Sequence[Options], kept: Sequence[np.ndarray], borders: Sequence[Border]
    ) -> None:
        self._borders = borders
        starts = np.concatenate([[0], np.cumsum([len(rows) for rows in kept])])
        self._on_side_1: list[Sequence[int]] = [
            [] if layer.side is None else [int(start + i) for i, row in enumerate(rows) if layer.side[row]]
            for layer, rows, start in zip(layers, kept, starts[:-1], strict=True)
        ]

    def costs(self, name: str) -> Array:
        """What crossing each costs in a quantity: all up, and then all down."""
        own = [(b.up, b.down) if name in b.quantities else (0.0, 0.0) for b in self._borders]
        return np.array(own, np.float64).reshape(-1, 2).T.reshape(-1)

    def constraints(self, first: int) -> list[scipy.optimize.LinearConstraint]:
        """That a value is brought over wherever its maker and a reader are on different sides.

        Args:
            first: number of the first of these variables.
        """
        rows = list[dict[int, float]]()
        for number, border in enumerate(self._borders):
            up, down = first + number, first + len(self._borders) + number
            for reader in dict.fromkeys(border.readers):
                rows.append(self._beyond(reader, border.maker) | {up: -1.0})
                rows.append(self._beyond(border.maker, reader) | {down: -1.0})
        if not rows:
            return []
        at = [(i, column, value) for i, row in enumerate(rows) for column, value in row.items()]
        i, columns, values = zip(*at, strict=True)
        shape = (len(rows), first + 2 * len(self._borders))
        table = scipy.sparse.csr_array((values, (i, columns)), shape)
        return [scipy.optimize.LinearConstraint(table, -np.inf, 0)]

    def _beyond(self, one: int | None, other: int | None) -> dict[int, float]:
        """How far one is beyond the other: the difference of their sides, as a sum over options."""
        found = {} if one is None else dict.fromkeys(self._on_side_1[one], 1.0)
        if other is not None:
            for column in self._on_side_1[other]:
                found[column] = found.get(column, 0.0) - 1.0
        return found


def _undominated(layer: Options, names: Sequence[str]) -> np.ndarray:
    """Rows that no other of their side beats or equals in everything; none that has anything unbounded."""
    table = np.stack([layer.quantities[name] for name in names], axis=1)
    side = np.zeros(len(layer)) if layer.side is None else layer.side
    finite = np.atleast_1d(np.isfinite(table).all(axis=1))
    kept: list[int] = []
    for row in np.lexsort(table.T[::-1]):
        beaten = any((table[other] <= table[row]).all() and side[other] == side[row] for other in kept)
        if finite[row] and not beaten:
            kept.append(int(row))
    return np.array(sorted(kept), np.int64)


def _scaled(values: Array) -> Array:
    size = float(np.abs(values).max())
    return values / size if size > 0 else values
