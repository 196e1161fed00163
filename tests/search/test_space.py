"""Times and losses learned from what was built go into what is expected of everything else."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sepfactor.factor import Factorization, Stage
from sepfactor.graph.load import load
from sepfactor.graph.survey import Site
from sepfactor.measure.timing import Ratio
from sepfactor.options import make_options
from sepfactor.plans.losses import LossCurve
from sepfactor.progress import silent
from sepfactor.search import planner as search
from sepfactor.search import space as menus
from sepfactor.search.layer_timing import LayerTime, Stopwatch
from sepfactor.search.space import Losses, Menu, NetworkTimes, Row, gather_menu, network_times
from sepfactor.search.subject import Candidate
from sepfactor.study.profiling import LayerTimes
from sepfactor.study.study import Job, open_job
from tests.graph.build import normal
from tests.graph.nested import NESTED
from tests.strategies import unpadded
from tests.timing import times_of


def candidate(scheme: str, error: float, macs: int) -> Candidate:
    stage: Stage = unpadded(np.ones((1, 1, 1, 1)))
    return Candidate(scheme, "", (1,), Factorization.of(stage), macs, error, error, error, False)


def row(name: str, ms: float = 1.0, *, is_followed: bool = True) -> Row:
    """A layer of so many milliseconds, with a candidate twice as fast and one four times."""
    return Row(
        Site(name, "x", name, (1, 1, 1, 1)),
        (candidate("spatial-vertical", 0.1, 50), candidate("hybrid", 0.4, 25)),
        (LayerTime(1.0, 0.5, 2.0, 1.9, 2.1), LayerTime(1.0, 0.25, 4.0, 3.9, 4.1)),
        {0: (ms,)},
        100,
        10,
        Losses(LossCurve.through([(0.1, 0.01), (0.4, 0.16)])),
        is_followed,
    )


def menu() -> Menu:
    return Menu((row("a"), row("b", 2.0), row("c", is_followed=False)), {}, 6.0, 5.0, (1.0,))


def test_what_is_expected_adds_up() -> None:
    found = menu()
    assert found.milliseconds((0, 0, 0)) == pytest.approx(5.0)
    assert found.milliseconds((1, 2, 0)) == pytest.approx(1.0 + 0.5 + 0.5 + 1.0)
    assert found.speedup((1, 2, 0)) == pytest.approx(2.0)
    assert found.loss((1, 2, 0)) == pytest.approx(0.17)


def test_a_plan_that_was_built_is_expected_to_take_what_it_took() -> None:
    found = menu().learn((1, 0, 0), {"a": 0.8, "b": 2.0, "c": 1.0}, 4.8)
    assert found.milliseconds((1, 0, 0)) == pytest.approx(4.8)


def test_the_same_scheme_is_expected_to_be_as_slow_elsewhere() -> None:
    found = menu().learn((1, 0, 0), {"a": 1.0, "b": 2.0, "c": 1.0}, 5.0)  # twice what was expected
    assert found.rows[1].milliseconds(1) == pytest.approx(2.0)
    assert found.rows[1].milliseconds(2) == pytest.approx(1.0)  # another scheme, by what is usual
    assert found.rows[1].milliseconds(0) == pytest.approx(2.0)


def test_a_single_odd_measurement_is_outvoted() -> None:
    found = menu()
    for ms in (0.5, 0.5, 2.0):
        found = found.learn((1, 0, 0), {"a": ms, "b": 2.0, "c": 1.0}, 4.0 + ms)
    assert found.rows[0].milliseconds(1) == pytest.approx(0.5)


def test_what_those_behind_make_up_for_is_learned() -> None:
    built = [((2, 2, 2), 0.2 * 0.32 + 0.16), ((2, 2, 0), 0.2 * 0.32), ((0, 0, 2), 0.16)]
    found = menu().learn_shares(built * 10)
    assert found.rows[0].share == pytest.approx(0.2, rel=0.05)
    assert found.rows[2].share == pytest.approx(1.0, rel=0.05)  # nobody makes up for the last
    assert found.loss((2, 2, 2)) == pytest.approx(0.224, rel=0.05)


@pytest.mark.parametrize("trust", [0.0, 0.5, 1.0])
def test_less_trust_weighs_layers_more_alike(trust: float) -> None:
    losses = row("a").columns(trust).quantities["loss"]
    assert losses[0] == 0
    assert losses[1] == pytest.approx(0.01**trust * 0.01 ** (1 - trust))
    assert losses[1] < losses[2]


def job_of(name: str, *taken: bool) -> Job:
    """On so many images, of which some take the branch."""
    data = [{"x": normal(1, 3, 6, 5, seed=n), "q": np.array(q)} for n, q in enumerate(taken)]
    return open_job(load(NESTED[name].proto), make_options({"data": data, "scheme": "channel-out"}), silent)


def test_a_branch_that_is_not_taken_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of("then", *[True, False] * 8)
    monkeypatch.setattr(Stopwatch, "times", times_of(2.0))
    monkeypatch.setattr(menus, "network_times", lambda _: NetworkTimes({"y": 3.0}, 6.0, 6.0))
    found = gather_menu(job, Stopwatch(job.runtime, 0, job.timing_cache))
    ms = {row.site.output: row.ms for row in found.rows}
    assert ms == {"a": 1.0, "c": 0.0, "y": 3.0}  # the first is too short to be seen, and goes by itself alone
    assert found.fixed_ms == pytest.approx(2.0)
    (branch,) = (row for row in found.rows if row.site.nested)
    assert not branch.columns().quantities["time"].any()
    options = tuple(1 for _ in found.rows)
    found = found.learn(options, {"a": 0.5, "y": 1.5}, 4.0)
    assert found.milliseconds(options) == pytest.approx(4.0)
    assert np.isfinite(found.speedup(options))


@pytest.mark.parametrize("name", ["then", "if in a loop"])
@pytest.mark.parametrize("taken", [True, False])
def test_only_what_ran_has_a_time(name: str, taken: bool) -> None:
    times = network_times(job_of(name, *[taken] * 8))
    assert ("c" in times.layers) == taken
    assert sum(times.layers.values()) <= times.prepared_ms * (1 + 1e-9)


@pytest.mark.parametrize(("low", "high", "learns"), [(1.45, 1.55, True), (1.0, 1.5, False)])
def test_a_timing_of_a_busy_machine_teaches_nothing(
    low: float, high: float, learns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(
        search, "profile_layers", lambda *given, **_: asked.append(given) or LayerTimes({}, {}, {})
    )
    monkeypatch.setattr(search, "times_after", lambda *_: {})
    menu = SimpleNamespace(original_ms=1.0, learn=lambda *_: "learned")
    rebuilt = SimpleNamespace(model=None, site_of={})
    job = SimpleNamespace(data=SimpleNamespace(judged_on=[{}]), runtime=None, profile_runs=lambda *_: 2)
    point = SimpleNamespace(options=(), speed=Ratio(1.5, low, high), built=SimpleNamespace(rebuilt=rebuilt))
    planner = search.Planner(job, menu, judge=None)  # type: ignore[arg-type]
    planner._learn(point)  # type: ignore[arg-type]
    assert (planner.menu == "learned") == learns == bool(asked)
