"""Nothing here is timed: the clock is one that the calls themselves move."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from sepfactor.measure import ratio, summarise
from sepfactor.measure.timing import Call, WallClock, WorkOfThisThread, time_in_turns
from sepfactor.results import Ratio, Timing


class Clock:
    """Stands still, but for the calls made with it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[int] = []
        self.inputs: list[int] = []

    def __call__(self) -> float:
        return self.now

    def call(self, name: int, seconds: Callable[[], float]) -> Call:
        def run(number: int) -> None:
            self.order.append(name)
            self.inputs.append(number)
            self.now += seconds()

        return run


def in_turns(calls: Sequence[Call], clock: Clock, **more: Any) -> np.ndarray:
    """``(calls, rounds)`` milliseconds by this clock."""
    return time_in_turns(calls, WallClock(clock), **more).samples


def noisy(seed: int, milliseconds: float, spread: float = 0.1) -> Callable[[], float]:
    rng = np.random.default_rng(seed)
    return lambda: milliseconds * 1e-3 * float(rng.lognormal(0, spread))


def test_samples_are_milliseconds_of_each_call() -> None:
    clock = Clock()
    calls = [clock.call(0, lambda: 0.010), clock.call(1, lambda: 0.005)]
    samples = in_turns(calls, clock, max_rounds=20)
    assert samples.shape == (2, 20)
    np.testing.assert_allclose(samples, [[10.0] * 20, [5.0] * 20])


@pytest.mark.parametrize("count", [2, 3, 5])
def test_every_round_holds_every_call_and_none_follows_itself(count: int) -> None:
    clock = Clock()
    calls = [clock.call(i, lambda: 1e-6) for i in range(count)]
    in_turns(calls, clock, max_rounds=200, warmup=0)
    rounds = np.array(clock.order).reshape(200, count)
    assert all(sorted(order) == list(range(count)) for order in rounds.tolist())
    follows = Counter(zip(clock.order, clock.order[1:], strict=False))
    assert set(follows) == {(a, b) for a in range(count) for b in range(count) if a != b}
    assert max(follows.values()) < 2 * min(follows.values())


def test_all_calls_of_a_round_are_told_its_number() -> None:
    clock = Clock()
    in_turns([clock.call(i, lambda: 1e-6) for i in range(3)], clock, max_rounds=9, warmup=2)
    numbers = np.array(clock.inputs).reshape(-1, 3)
    assert (numbers == np.arange(-2, 9)[:, None]).all()


def test_as_in_use_a_short_call_follows_itself_on_another_input_and_that_is_not_counted() -> None:
    clock = Clock()
    calls = [clock.call(0, lambda: 1e-4), clock.call(1, lambda: 1e-2)]
    samples = in_turns(calls, clock, max_rounds=20, warmup=0, as_in_use=True)
    np.testing.assert_allclose(samples, [[0.1] * 20, [10.0] * 20])
    made = list(zip(clock.order, clock.inputs, strict=True))
    assert clock.order.count(0) == 3 * 20
    assert clock.order.count(1) == 20 + 2  # before it was known how long it takes
    short = [number for name, number in made if name == 0]
    assert short == [number + k for number in range(20) for k in (-2, -1, 0)]


def test_the_same_seed_gives_the_same_order() -> None:
    def order(seed: int) -> list[int]:
        clock = Clock()
        in_turns([clock.call(i, lambda: 1.0) for i in range(4)], clock, seed=seed)
        return clock.order

    assert order(3) == order(3)
    assert order(3) != order(4)


def test_warmup_is_run_and_not_counted() -> None:
    clock = Clock()
    slow_at_first = iter([9.0, 9.0, *[1e-3] * 30])
    call = clock.call(0, lambda: next(slow_at_first))
    samples = in_turns([call], clock, max_rounds=30, warmup=2, seconds=1e3)
    np.testing.assert_allclose(samples, 1.0)


def test_warmup_does_not_take_longer_than_what_it_is_for() -> None:
    clock = Clock()
    samples = in_turns([clock.call(0, lambda: 1.0)], clock, min_rounds=3, warmup=2, seconds=1.0)
    assert len(clock.order) == 1 + samples.shape[1] == 1 + 3


def test_few_rounds_are_not_taken_for_precise() -> None:
    """However alike three of them are, the fourth may be another."""
    clock = Clock()
    calls = [clock.call(i, lambda: 1.0) for i in range(2)]
    assert in_turns(calls, clock, min_rounds=1, seconds=1e9, precision=0.5).shape == (2, 9)


def test_the_budget_ends_it_but_not_before_min_rounds() -> None:
    def rounds(seconds: float) -> int:
        clock = Clock()
        call = clock.call(0, lambda: seconds)
        return in_turns([call], clock, seconds=1.0, min_rounds=5, max_rounds=50).shape[1]

    assert rounds(10.0) == 5
    assert rounds(0.0625) == 16
    assert rounds(1e-6) == 50


@pytest.mark.parametrize(("waiting", "rounds"), [(1.0, 16), (2.0, 16), (3.0, 16), (6.0, 8)])
def test_beside_others_as_many_rounds_are_timed_for_up_to_three_times_as_long(
    monkeypatch: pytest.MonkeyPatch, waiting: float, rounds: int
) -> None:
    """Time in which others had the core is not what timing may take, but it does end."""
    worked = Clock()
    monkeypatch.setattr("time.thread_time", worked)
    monkeypatch.setattr("time.perf_counter", lambda: 1e5 + waiting * worked.now)  # since the machine began
    call = worked.call(0, lambda: 0.0625)
    timed = time_in_turns([call], WorkOfThisThread(), seconds=1.0, min_rounds=5, max_rounds=50, warmup=0)
    assert timed.samples.shape[1] == rounds


