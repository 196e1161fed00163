"""The choice is exact where layers are on two sides, and what crosses between them costs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from sepfactor.plans.knapsack import Border, Options, solve


def problem(seed: int) -> tuple[list[Options], list[Border], dict[str, float], str]:
    rng = np.random.default_rng(seed)
    layers = []
    for _ in range(rng.integers(2, 6)):
        count = int(rng.integers(1, 5))
        layers.append(
            Options(
                {"time": rng.random(count), "loss": rng.random(count)},
                rng.integers(0, 2, count).astype(float),
            )
        )
    ends = [*range(len(layers)), None]

    def some(count: int) -> list[int | None]:
        return [ends[int(i)] for i in rng.integers(0, len(ends), count)]

    borders = [
        Border(some(1)[0], tuple(some(int(rng.integers(1, 4)))), rng.random(), rng.random(), ("time",))
        for _ in range(rng.integers(0, 6))
    ]
    bounded, least = ("time", "loss") if seed % 2 else ("loss", "time")
    return layers, borders, {bounded: 0.8 * len(layers) * rng.random()}, least


def sums(layers: Sequence[Options], borders: Sequence[Border], choice: Sequence[int]) -> dict[str, float]:
    sides = [layer.side[k] for layer, k in zip(layers, choice, strict=True) if layer.side is not None]
    found = {
        name: sum(float(layer.quantities[name][k]) for layer, k in zip(layers, choice, strict=True))
        for name in ("time", "loss")
    }
    for (
        border
    ) in borders:  # said once more: up where nothing but readers is up, down where nothing but makers
        up = [end is not None and bool(sides[end]) for end in (border.maker, *border.readers)]
        if not up[0] and any(up[1:]):
            found["time"] += border.up
        if up[0] and not all(up[1:]):
            found["time"] += border.down
    return found


@pytest.mark.parametrize("seed", range(60))
def test_nothing_better_exists(seed: int) -> None:
    layers, borders, bounds, least = problem(seed)
    ((bounded, bound),) = bounds.items()
    every = [sums(layers, borders, c) for c in itertools.product(*(range(len(layer)) for layer in layers))]
    allowed = [one[least] for one in every if one[bounded] <= bound]
    choice = solve(layers, least, bounds, borders)
    if choice is None:
        assert not allowed
        return
    found = sums(layers, borders, choice)
    assert found[bounded] <= bound + 1e-6
    assert found[least] == pytest.approx(min(allowed), abs=1e-5)


def test_a_border_keeps_neighbours_on_one_side() -> None:
    faster = Options({"time": np.array([1.0, 0.6]), "loss": np.zeros(2)}, np.array([0.0, 1.0]))
    stays = Options({"time": np.array([1.0]), "loss": np.zeros(1)}, np.zeros(1))
    layers = [stays, faster, faster, stays]

    def chosen(cost: float) -> tuple[int, ...] | None:
        borders = [Border(i, (i + 1,), cost, cost, ("time",)) for i in range(3)]
        return solve(layers, "time", {}, borders)

    assert chosen(0.3) == (0, 1, 1, 0)  # two crossings for two layers
    assert chosen(0.5) == (0, 0, 0, 0)
