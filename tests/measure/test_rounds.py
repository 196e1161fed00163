"""What is concluded from rounds: which times count, and what is said of the others."""

from __future__ import annotations

import time

import numpy as np
import pytest

from sepfactor.measure.rounds import Rounds, are_precise, ratio, summarise
from sepfactor.measure.timing import SeveralThreads, WallClock, WorkOfThisThread, time_in_turns
from sepfactor.results import Ratio

QUIET = np.outer([10.0, 5.0], np.linspace(0.99, 1.01, 20))


def test_a_preempted_run_counts_with_what_it_worked() -> None:
    wall, cpu = QUIET.copy(), QUIET
    wall[0, :15] += 40.0  # the longer run is interrupted more often
    rounds = WorkOfThisThread().rounds(wall, cpu)
    assert rounds.clock == "cpu"
    found, timing = rounds.ratio(1), rounds.timing(0)
    assert (found.ratio, found.clock) == (pytest.approx(2.0), "cpu")
    assert found.wall_ratio == pytest.approx(10.0, rel=0.02)
    assert found.disturbed == pytest.approx(15 / 40)
    assert (timing.median_ms, timing.wall_ms) == (pytest.approx(10.0, rel=0.01), pytest.approx(50, rel=0.01))
    assert not found.is_disturbed
    assert not timing.is_disturbed


def test_of_several_threads_only_undisturbed_runs_count() -> None:
    wall, switched = QUIET.copy(), np.zeros(QUIET.shape, bool)
    wall[0, :12] += 2.0  # a little longer, which only the operating system can tell
    switched[0, :12] = True
    wall[1, 5:9] *= 3.0  # waited for a core, which nobody counts
    rounds = SeveralThreads().rounds(wall, 1e3 * switched)
    assert rounds.clock == "wall"
    assert rounds.ratio(1).ratio == pytest.approx(2.0, rel=0.02)
    assert rounds.timing(0).rounds == 8
    assert rounds.timing(1).disturbed == pytest.approx(4 / 20)
    assert not rounds.is_disturbed


def test_where_too_few_runs_were_left_alone_that_is_said() -> None:
    switched = np.ones(QUIET.shape, bool)
    switched[:, :4] = False
    rounds = Rounds.of_several_threads(QUIET, switched)
    assert rounds.is_disturbed
    assert rounds.timing(0).rounds == 20
    assert rounds.ratio(1).is_disturbed


def test_few_rounds_that_were_all_left_alone_are_enough() -> None:
    few = QUIET[:, :3]
    assert not Rounds.of_several_threads(few, np.zeros(few.shape, bool)).is_disturbed


def test_elsewhere_nothing_disturbs() -> None:
    rounds = WallClock().rounds(QUIET, 0 * QUIET)
    assert (rounds.clock, rounds.is_disturbed, rounds.timing(0).disturbed) == ("wall", False, 0.0)


def test_the_meter_tells_work_from_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    now = {"passed": 0.0, "worked": 0.0}
    monkeypatch.setattr(time, "perf_counter", lambda: now["passed"])
    monkeypatch.setattr(time, "thread_time", lambda: now["worked"])

    def call(_: int) -> None:
        now["worked"] += 0.004
        now["passed"] += 0.010

    rounds = time_in_turns([call], WorkOfThisThread(), max_rounds=9)
    assert rounds.cpu is not None
    np.testing.assert_allclose(rounds.cpu, 4.0)
    np.testing.assert_allclose(rounds.wall, 10.0)
    assert rounds.disturbed.all()


def test_what_does_not_count_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.lognormal(0, 0.1, (2, 40))
    a[::4], b[1::4] = np.nan, np.nan
    found = ratio(a, b)
    assert found.ratio == np.nanmedian(a) / np.nanmedian(b)
    assert found.low < found.ratio < found.high
    assert summarise(a).rounds == 30


def test_taking_away_what_is_known() -> None:
    rounds = Rounds(QUIET, QUIET, np.zeros(QUIET.shape, bool))
    less = rounds.less(4.0, 0.1)
    assert less.median_ms(0) == pytest.approx(6.0, rel=0.01)
    assert less.ratio(1).ratio == pytest.approx(6.0, rel=0.02)
    assert rounds.less(9.0, 0.1).median_ms(1) == pytest.approx(0.5)
    assert rounds.first(1).wall.shape == (1, 20)


def test_openings_are_told_apart() -> None:
    part = Rounds(QUIET, QUIET, np.zeros(QUIET.shape, bool))
    both = Rounds.of_openings([part, part.first(2)])
    assert both.openings is not None
    assert both.openings.tolist() == [0] * 20 + [1] * 20
    assert both.ratio(1).ratio == part.ratio(1).ratio


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Ratio(ratio=2.0, low=1.9, high=2.1), None),
        (Ratio(ratio=2.0, low=1.9, high=2.1, clock="cpu", wall_ratio=2.05, disturbed=0.9), None),
        (Ratio(ratio=2.0, low=1.9, high=2.1, clock="cpu", wall_ratio=4.46, disturbed=0.9), "4.46×"),
        (Ratio(ratio=2.0, low=1.9, high=2.1, wall_ratio=4.46, disturbed=0.9), "undisturbed"),
        (Ratio(ratio=2.0, low=1.9, high=2.1, disturbed=0.9, is_disturbed=True), "time it again"),
    ],
)
def test_what_others_did_is_told_where_it_matters(found: Ratio, said: str | None) -> None:
    if said is None:
        assert found.caveat is None
    else:
        assert found.caveat is not None
        assert said in found.caveat
        assert "90 %" in found.caveat


def test_disturbed_runs_are_never_precise() -> None:
    same = np.full((2, 20), 5.0)
    left_alone = Rounds.of_several_threads(same, np.zeros(same.shape, bool))
    disturbed = Rounds.of_several_threads(same, np.ones(same.shape, bool))
    assert are_precise(left_alone, 0.01, 0)
    assert not are_precise(disturbed, 0.01, 0)


def test_what_others_did_to_the_caches_widens_the_interval_and_not_the_figure() -> None:
    """By the share of time that they had the core, whatever length a run has."""
    alone = WorkOfThisThread().rounds(QUIET, QUIET).ratio(1)
    beside = WorkOfThisThread().rounds(4 * QUIET, QUIET)
    found = beside.ratio(1)
    assert found.ratio == alone.ratio
    assert found.low == pytest.approx(alone.low * np.exp(-0.05 * 0.75))
    assert found.high == pytest.approx(alone.high * np.exp(0.15 * 0.75))  # they hide what is between networks
    turned = beside.ratio(0, 1)
    assert (1 / turned.high, 1 / turned.low) == pytest.approx((found.low, found.high))
    scatter = beside.scatter(1)
    assert (scatter.low, scatter.high) == pytest.approx((alone.low, alone.high))


@pytest.mark.parametrize(("hit", "counted"), [(5, 15), (15, 20)])
def test_runs_that_were_interrupted_count_only_where_most_were(hit: int, counted: int) -> None:
    """They found cold caches; but where few were left alone, these are the lucky ones."""
    cpu, wall = QUIET.copy(), QUIET.copy()
    cpu[0, :hit] *= 1.3
    wall[0, :hit] += 5.0 * QUIET[0, :hit]
    rounds = WorkOfThisThread().rounds(wall, cpu)
    assert rounds.timing(0).rounds == counted
    assert rounds.timing(1).rounds == 20
