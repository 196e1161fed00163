"""The choice is exact: brute force finds nothing better."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sepfactor.plans.knapsack import Options, solve

values = st.floats(0, 10).map(lambda v: round(v, 3))


@st.composite
def problems(draw: st.DrawFn) -> list[Options]:
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        count = draw(st.integers(1, 4))
        columns = {
            name: np.array(draw(st.lists(values, min_size=count, max_size=count)))
            for name in ("time", "loss", "macs")
        }
        layers.append(Options(columns))
    return layers


def total(layers: list[Options], choice: tuple[int, ...], name: str) -> float:
    return float(sum(layer.quantities[name][i] for layer, i in zip(layers, choice, strict=True)))


@settings(deadline=None, max_examples=80)
@given(problems(), st.floats(0, 20), st.floats(0, 20))
def test_nothing_better_exists(layers: list[Options], time: float, macs: float) -> None:
    bounds = {"time": time, "macs": macs}
    every = itertools.product(*(range(len(layer)) for layer in layers))
    allowed = [c for c in every if all(total(layers, c, n) <= b for n, b in bounds.items())]
    choice = solve(layers, "loss", bounds)
    if choice is None:
        nearly = {n: b - 1e-5 for n, b in bounds.items()}
        assert not [c for c in allowed if all(total(layers, c, n) <= b for n, b in nearly.items())]
        return
    assert all(total(layers, choice, n) <= b + 1e-4 for n, b in bounds.items())
    if allowed:
        best = min(total(layers, c, "loss") for c in allowed)
        assert total(layers, choice, "loss") <= best + 1e-3


def test_a_bound_nothing_keeps() -> None:
    layer = Options({"time": np.array([3.0, 4.0]), "loss": np.array([1.0, 0.0])})
    assert solve([layer, layer], "loss", {"time": 5.9}) is None
    assert solve([layer, layer], "loss", {"time": 6.0}) == (0, 0)
    assert solve([layer, layer], "loss", {"time": 8.0}) == (1, 1)
    assert solve([layer, layer], "loss", {"time": 7.0}) in ((0, 1), (1, 0))


def test_without_layers() -> None:
    assert solve([], "loss", {"time": 1.0}) == ()
    assert solve([], "loss", {"time": -1.0}) is None


def test_losses_of_very_different_size() -> None:
    rng = np.random.default_rng(0)
    layers = [
        Options({"time": rng.uniform(0.2, 1, 6), "loss": 10 ** rng.uniform(-7, 1, 6)}) for _ in range(40)
    ]
    least = sum(float(layer.quantities["loss"].min()) for layer in layers)
    tight = solve(layers, "time", {"loss": 1.1 * least})
    assert tight is not None
    assert total(layers, tight, "loss") <= 1.1 * least * (1 + 1e-5)
    wide = solve(layers, "time", {"loss": 100 * least})
    assert wide is not None
    assert total(layers, wide, "time") < total(layers, tight, "time")


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_what_is_unbounded_is_never_taken(bad: float) -> None:
    layer = Options({"time": np.array([3.0, 1.0]), "loss": np.array([0.0, bad])})
    assert solve([layer, layer], "loss", {"time": 6.0}) == (0, 0)
    assert solve([layer, layer], "time", {"loss": 1.0}) == (0, 0)
    assert solve([layer, layer], "loss", {"time": 5.0}) is None
    assert solve([Options({"time": np.array([bad])})], "time", {}) is None
