"""Fitting in sequence: what it promises of the network it leaves behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sepfactor.factor import Chain, Factorization, select_schemes
from sepfactor.factor.statistics import on_grid
from sepfactor.fit import sequential as engine
from sepfactor.fit.layer_fit import Fit, FitTask
from sepfactor.fit.sequential import fit
from sepfactor.fit.settings import RIDGES
from sepfactor.graph.survey import survey
from tests.fit.small import (
    ENGINE,
    EVERYWHERE,
    built,
    feeds,
    fits,
    fitted,
    off_by,
    opened,
    outputs,
    residual_network,
    site_of,
    smooth,
    tasks,
    weights,
)
from tests.graph.build import model, normal

NETWORK = residual_network()
PLAN = dict.fromkeys(("a", "b", "c", "y"), ("spatial-vertical", (6,)))
SEEN, UNSEEN = feeds(12), feeds(6, seed=1)


def same(one: dict[str, Fit], other: dict[str, Fit]) -> bool:
    return list(one) == list(other) and all(
        np.array_equal(a.weight, b.weight)
        for name in one
        for a, b in zip(one[name].factorization.stages, other[name].factorization.stages, strict=True)
    )


def in_weight_space(proto: onnx.ModelProto, plan: Any) -> dict[str, Fit]:
    found = {}
    for site in survey(opened(proto)):
        if site.output in plan:
            assert site.stage is not None
            name, rank = plan[site.output]
            (scheme,) = select_schemes([name])
            factorization = Factorization(scheme.decompose(site.stage).build(rank), site.bias)
            found[site.output] = Fit(factorization, name, None, 0, 0)
    return found


class TestErrorOfTheNetwork:
    def test_sequential_beats_layer_by_layer_beats_the_bare_weights(self) -> None:
        """On images not fitted to, by a margin; what is lost early can be made up for later."""
        plan = {name: ("spatial-vertical", (r,)) for name, r in {"a": 3, "b": 8, "c": 12, "y": 12}.items()}
        ways = (
            in_weight_space(NETWORK, plan),
            fitted(NETWORK, plan, SEEN, sequential=False, residual=False),
            fitted(NETWORK, plan, SEEN),
        )
        bare, layered, sequential = (off_by(built(NETWORK, way), NETWORK, UNSEEN) for way in ways)
        assert sequential < 0.85 * layered
        assert layered < 0.6 * bare

    @pytest.mark.parametrize(
        "scheme", ["spatial-horizontal", "depthwise-pointwise", "channel-in", "tucker2", "asymmetric-3d"]
    )
    def test_every_form_beats_its_bare_weights(self, scheme: str) -> None:
        ranks = {"depthwise-pointwise": (2,), "tucker2": (5, 5), "asymmetric-3d": (6, 6)}
        plan = {name: (scheme, ranks.get(scheme, (6,))) for name in ("b", "c")}
        bare = off_by(built(NETWORK, in_weight_space(NETWORK, plan)), NETWORK, UNSEEN)
        assert off_by(built(NETWORK, fitted(NETWORK, plan, SEEN)), NETWORK, UNSEEN) < 0.6 * bare

    def test_full_rank_loses_nothing(self) -> None:
        plan = {
            "a": ("spatial-vertical", (9,)),
            "b": ("depthwise-pointwise", (9,)),
            "y": ("channel-out", (4,)),
        }
        found = fitted(NETWORK, plan, SEEN)
        assert set(found) == set(plan)
        assert off_by(built(NETWORK, found), NETWORK, UNSEEN) < 1e-3

    def test_lossless_rewrites_stay_as_they_are_and_change_nothing_else(self) -> None:
        prepared = opened(NETWORK)
        asked = tasks(prepared, {})
        stage = asked[1].site.stage
        assert stage is not None
        (scheme,) = select_schemes(["depthwise-pointwise"])
        exact = Factorization(scheme.decompose(stage).build((9,)), asked[1].site.bias)
        asked[1] = FitTask(asked[1].site, fixed=exact)
        found = fits(prepared, asked, SEEN)
        assert list(found) == ["b"]
        assert found["b"].factorization is exact
        assert found["b"].ridge is None
        assert found["b"].before == found["b"].after < 1e-4
        assert off_by(built(NETWORK, found), NETWORK, UNSEEN) < 1e-5

    def test_mean_of_the_output_is_exact_on_what_was_fitted(self) -> None:
        for plan in (PLAN, {"b": PLAN["b"]}):
            found = fitted(NETWORK, plan, SEEN, UNSEEN, entries=EVERYWHERE)
            assert "y" in found
            axes = (0, 2, 3)
            right, left = outputs(NETWORK, SEEN), outputs(built(NETWORK, found), SEEN)
            np.testing.assert_allclose(left.mean(axes), right.mean(axes), atol=1e-5 * right.std())

    def test_errors_are_those_of_the_network_on_the_held_out_part(self) -> None:
        """The last layer's output is the network's."""
        found = fitted(NETWORK, PLAN, SEEN, UNSEEN, entries=EVERYWHERE)
        assert found["y"].after == pytest.approx(off_by(built(NETWORK, found), NETWORK, UNSEEN), rel=1e-3)
        last = found | {
            "y": replace(
                found["y"], factorization=_with_best_bias(in_weight_space(NETWORK, PLAN)["y"], found)
            )
        }
        assert found["y"].before == pytest.approx(off_by(built(NETWORK, last), NETWORK, UNSEEN), rel=1e-3)
        for one in found.values():
            assert one.after < one.before
            assert one.ridge in RIDGES
            assert one.scheme == "spatial-vertical"


def _with_best_bias(bare: Fit, found: dict[str, Fit]) -> Factorization:
    """With the bias that makes the mean exact on what was fitted to, everything before as found."""
    right = outputs(NETWORK, SEEN).mean((0, 2, 3))
    left = outputs(built(NETWORK, found | {"y": bare}), SEEN).mean((0, 2, 3))
    assert bare.factorization.bias is not None
    return replace(bare.factorization, bias=bare.factorization.bias + right - left)


class TestHeldOut:
    def test_never_moves_the_fit(self) -> None:
        """With one ridge and no rounds to choose from, only whether to fit at all is left to them."""
        poisoned = [{"x": 1000 * feed["x"][..., ::-1]} for feed in UNSEEN]
        one, other = (
            fitted(NETWORK, PLAN, SEEN, held, ridges=(1e-3,), relu_rounds=0) for held in (UNSEEN, poisoned)
        )
        assert all(found.ridge == 1e-3 for found in (*one.values(), *other.values()))
        assert same(one, other)

    def test_never_moves_the_fit_where_it_is_set_aside_either(self) -> None:
        order = np.random.default_rng(5).permutation(len(SEEN))
        poisoned = list(SEEN)
        for i in order[: len(SEEN) // 4]:
            poisoned[i] = {"x": 100 * SEEN[i]["x"]}
        assert same(
            *(fitted(NETWORK, PLAN, data, seed=5, ridges=(1e-3,), relu_rounds=0) for data in (SEEN, poisoned))
        )

    def test_chooses_the_pull(self) -> None:
        """Where what is fitted to misleads, the harder ridge is taken; where it does not, the softer."""
        noise = [{"x": normal(1, 3, 12, 12, seed=i)} for i in range(2)]
        misled = fitted(NETWORK, {"b": PLAN["b"]}, noise, UNSEEN, entries=1e4, correct_kept=False)
        told = fitted(NETWORK, {"b": PLAN["b"]}, SEEN, UNSEEN, correct_kept=False)
        assert told["b"].ridge is not None
        assert misled["b"].ridge is None or misled["b"].ridge >= told["b"].ridge
        assert misled["b"].after >= told["b"].after

    def test_rejects_a_fit_that_does_not_help(self) -> None:
        """A ridge so hard, on so little, that it is no better than the bare weights with their best bias."""
        blind = [{"x": np.zeros((1, 3, 12, 12), np.float32)}]
        found = fitted(NETWORK, {"b": PLAN["b"]}, blind, UNSEEN, correct_kept=False)
        assert found["b"].after <= found["b"].before


class TestSeed:
    def test_the_same_gives_the_same(self) -> None:
        one, other = (fitted(NETWORK, PLAN, SEEN, seed=3, entries=2e4) for _ in range(2))
        assert same(one, other)
        for a, b in zip(one.values(), other.values(), strict=True):
            assert (a.before, a.after, a.ridge) == (b.before, b.after, b.ridge)

    def test_another_gives_another(self) -> None:
        assert not same(*(fitted(NETWORK, PLAN, SEEN, seed=seed, entries=2e4) for seed in (0, 1)))


class TestKeptLayers:
    def test_are_corrected_behind_a_replaced_one(self) -> None:
        plan = {"b": ("spatial-vertical", (3,))}
        corrected = fitted(NETWORK, plan, SEEN)
        left = fitted(NETWORK, plan, SEEN, correct_kept=False)
        assert list(left) == ["b"]
        assert list(corrected) == ["b", "c", "y"]
        for name in ("c", "y"):
            found = corrected[name]
            assert found.scheme == ""
            assert found.after < found.before
            assert len(found.factorization.stages) == 1
        errors = [off_by(built(NETWORK, one), NETWORK, UNSEEN) for one in (corrected, left)]
        assert errors[0] < 0.9 * errors[1]

    def test_are_left_where_nothing_was_replaced(self) -> None:
        assert fitted(NETWORK, {}, SEEN) == {}
        assert list(fitted(NETWORK, {"y": PLAN["y"]}, SEEN)) == ["y"]

    def test_are_left_where_it_would_not_help_on_what_is_held_out(self) -> None:
        """Everything there is to fit to is one blank image: what it teaches is worth nothing."""
        blind = [{"x": np.zeros((1, 3, 12, 12), np.float32)}]
        found = fitted(NETWORK, {"a": ("spatial-vertical", (8,))}, blind, UNSEEN)
        for name, one in found.items():
            assert name == "a" or one.after < one.before

    def test_are_left_on_another_branch(self) -> None:
        """It comes later in the graph, but what it reads is what it was."""
        proto = model(
            """
            a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
            b = Conv <pads = [1, 1, 1, 1]> (x, w2, b2)
            y = Concat <axis = 1> (a, b)
            """,
            "float[N, 3, H, W] x",
            "float[N, 24, H, W] y",
            **weights(w1=(12, 3, 3, 3), w2=(12, 3, 3, 3)),
        )
        assert list(fitted(proto, {"a": ("spatial-vertical", (2,))}, SEEN)) == ["a"]

    def test_that_are_not_wished_for_are_not_touched(self) -> None:
        prepared = opened(NETWORK)
        plan = {"a": ("spatial-vertical", (3,))}
        asked = [task for task in tasks(prepared, plan) if task.site.output in ("a", "y")]
        found = fits(prepared, asked, SEEN)
        assert set(found) == {"a", "y"}
        after = built(NETWORK, found)
        for name in ("w2", "b2", "w3", "b3"):
            tensor = after.graph.initializers[name].const_value
            before = prepared.graph.initializers[name].const_value
            assert tensor is not None
            assert before is not None
            assert tensor.tobytes() == before.tobytes()


class TestResidual:
    def test_aims_at_the_sum(self) -> None:
        """The shortcut is off, and ``c`` makes up for it: the sum is nearer to what it was."""
        plan = {"a": ("spatial-vertical", (3,)), "c": ("spatial-vertical", (14,))}
        proto = onnx.ModelProto()
        proto.CopyFrom(NETWORK)
        del proto.graph.node[6:]  # up to the sum
        proto.graph.output[0].CopyFrom(onnx.ValueInfoProto(name="d"))
        errors = [
            off_by(built(proto, fitted(proto, plan, SEEN, residual=aim, correct_kept=False)), proto, UNSEEN)
            for aim in (True, False)
        ]
        assert errors[0] < 0.95 * errors[1]

    def test_does_not_matter_where_the_shortcut_is_as_it_was(self) -> None:
        plan = {"b": PLAN["b"], "c": PLAN["c"]}
        assert same(*(fitted(NETWORK, plan, SEEN, residual=aim, correct_kept=False) for aim in (True, False)))

    def test_a_sum_wider_than_the_summand(self) -> None:
        """``c`` is one pixel that is added everywhere: there is no shortfall of its own shape."""
        proto = model(
            """
            a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
            p = GlobalAveragePool (a)
            c = Conv (p, w2, b2)
            y = Add (c, a)
            """,
            "float[N, 3, H, W] x",
            "float[N, 12, H, W] y",
            **weights(w1=(12, 3, 3, 3), w2=(12, 12, 1, 1)),
        )
        found = fitted(proto, {"a": ("spatial-vertical", (2,)), "c": ("channel-out", (4,))}, SEEN)
        assert np.isfinite(off_by(built(proto, found), proto, UNSEEN))


SITES = {
    "strided": ("<strides = [2, 2], pads = [1, 1, 1, 1]>", (12, 12, 3, 3), "spatial-vertical", (6,)),
    "lopsided": ("<pads = [0, 2, 1, 0]>", (12, 12, 3, 3), "spatial-horizontal", (6,)),
    "dilated": ("<dilations = [2, 1], pads = [2, 1, 2, 1]>", (12, 12, 3, 3), "tucker2", (5, 5)),
    "grouped": ("<group = 3, pads = [1, 1, 1, 1]>", (12, 4, 3, 3), "spatial-vertical", (3,)),
    "depthwise": ("<group = 12, pads = [1, 1, 1, 1]>", (12, 1, 3, 3), "separable-depthwise", (1,)),
    "multiplier": ("<group = 12, pads = [1, 1, 1, 1]>", (24, 1, 3, 3), "spatial-vertical", (1,)),
    "pointwise": ("", (16, 12, 1, 1), "channel-out", (4,)),
}


@pytest.mark.parametrize("kind", SITES)
def test_sites_of_every_kind(kind: str) -> None:
    attributes, shape, scheme, rank = SITES[kind]
    proto = model(
        f"a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)  r = Relu (a)  y = Conv {attributes} (r, w2, b2)",
        "float[N, 3, H, W] x",
        "float[N, C, H2, W2] y",
        **weights(w1=(12, 3, 3, 3), w2=shape),
    )
    plan = {"a": ("spatial-vertical", (4,)), "y": (scheme, rank)}
    found = fitted(proto, plan, SEEN, UNSEEN, entries=EVERYWHERE)
    bare = off_by(built(proto, in_weight_space(proto, plan)), proto, UNSEEN)
    error = off_by(built(proto, found), proto, UNSEEN)
    assert error < 0.7 * bare
    assert found["y"].after == pytest.approx(error, rel=1e-3)


def test_in_half_precision() -> None:
    values = {k: v.astype(np.float16) for k, v in weights(w1=(12, 3, 3, 3), w2=(4, 12, 3, 3)).items()}
    proto = model(
        "a = Conv (x, w1, b1)  r = Relu (a)  y = Conv (r, w2, b2)",
        "float16[N, 3, H, W] x",
        "float16[N, 4, H2, W2] y",
        **values,
    )
    seen, unseen = ([{"x": f["x"].astype(np.float16)} for f in data] for data in (SEEN, UNSEEN))
    plan = {"a": ("spatial-vertical", (4,)), "y": ("spatial-vertical", (4,))}
    found = fitted(proto, plan, seen)
    bare = off_by(built(proto, in_weight_space(proto, plan)), proto, unseen)
    after = built(proto, found)
    assert off_by(after, proto, unseen) < 0.6 * bare
    tensors = [v.const_value for v in after.graph.initializers.values()]
    assert {t.dtype for t in tensors if t is not None} == {ir.DataType.FLOAT16}


def test_several_inputs() -> None:
    proto = model(
        "a = Conv (x, w1, b1)  g = Mul (a, gain)  b = Conv (z, w1, b1)  s = Add (g, b)  y = Conv (s, w2, b2)",
        "float[N, 3, H, W] x, float[N, 3, H, W] z, float[1] gain",
        "float[N, 4, H2, W2] y",
        **weights(w1=(12, 3, 3, 3), w2=(4, 12, 3, 3)),
    )
    data, unseen = (
        [
            {"x": x[None], "z": z[None], "gain": np.float32([2 + i % 3])}
            for i, (x, z) in enumerate(zip(smooth(n, seed=seed), smooth(n, seed=seed + 9), strict=True))
        ]
        for n, seed in ((12, 0), (6, 1))
    )
    plan = dict.fromkeys(("a", "b", "y"), ("spatial-vertical", (5,)))
    bare = off_by(built(proto, in_weight_space(proto, plan)), proto, unseen)
    assert off_by(built(proto, fitted(proto, plan, data)), proto, unseen) < 0.5 * bare


class TestSamples:
    def test_one_is_enough_to_run(self) -> None:
        found = fitted(NETWORK, PLAN, SEEN[:1])
        assert set(found) == set(PLAN)
        for one in found.values():
            assert all(np.isfinite(stage.weight).all() for stage in one.factorization.stages)
            assert one.after <= one.before
        assert off_by(built(NETWORK, found), NETWORK, SEEN[:1]) < 0.3

    def test_two_are_one_to_fit_and_one_to_judge(self) -> None:
        assert set(fitted(NETWORK, PLAN, SEEN[:2])) == set(PLAN)

    def test_in_batches_are_the_same_as_one_by_one(self) -> None:
        batches = [{"x": np.concatenate([f["x"] for f in SEEN[i : i + 3]])} for i in range(0, 12, 3)]
        one, other = (
            fitted(NETWORK, {"b": PLAN["b"]}, data, UNSEEN, entries=EVERYWHERE, correct_kept=False)["b"]
            for data in (SEEN, batches)
        )
        stage = site_of(opened(NETWORK), "b").stage
        assert stage is not None
        np.testing.assert_allclose(
            on_grid(stage, one.factorization), on_grid(stage, other.factorization), atol=1e-4
        )

    @pytest.mark.parametrize("batch", [1, 4])
    def test_no_more_is_read_than_asked_for(self, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
        counts = []
        original = engine.fit_layer

        def spy(task: FitTask, seen: Any, held: Any, *others: Any) -> Any:
            counts.append((seen.moments().count + held.moments().count) * task.site.stage.weight[0].size)
            return original(task, seen, held, *others)

        monkeypatch.setattr(engine, "fit_layer", spy)
        data = [{"x": smooth(batch, seed=i)} for i in range(4)]
        fitted(NETWORK, PLAN, data, entries=2e4)
        assert len(counts) == 4
        assert all(5e3 < count <= 2e4 for count in counts)

    def test_of_different_sizes(self) -> None:
        data = [{"x": smooth(1, size=size, seed=size)} for size in (8, 9, 13, 16, 20)]
        assert off_by(built(NETWORK, fitted(NETWORK, PLAN, data)), NETWORK, UNSEEN) < 0.4

    def test_values_that_are_not_finite_are_left_out(self) -> None:
        proto = model(
            "l = Log (x)  a = Conv (l, w1, b1)  r = Relu (a)  y = Conv (r, w2, b2)",
            "float[N, 3, H, W] x",
            "float[N, 4, H2, W2] y",
            **weights(w1=(12, 3, 3, 3), w2=(4, 12, 3, 3)),
        )
        data = [{"x": np.abs(feed["x"]) + np.float32(0.1)} for feed in SEEN]
        data[0]["x"][0, 0, 3, 3] = 0  # whose logarithm is -inf
        data[1]["x"][0, 0, 3, 3] = -1  # and this one's is NaN
        found = fitted(proto, {"a": ("spatial-vertical", (5,)), "y": ("spatial-vertical", (5,))}, data)
        assert set(found) == {"a", "y"}
        for one in found.values():
            assert all(np.isfinite(stage.weight).all() for stage in one.factorization.stages)
            assert np.isfinite(one.factorization.bias).all()
            assert 0 < one.after < one.before


def test_progress_names_the_layers() -> None:
    told: list[tuple[Any, ...]] = []
    prepared = opened(NETWORK)
    fit(prepared, tasks(prepared, PLAN), SEEN[:3], ENGINE, 0, lambda *said: told.append(said))
    names = [site.name for site in survey(prepared)]
    assert told == [*(("fit", i, 4, name) for i, name in enumerate(names)), ("fit", 4, 4, "")]


def test_factors_beyond_the_range_of_the_weights_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs of nearly nothing ask for factors of nearly infinity."""
    usual = engine.fit_layer

    def huge(*given: Any) -> Fit | None:
        found = usual(*given)
        if found is None:
            return None
        chains = tuple(
            Chain((replace(chain.stages[0], weight=1e39 * chain.stages[0].weight), *chain.stages[1:]))
            for chain in found.factorization.chains
        )
        return replace(found, factorization=Factorization(chains, found.factorization.bias))

    assert fitted(NETWORK, PLAN, SEEN)
    monkeypatch.setattr(engine, "fit_layer", huge)
    assert fitted(NETWORK, PLAN, SEEN) == {}
