"""Intervals hold: on traces recorded on busy machines (``benchmarks/traces.py``), and on made-up ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sepfactor.measure.bootstrap import block_length
from sepfactor.measure.rounds import Rounds, ratio

TRACES = Path(__file__).parent / "traces"
LARGE, AGAIN, SMALL = range(3)
RUNS, ROUNDS, OPENINGS = 200, 60, 5


class Trace:
    """Rounds of three networks, two of which are the same, opened anew many times."""

    def __init__(self, name: str) -> None:
        with np.load(TRACES / f"{name}.npz") as arrays:
            self._disturbed, openings = arrays["disturbed"], arrays["openings"]
            self._wall = 1e-3 * arrays["wall"]
            self.cpu = 1e-3 * arrays["cpu"] if "cpu" in arrays else None
        self._at = [np.flatnonzero(openings == opening) for opening in range(openings.max() + 1)]

    def several_threads(self) -> Rounds:
        return Rounds.of_several_threads(self._wall, self._disturbed)

    def run(self, rng: np.random.Generator) -> Rounds:
        """A measurement as it could have been: openings one after the other, a stretch of rounds of each."""
        assert self.cpu is not None
        first, each = int(rng.integers(len(self._at))), ROUNDS // OPENINGS
        parts = []
        for number in range(first, first + OPENINGS):
            at = self._at[number % len(self._at)]
            begin = int(rng.integers(len(at) - each))
            here = np.s_[:, at[begin : begin + each]]
            parts.append(Rounds(self._wall[here], self.cpu[here], self._disturbed[here]))
        return Rounds.of_openings(parts)


@pytest.mark.parametrize("name", ["busy", "busy_one", "shared"])
@pytest.mark.parametrize("other", [AGAIN, SMALL])
def test_an_interval_covers_the_truth_in_93_of_100_runs(name: str, other: int) -> None:
    """The truth is 1 for the same network, and what the whole trace says for another."""
    trace, rng = Trace(name), np.random.default_rng(0)
    assert trace.cpu is not None
    truth = 1.0 if other == AGAIN else float(np.median(trace.cpu[LARGE]) / np.median(trace.cpu[SMALL]))
    found = [trace.run(rng).scatter(other, LARGE, seed=seed) for seed in range(RUNS)]
    assert sum(r.low <= truth <= r.high for r in found) >= 0.93 * RUNS
    assert np.median([r.high - r.low for r in found]) < 0.1 * truth  # it says something, too


def test_busy_or_not_the_processor_worked_as_long() -> None:
    ratios = []
    for name in ("busy", "busy_one", "shared"):
        cpu = Trace(name).cpu
        assert cpu is not None
        ratios.append(np.median(cpu[LARGE]) / np.median(cpu[SMALL]))
    assert max(ratios) < 1.02 * min(ratios)


def test_two_threads_on_a_busy_machine_are_marked() -> None:
    rounds = Trace("two_threads_busy").several_threads()
    assert rounds.is_disturbed
    assert rounds.ratio(SMALL).is_disturbed
    assert rounds.timing(SMALL).is_disturbed
    assert not np.isnan(rounds.samples).any()


def dependent(n: int, persistence: float, seed: int) -> np.ndarray:
    """An autoregressive series: how much of each value the next one keeps."""
    rng = np.random.default_rng(seed)
    series = [0.0]
    for noise in rng.standard_normal(n):
        series.append(persistence * series[-1] + noise)
    return np.array(series[1:])


def test_blocks_are_longer_where_rounds_resemble_each_other() -> None:
    independent, lasting = (
        np.mean([block_length(np.sign(dependent(200, p, seed))) for seed in range(20)]) for p in (0.0, 0.9)
    )
    assert independent < 9
    assert lasting > 1.5 * independent
    assert block_length(np.zeros(64)) == 4
    assert block_length(np.arange(100.0)) <= 25
    assert block_length(np.array([1.0])) == 1


@pytest.mark.parametrize("persistence", [0.0, 0.6])
def test_intervals_hold_for_series_that_depend_on_themselves(persistence: float) -> None:
    held = 0
    for seed in range(100):
        a, b = (10 * np.exp(0.05 * dependent(60, persistence, 2 * seed + k)) for k in (0, 1))
        found = ratio(a, b, seed=seed)
        held += found.low <= 1.0 <= found.high
    assert held >= 90


def test_sessions_that_differ_widen_the_interval() -> None:
    """Within each opening hardly any scatter, but openings disagree by a percent."""
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(5):
        times = np.outer([10.0, 5.0], np.ones(20)) * rng.lognormal(0, 1e-3, (2, 20))
        times[1] *= rng.lognormal(0, 0.01)
        parts.append(Rounds(times, times, np.zeros(times.shape, bool)))
    together = Rounds.of_openings(parts).ratio(1)
    alone = parts[0].ratio(1)
    assert together.low <= 2.0 <= together.high
    assert together.high - together.low > 5 * (alone.high - alone.low)


def test_inputs_that_differ_widen_the_interval_and_the_mean_of_all_is_in_it() -> None:
    """One network takes as long for any input, the other by how it branches: a single input says too much."""
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(RUNS):
        inputs = np.arange(400) % 16
        times = np.outer([10.0, 5.0], np.ones(400)) * rng.lognormal(0, 1e-3, (2, 400))
        times[0] *= rng.lognormal(0, 0.05, 16)[inputs]
        together = Rounds(times, times, np.zeros(times.shape, bool), inputs=inputs)
        found = together.ratio(1, seed=seed)
        held += found.low <= 2.0 <= found.high
        assert found.high - found.low < 0.4
        assert together.timing(0).inputs == 16
    assert held >= 0.93 * RUNS