def test_precision_stops_sooner_and_delivers() -> None:
    def measured(precision: float | None, spread: float = 0.1) -> np.ndarray:
        clock = Clock()
        calls = [clock.call(i, noisy(i, ms, spread)) for i, ms in enumerate((10, 7, 5))]
        return in_turns(calls, clock, seconds=1e9, precision=precision)

    assert measured(None).shape[1] == 2000
    assert measured(0.05, spread=1e-4).shape[1] == 9
    samples = measured(0.02)
    assert 9 < samples.shape[1] < 2000
    for other in samples[1:]:
        found = ratio(samples[0], other)
        assert found.high - found.low <= 2 * 0.02 * found.ratio
    assert measured(0.1).shape[1] < samples.shape[1]


def test_precision_means_nothing_for_one_call() -> None:
    clock = Clock()
    call = clock.call(0, lambda: 1e-3)
    assert in_turns([call], clock, max_rounds=40, precision=0.5).shape == (1, 40)


@pytest.mark.parametrize("was_on", [True, False])
def test_the_garbage_collector_is_off_meanwhile_and_left_as_it_was(was_on: bool) -> None:
    seen = []

    def call(_: int) -> None:
        seen.append(gc.isenabled())
        if len(seen) == 12:
            raise KeyError("the model failed")

    before = gc.isenabled()
    try:
        (gc.enable if was_on else gc.disable)()
        with pytest.raises(KeyError):
            time_in_turns([call], WallClock(), warmup=2)
        assert gc.isenabled() is was_on
    finally:
        (gc.enable if before else gc.disable)()
    assert not any(seen[2:])


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="min_rounds"):
        time_in_turns([], WallClock())
    with pytest.raises(ValueError, match="min_rounds"):
        time_in_turns([int], WallClock(), min_rounds=9, max_rounds=8)
    with pytest.raises(ValueError, match="pair"):
        ratio(np.ones(3), np.ones(4))


@pytest.mark.parametrize("planted", [1.3, 2.0, 0.5])
def test_a_planted_ratio_is_recovered(planted: float) -> None:
    rng = np.random.default_rng(1)
    drift = 1 + 0.5 * np.sin(np.linspace(0, 6, 300))  # a machine that slows down and recovers
    baseline = 10 * drift * rng.lognormal(0, 0.02, 300)
    candidate = 10 / planted * drift * rng.lognormal(0, 0.02, 300)
    found = ratio(baseline, candidate)
    assert found.low <= found.ratio <= found.high
    assert found.ratio == pytest.approx(planted, rel=0.03)
    assert found.low <= planted <= found.high
    assert found.measurable


def test_an_identical_pair_shows_no_change_about_19_times_in_20() -> None:
    rng = np.random.default_rng(2)
    pairs = rng.lognormal(0, 0.1, (200, 2, 50))
    claims = sum(ratio(a, b).measurable for a, b in pairs)
    assert claims <= 20  # 10 expected of 200


def test_the_very_same_samples_are_exactly_one() -> None:
    samples = np.random.default_rng(0).lognormal(size=30)
    assert ratio(samples, samples) == Ratio(ratio=1.0, low=1.0, high=1.0)
    assert ratio(samples, samples).verdict.text == "no measurable change (1.00–1.00)"


def test_exchanging_the_two_inverts_the_ratio() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.lognormal(0, 0.1, 100), 2 * rng.lognormal(0, 0.1, 100)
    there, back = ratio(a, b, seed=5), ratio(b, a, seed=5)
    assert there.ratio == pytest.approx(1 / back.ratio)
    assert there.low == pytest.approx(1 / back.high, rel=1e-3)


def test_more_rounds_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.lognormal(0, 0.1, (2, 1600))
    widths = [(r := ratio(a[:n], b[:n])).high - r.low for n in (25, 100, 400, 1600)]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (Ratio(ratio=1.84, low=1.81, high=1.88), "1.84× faster (95 % interval 1.81–1.88)"),
        (Ratio(ratio=0.5, low=0.4, high=0.8), "2.00× slower (95 % interval 1.25–2.50)"),
        (Ratio(ratio=1.01, low=0.98, high=1.03), "no measurable change (0.98–1.03)"),
        (Ratio(ratio=1.01, low=1.0, high=1.03), "no measurable change (1.00–1.03)"),
        (Ratio(ratio=1.004, low=1.002, high=1.006), "1.004× faster (95 % interval 1.002–1.006)"),
    ],
)
def test_verdicts(found: Ratio, verdict: str) -> None:
    assert found.verdict.text == verdict
    assert found.verdict.code in verdict or found.verdict.code == "unchanged"
    assert Ratio.model_validate_json(found.model_dump_json()) == found


def test_summary_is_median_and_quartiles() -> None:
    summary = summarise(np.array([5.0, 1.0, 2.0, 4.0, 3.0]))
    assert summary == Timing(median_ms=3.0, low_ms=2.0, high_ms=4.0, rounds=5)


def test_whoever_watches_is_told_how_far_it_is() -> None:
    """Rising from above 0 to 1, now and then, and by the slower of rounds and seconds."""
    clock = Clock()
    told: list[float] = []
    calls = [clock.call(0, lambda: 0.05)]
    in_turns(calls, clock, seconds=2.0, min_rounds=4, watch=told.append)
    assert told == sorted(told)
    assert 4 < len(told) < 12
    assert told[-1] == 1.0
    told.clear()
    in_turns([clock.call(0, lambda: 3.0)], clock, seconds=2.0, min_rounds=4, watch=told.append)
    assert told == [0.25, 0.5, 0.75, 1.0, 1.0]
