"""What fitting takes: memory, one pass over the data, and less effort where layers are wide."""

from __future__ import annotations

import numpy as np
import pytest

from sepfactor.errors import ModelError
from sepfactor.fit import layer_fit as engine
from sepfactor.fit.propagation import Propagation
from sepfactor.fit.sequential import affordable, fit
from sepfactor.measure import OnnxRuntime
from sepfactor.progress import silent
from sepfactor.resources import Resources
from sepfactor.threads import Threads
from tests.fit.small import ENGINE, built, feeds, fitted, off_by, opened, residual_network, tasks
from tests.graph.build import model

NETWORK = residual_network()
PLAN = dict.fromkeys(("a", "b", "c", "y"), ("spatial-vertical", (6,)))
SEEN, UNSEEN = feeds(12), feeds(6, seed=1)


class TestAffordable:
    STOPS = ("a", "b", "c", "y")

    def test_two_of_them_stay_within(self) -> None:
        prepared = opened(NETWORK)
        memory = 400_000
        most = affordable(prepared, self.STOPS, SEEN[0], ENGINE, memory)
        assert 2 < most < 100
        both = [Propagation(prepared, SEEN[:1] * most, ENGINE) for _ in range(2)]
        held = [sum(one.bytes for one in both)]
        for stop in self.STOPS:
            for behind, one in enumerate(both):
                one.advance(one.partition.position(stop) + behind)
            held.append(sum(one.bytes for one in both))
        assert max(held) <= memory
        assert max(held) > 0.6 * memory

    def test_more_memory_carries_more(self) -> None:
        prepared = opened(NETWORK)
        counts = [affordable(prepared, self.STOPS, SEEN[0], ENGINE, m) for m in (1, 10**6, 2 * 10**6)]
        assert counts[0] == 2
        assert counts[2] == pytest.approx(2 * counts[1], abs=1)


class TestPropagation:
    def test_of_many_images_on_several_threads_is_the_same(self) -> None:
        alone, abreast = (Propagation(opened(NETWORK), SEEN, OnnxRuntime(threads=n)) for n in (1, 3))
        for name in ("a", "c", "y"):
            for one in (alone, abreast):
                one.advance(one.partition.position(name) + 1)
            assert len(abreast) == len(SEEN)
            for i in range(len(SEEN)):
                assert np.array_equal(alone.value(i, name), abreast.value(i, name))

    @pytest.mark.parametrize(("threads", "cores", "wanted"), [(0, 3, 0), (1, 3, 1), (2, 1, 1), (2, 4, 1)])
    def test_what_a_session_takes_does_not_hang_on_the_cores(
        self, threads: int, cores: int, wanted: int
    ) -> None:
        resources = Resources(executor=Threads(cores))
        one = Propagation(opened(NETWORK), SEEN, OnnxRuntime(threads=threads), resources)
        assert one._engine.threads == wanted

    @pytest.mark.parametrize("cores", [1, 2, 3])
    def test_shares_images_out_among_cores_whatever_threads_are_asked_for(self, cores: int) -> None:
        alone = Propagation(opened(NETWORK), SEEN, ENGINE)
        abreast = Propagation(opened(NETWORK), SEEN, ENGINE, Resources(executor=Threads(cores)))
        for one in (alone, abreast):
            one.advance(one.partition.position("c") + 1)
        for i in range(len(SEEN)):
            assert np.array_equal(alone.value(i, "c"), abreast.value(i, "c"))

    def test_runs_one_after_the_other_what_draws_at_random(self) -> None:
        """A session draws on from one run to the next, so that their order counts."""
        proto = model(
            "r = RandomNormalLike <seed=3.0> (x)  y = Add (x, r)", "float[N,3,4,4] x", "float[N,3,4,4] y"
        )
        found = []
        for cores in (1, 3):
            one = Propagation(opened(proto), SEEN, ENGINE, Resources(executor=Threads(cores)))
            one.advance(1)
            found.append([one.value(i, "r") for i in range(len(SEEN))])
        np.testing.assert_array_equal(*found)

    @pytest.mark.parametrize("threads", [1, 2])
    def test_says_what_does_not_run(self, threads: int) -> None:
        data = [*SEEN, {"x": np.zeros((1, 5, 12, 12), np.float32)}]  # five channels instead of three
        one = Propagation(opened(NETWORK), data, OnnxRuntime(threads=threads))
        with pytest.raises(ModelError, match="cannot run"):
            one.advance(1)


def test_fits_have_the_same_bits_on_any_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sepfactor.factor.moment_sums._IN_BLOCKS_FROM", 30)
    prepared = opened(NETWORK)
    found = [
        fit(prepared, tasks(prepared, PLAN), SEEN, ENGINE, 0, silent, resources=Resources(executor=executor))
        for executor in (Threads(1), Threads(3))
    ]
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert other is not None
        assert (one.ridge, one.before, one.after) == (other.ridge, other.before, other.after)
        for stage, same in zip(one.factorization.stages, other.factorization.stages, strict=True):
            np.testing.assert_array_equal(stage.weight, same.weight)


def test_without_ridges_the_factors_of_the_bare_weights_stay() -> None:
    found = fitted(NETWORK, PLAN, SEEN, UNSEEN, ridges=(), correct_kept=False, relu_rounds=0)
    assert {one.ridge for one in found.values()} == {None}
    assert all(one.after == pytest.approx(one.before, rel=1e-4) for one in found.values())


class TestWideLayers:
    def test_alternating_with_the_chosen_ridge_alone_never_hurts_where_it_is_judged(self) -> None:
        plan = {"b": PLAN["b"]}
        none, late = (
            fitted(NETWORK, plan, SEEN, UNSEEN, relu_rounds=0, weigh_by_readers=False, **settings)["b"].after
            for settings in ({"sweeps": 0}, {"sweeps": 2, "sweeps_at_last": True})
        )
        assert late < none

    @pytest.mark.parametrize("tier", ["_BROAD", "_WIDE"])
    def test_choose_from_fewer_ridges_and_are_still_better_than_bare_weights(
        self, tier: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usual = fitted(NETWORK, PLAN, SEEN, UNSEEN)
        monkeypatch.setattr(engine, "_BROAD", 10)
        monkeypatch.setattr(engine, "_WIDE", 10 if tier == "_WIDE" else 10**6)
        found = fitted(NETWORK, PLAN, SEEN, UNSEEN)
        allowed = {"_BROAD": engine._BROAD_RIDGES, "_WIDE": engine._WIDE_RIDGES}[tier]
        assert {one.ridge for one in found.values()} <= {*allowed, None}
        assert all(one.after < one.before for one in found.values())
        assert off_by(built(NETWORK, found), NETWORK, UNSEEN) < 1.3 * off_by(
            built(NETWORK, usual), NETWORK, UNSEEN
        )
