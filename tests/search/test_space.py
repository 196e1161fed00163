"""Times and losses learned from what was built go into what is expected of everything else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sepfactor.factor import Factorization, Stage
from sepfactor.fit.evidence import Evidence, observe
from sepfactor.graph.load import load
from sepfactor.graph.survey import Site
from sepfactor.options import make_options
from sepfactor.plans.losses import LossCurve
from sepfactor.progress import silent
from sepfactor.search import gathering
from sepfactor.search.candidate import Factorized
from sepfactor.search.gathering import NetworkTimes, gather_space, network_times
from sepfactor.search.layer_timing import LayerTime, LayerTimer
from sepfactor.search.settings import DEFAULT
from sepfactor.search.space import LayerChoices, Losses, SearchSpace
from sepfactor.search.stored import StoredFactorization
from sepfactor.study.study import Study, open_study
from tests.graph.build import normal
from tests.graph.nested import NESTED
from tests.strategies import unpadded
from tests.timing import DecidedCache


def candidate(scheme: str, error: float, macs: int) -> Factorized:
    stage: Stage = unpadded(np.ones((1, 1, 1, 1)))
    return Factorized(
        scheme=scheme,
        form="",
        rank=(1,),
        stored=StoredFactorization(Factorization.of(stage)),
        macs=macs,
        weight_error=error,
        output_error=error,
        weighted_error=error,
        exact=False,
    )


def layer(name: str, ms: float = 1.0, *, is_followed: bool = True) -> LayerChoices:
    """A layer of so many milliseconds, with a candidate twice as fast and one four times."""
    return LayerChoices(
        Evidence(Site(name, "x", name, (1, 1, 1, 1))),
        (candidate("spatial-vertical", 0.1, 50), candidate("hybrid", 0.4, 25)),
        (LayerTime(1.0, 0.5, 2.0, 1.9, 2.1), LayerTime(1.0, 0.25, 4.0, 3.9, 4.1)),
        seen={0: (ms,)},
        losses=Losses(LossCurve.through([(0.1, 0.01), (0.4, 0.16)])),
        is_followed=is_followed,
    )


def space() -> SearchSpace:
    layers = (layer("a"), layer("b", 2.0), layer("c", is_followed=False))
    return SearchSpace(layers, 6.0, 5.0, (1.0,))


def test_what_is_expected_adds_up() -> None:
    found = space()
    assert found.milliseconds((0, 0, 0)) == pytest.approx(5.0)
    assert found.milliseconds((1, 2, 0)) == pytest.approx(1.0 + 0.5 + 0.5 + 1.0)
    assert found.loss((1, 2, 0)) == pytest.approx(0.17)
    assert found.cost((1, 2, 0)).macs == 50 + 25
    assert found.original.ms == 6.0


def test_a_plan_that_was_built_is_expected_to_take_what_it_took() -> None:
    found = space().learn((1, 0, 0), (0.8, 2.0, 1.0), 4.8)
    assert found.milliseconds((1, 0, 0)) == pytest.approx(4.8)


def test_the_same_scheme_is_expected_to_be_as_slow_elsewhere() -> None:
    found = space().learn((1, 0, 0), (1.0, 2.0, 1.0), 5.0)  # twice what was expected
    assert found.layers[1].milliseconds(1) == pytest.approx(2.0)
    assert found.layers[1].milliseconds(2) == pytest.approx(1.0)  # another scheme, by what is usual
    assert found.layers[1].milliseconds(0) == pytest.approx(2.0)


def test_a_single_odd_measurement_is_outvoted() -> None:
    found = space()
    for ms in (0.5, 0.5, 2.0):
        found = found.learn((1, 0, 0), (ms, 2.0, 1.0), 4.0 + ms)
    assert found.layers[0].milliseconds(1) == pytest.approx(0.5)


def test_what_those_behind_make_up_for_is_learned() -> None:
    built = [((2, 2, 2), 0.2 * 0.32 + 0.16), ((2, 2, 0), 0.2 * 0.32), ((0, 0, 2), 0.16)]
    found = space().learn_shares(built * 10)
    assert found.layers[0].share == pytest.approx(0.2, rel=0.05)
    assert found.layers[2].share == pytest.approx(1.0, rel=0.05)  # nobody makes up for the last
    assert found.loss((2, 2, 2)) == pytest.approx(0.224, rel=0.05)


@pytest.mark.parametrize("trust", [0.0, 0.5, 1.0])
def test_less_trust_weighs_layers_more_alike(trust: float) -> None:
    losses = layer("a").columns(trust=trust).quantities["loss"]
    assert losses[0] == 0
    assert losses[1] == pytest.approx(0.01**trust * 0.01 ** (1 - trust))
    assert losses[1] < losses[2]


def test_what_is_slower_is_not_taken_where_it_may_not_be() -> None:
    slow = LayerTime(1.0, 1.25, 0.8, 0.7, 0.9)
    own = replace(layer("a"), times=(slow, LayerTime(1.0, 0.25, 4.0, 3.9, 4.1)))
    assert np.isfinite(own.columns().quantities["loss"]).all()
    assert np.isinf(own.columns(slower=False).quantities["loss"]).tolist() == [False, True, False]


def test_nor_what_turned_out_slower_in_the_network() -> None:
    """Alone a candidate runs from a warm cache: what was built tells."""
    found = space().learn((1, 0, 0), (1.5 * space().layers[0].ms, 2.0, 1.0), 10.0).layers[0]
    assert np.isfinite(space().layers[0].columns(slower=False).quantities["loss"]).all()
    assert np.isinf(found.columns(slower=False).quantities["loss"][1])
    assert np.isfinite(found.columns().quantities["loss"]).all()


def study_of(name: str, *taken: bool) -> Study:
    """On so many images, of which some take the branch."""
    data = [{"x": normal(1, 3, 6, 5, seed=n), "q": np.array(q)} for n, q in enumerate(taken)]
    return open_study(load(NESTED[name].proto), make_options({"data": data, "scheme": "channel-out"}), silent)


def test_a_branch_that_is_not_taken_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of("then", *[True, False] * 8)
    times = tuple(3.0 if site.output == "y" else None for site in study.sites)
    monkeypatch.setattr(gathering, "network_times", lambda *_: NetworkTimes(times, 6.0, 6.0))
    found = gather_space(
        study, observe(study), DEFAULT, LayerTimer.of(study, cache=DecidedCache(lambda *_: 2.0))
    )
    ms = {layer.evidence.site.output: layer.ms for layer in found.layers}
    assert ms == {"a": 1.0, "c": 0.0, "y": 3.0}  # the first is too short to be seen, and goes by itself alone
    assert found.fixed_ms == pytest.approx(2.0)
    (branch,) = (layer for layer in found.layers if layer.evidence.site.nested)
    assert not branch.columns().quantities["time"].any()
    options = tuple(1 for _ in found.layers)
    found = found.learn(options, [{"a": 0.5, "y": 1.5}.get(site.output) for site in study.sites], 4.0)
    assert found.milliseconds(options) == pytest.approx(4.0)


@pytest.mark.parametrize("name", ["then", "if in a loop"])
@pytest.mark.parametrize("taken", [True, False])
def test_only_what_ran_has_a_time(name: str, taken: bool) -> None:
    study = study_of(name, *[taken] * 8)
    times = network_times(study, DEFAULT)
    by_output = dict(zip([site.output for site in study.sites], times.layers, strict=True))
    assert (by_output["c"] is not None) == taken
    assert sum(ms or 0.0 for ms in times.layers) <= times.prepared_ms * (1 + 1e-9)
