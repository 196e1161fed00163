"""Fitting to what a ReLU lets through: never worse behind it, and better where it can be."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sepfactor.codes import Reason
from sepfactor.data.patches import usable
from sepfactor.factor import Factorization, Stage, select_schemes
from sepfactor.factor.moments import Moments
from sepfactor.factor.refit import refit
from sepfactor.fit.evidence import observe
from sepfactor.fit.propagation import Propagation
from sepfactor.fit.relu import error_behind_relu, refit_behind_relu
from sepfactor.fit.samples import Rows
from sepfactor.fit.sampling import read_rows
from sepfactor.fit.settings import fit_method
from sepfactor.graph.load import load
from sepfactor.options import Options
from sepfactor.progress import silent
from sepfactor.search.proposals import dense_layer
from sepfactor.search.ranks import RankSearch
from sepfactor.study.study import open_study
from tests.fit.small import (
    ENGINE,
    EVERYWHERE,
    built,
    feeds,
    fitted,
    off_by,
    opened,
    outputs,
    site_of,
    weights,
)
from tests.graph.build import model, normal
from tests.strategies import seeds


def centred(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Around zero, so that a ReLU cuts off about half."""
    return [{"x": feed["x"] - feed["x"].mean((2, 3), keepdims=True)} for feed in feeds(count, seed=seed)]


SEEN = centred(12)
INS, OUTS, COUNT = 6, 12, 900
SAME = "<pads = [1, 1, 1, 1]>"


def again(start: Factorization, moments: Moments) -> Factorization:
    return refit(_stage(start), start, moments, sweeps=1)


def _stage(start: Factorization) -> Stage:
    """A dense convolution in the shape of what stands for it."""
    return start.dense()


def low_rank(seed: int, group: int) -> Factorization:
    weight = np.random.default_rng(seed).standard_normal((OUTS, INS // group, 3, 3))
    stage = Stage(weight, (1, 1), ((1, 1), (1, 1)), (1, 1), group)
    (scheme,) = select_schemes(["spatial-vertical"])
    return Factorization(scheme.decompose(stage).build((3,)), np.zeros(OUTS))


def planted(seed: int, group: int, summed: bool, wild: float) -> tuple[Rows, Rows]:
    """Answers of low rank where they are positive; negatives are ``wild`` times too large, at random."""
    rng = np.random.default_rng((seed, 1))
    truth = low_rank(seed, group)
    parts = []
    for _ in range(2):
        x = rng.standard_normal((COUNT, INS, 3, 3)).astype(np.float32)
        plain = Rows(truth.dense(), keep=True)
        plain.add(x, np.zeros((COUNT, OUTS), np.float32), None)
        ((_, answers),) = plain.answered(truth)
        beside = rng.standard_normal(answers.shape).astype(np.float32) if summed else None
        whole = answers if beside is None else answers + beside
        whole = np.where(whole < 0, whole * (1 + wild * rng.random(whole.shape)), whole).astype(np.float32)
        rows = Rows(truth.dense(), keep=True)
        rows.add(x, whole if beside is None else whole - beside, beside)
        parts.append(rows)
    return parts[0], parts[1]


def usual(rows: Rows, seed: int, group: int) -> tuple[Factorization, Moments]:
    moments = rows.moments()
    start = low_rank(seed + 1, group)
    return refit(_stage(start), start, moments, sweeps=6), moments


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("group", [1, 3])
@given(seed=seeds)
@settings(max_examples=5)
def test_what_hides_in_the_negatives_is_found(group: int, summed: bool, seed: int) -> None:
    parts = planted(seed, group, summed, wild=6)
    start, moments = usual(parts[0], seed, group)
    found = refit_behind_relu(start, parts, moments, rounds=4, again=again)
    assert error_behind_relu(found, parts[1]) < 0.95 * error_behind_relu(start, parts[1])


@given(seed=seeds, rounds=st.integers(0, 3), wild=st.sampled_from([-1.0, 0.0, 2.0]))
@settings(max_examples=15)
def test_never_worse_on_what_is_held_out(seed: int, rounds: int, wild: float) -> None:
    """Also where both parts have nothing to do with each other, and from any start."""
    seen, held = planted(seed, 1, False, wild)[0], planted(seed + 5, 1, False, wild)[1]
    start = low_rank(seed, 1)
    found = refit_behind_relu(start, (seen, held), seen.moments(), rounds=rounds, again=again)
    assert error_behind_relu(found, held) <= error_behind_relu(start, held)
    if rounds == 0:
        assert found is start


def test_without_variance_behind_the_relu_nothing_changes() -> None:
    start = low_rank(0, 1)
    rows = Rows(start.dense(), keep=True)
    x = normal(20, INS, 3, 3).astype(np.float32)
    rows.add(x, np.full((20, OUTS), -1, np.float32), None)
    assert error_behind_relu(start, rows) == 0
    assert refit_behind_relu(start, (rows, rows), rows.moments(), rounds=2, again=again) is start


class TestRows:
    def test_that_are_not_finite_are_left_out(self) -> None:
        stage = low_rank(0, 1).dense()
        x, y, beside = (np.ones(shape, np.float32) for shape in ((6, INS, 3, 3), (6, OUTS), (6, OUTS)))
        x[0, 0, 0, 0], y[1, 0], beside[2, 0] = np.nan, np.inf, -np.inf
        rows = Rows(stage, keep=True)
        rows.add(x, y, beside)
        assert rows.moments().count == 3
        ((block, answers),) = rows.answered(low_rank(0, 1))
        assert len(block.x) == len(block.y) == len(answers) == 3
        assert usable(block.x, block.y, answers)[0] is block.x

    @pytest.mark.parametrize("outs", [4, 60])
    def test_hold_no_more_than_twice_the_entries(self, outs: int) -> None:
        proto = model(
            f"p = Conv {SAME} (x, w1, b1)  a = Conv {SAME} (x, w2, b2)  s = Add (a, p)  y = Relu (s)",
            "float[N, 3, H, W] x",
            "float[N, C, H, W] y",
            **weights(w1=(outs, 3, 3, 3), w2=(outs, 3, 3, 3)),
        )
        prepared, entries = opened(proto), 3e4
        walks = Propagation(prepared, SEEN, ENGINE), Propagation(prepared, SEEN, ENGINE)
        at = walks[0].partition.position("a")
        walks[0].advance(at + 1)
        walks[1].advance(at)
        parts = read_rows(
            site_of(prepared, "a"), *walks, {0, 1}, 0, entries=entries, residual=True, rectified=True
        )
        held = 0
        for rows in parts:
            assert rows.kept
            for block in rows._blocks():
                assert block.beside is not None
                held += block.x.size + block.y.size + block.beside.size
        assert 0.4 * entries < held <= 2 * entries


def behind(body: str, **shapes: tuple[int, ...]) -> Any:
    return model(body, "float[N, 3, H, W] x", "float[N, C, H, W] y", **weights(**shapes))


NETWORKS = {
    "relu": (f"a = Conv {SAME} (x, w1, b1)  y = Relu (a)", "spatial-vertical", (1,)),
    "clip": (f"a = Conv {SAME} (x, w1, b1)  y = Clip (a, zero)", "spatial-vertical", (1,)),
    "sum": (
        f"p = Conv {SAME} (x, w2, b2)  a = Conv {SAME} (x, w1, b1)  s = Add (p, a)  y = Relu (s)",
        "spatial-vertical",
        (1,),
    ),
    "grouped": (
        f"p = Conv {SAME} (x, w2, b2)  a = Conv <group = 3, pads = [1, 1, 1, 1]> (p, w3, b1)  y = Relu (a)",
        "spatial-vertical",
        (1,),
    ),
}


@pytest.mark.parametrize("kind", NETWORKS)
class TestNetwork:
    def of(self, kind: str) -> tuple[Any, dict[str, Any]]:
        body, scheme, rank = NETWORKS[kind]
        values = weights(w1=(12, 3, 3, 3), w2=(12, 3, 3, 3), w3=(12, 4, 3, 3))
        values["zero"] = np.float32(0)
        used = {name: value for name, value in values.items() if name in body}
        proto = model(body, "float[N, 3, H, W] x", "float[N, 12, H, W] y", **used)
        return proto, {"a": (scheme, rank)}

    @pytest.mark.parametrize("seed", [0, 2, 4])
    def test_is_nearer_behind_the_relu(self, kind: str, seed: int) -> None:
        proto, plan = self.of(kind)
        seen, unseen = centred(12, seed=seed), centred(6, seed=seed + 1)
        found = [
            fitted(proto, plan, seen, unseen, entries=EVERYWHERE, relu_rounds=rounds) for rounds in (0, 2)
        ]
        errors = [off_by(built(proto, one), proto, unseen) for one in found]
        assert errors[1] < 0.98 * errors[0]
        assert found[1]["a"].after == pytest.approx(errors[1], rel=1e-3)
        assert found[1]["a"].after < found[1]["a"].before

    def test_without_rounds_the_relu_is_not_looked_at(self, kind: str) -> None:
        """The same as where the answer itself is an output of the network."""
        proto, plan = self.of(kind)
        bare, _ = self.of(kind)
        bare.graph.output.add().CopyFrom(bare.graph.output[0])
        bare.graph.output[-1].name = "s" if kind == "sum" else "a"
        for rounds, alike in ((0, True), (2, False)):
            one = fitted(proto, plan, SEEN, relu_rounds=rounds)["a"].factorization
            other = fitted(bare, plan, SEEN, relu_rounds=2)["a"].factorization
            same = [np.array_equal(a.weight, b.weight) for a, b in zip(one.stages, other.stages, strict=True)]
            assert all(same) is alike


def test_infinities_in_the_sum_are_left_out() -> None:
    proto = behind(
        f"p = Log (x)  a = Conv {SAME} (x, w1, b1)  s = Add (a, p)  y = Relu (s)",
        w1=(3, 3, 3, 3),
    )
    data = [{"x": np.abs(feed["x"]) + np.float32(0.1)} for feed in SEEN]
    data[0]["x"][0, 0, 3, 3] = 0
    data[1]["x"][0, 0, 3, 3] = -1
    found = fitted(proto, {"a": ("spatial-vertical", (2,))}, data)["a"]
    assert all(np.isfinite(stage.weight).all() for stage in found.factorization.stages)
    assert 0 < found.after < found.before


class TestConstantsAddedBefore:
    """A product and an Add of a constant are one layer with a bias."""

    SHAPES = weights(w1=(20, 24), w2=(6, 20))

    def network(self, first: str, **more: np.ndarray) -> onnx.ModelProto:
        made = {**self.SHAPES, **more}
        used = {name: array for name, array in made.items() if re.search(rf"\b{name}\b", first + " w2")}
        body = f"{first}  r = Relu (s)  y = Gemm <transB = 1> (r, w2)"
        return model(body, "float[N, 24] x", "float[N, 6] y", **used)

    def networks(self) -> tuple[onnx.ModelProto, onnx.ModelProto]:
        return (
            self.network("s = Gemm <transB = 1> (x, w1, b1)"),
            self.network("p = MatMul (x, v1)  s = Add (p, b1)", v1=self.SHAPES["w1"].T.copy()),
        )

    def data(self, count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
        x = normal(count, 24, seed=seed) @ normal(24, 24) * np.float32(0.2)
        return [{"x": row[None]} for row in x]

    def test_fits_are_those_of_a_layer_with_a_bias(self) -> None:
        whole, apart = self.networks()
        seen, unseen = self.data(400), self.data(50, seed=1)
        options = {"linear_layers": True, "ridges": (1e-3,)}
        one = fitted(whole, {"s": ("channel-out", (6,))}, seen, **options)
        other = fitted(apart, {"p": ("channel-out", (6,))}, seen, **options)
        answers = [
            outputs(built(proto, found, linear_layers=True), unseen)
            for proto, found in ((whole, one), (apart, other))
        ]
        np.testing.assert_allclose(answers[1], answers[0], atol=2e-4 * np.abs(answers[0]).max())
        linear = fitted(apart, {"p": ("channel-out", (6,))}, seen, **options, relu_rounds=0)
        assert off_by(built(apart, other, linear_layers=True), apart, unseen) < off_by(
            built(apart, linear, linear_layers=True), apart, unseen
        )

    @pytest.mark.parametrize("shape", [(20,), (1, 20), (1,), ()])
    def test_errors_are_felt_behind_the_sum(self, shape: tuple[int, ...]) -> None:
        constant = np.resize(self.SHAPES["b1"], shape)
        row = np.broadcast_to(constant.reshape(-1), 20).copy()
        whole = self.network("s = Gemm <transB = 1> (x, w1, b1)", b1=row)
        apart = self.network("p = MatMul (x, v1)  s = Add (c, p)", v1=self.SHAPES["w1"].T.copy(), c=constant)
        data = {"x": np.concatenate([feed["x"] for feed in self.data(300)])}
        felt = []
        for proto, output in ((whole, "s"), (apart, "p")):
            options = Options(data=data, linear_layers=True, bench_seconds=0)
            study = open_study(load(proto), options, silent)
            (seen,) = [seen for seen in observe(study) if seen.site.output == output]
            assert seen.rectified
            layer = dense_layer(study, fit_method(study), seen)
            assert not isinstance(layer, Reason)
            assert layer.rectified
            (scheme,) = select_schemes(["channel-out"])
            felt.append(RankSearch(layer, scheme).candidate((5,)).weighted_error)
        assert felt[0] == pytest.approx(felt[1], rel=1e-4)

    @pytest.mark.parametrize("shape", [(3, 20), (7, 1, 20)])
    def test_a_constant_of_another_shape_is_no_bias(self, shape: tuple[int, ...]) -> None:
        """One for each row, or one that widens the answer."""
        body = "p = MatMul (x, v1)  s = Add (p, c)  y = Relu (s)"
        made = {"v1": self.SHAPES["w1"].T.copy(), "c": normal(*shape)}
        proto = model(body, "float[3, 24] x", f"float[{','.join(map(str, (*shape[:-2], 3, 20)))}] y", **made)
        data = [{"x": normal(3, 24, seed=k)} for k in range(40)]
        found = fitted(proto, {"p": ("channel-out", (12,))}, data, linear_layers=True)
        assert off_by(built(proto, found, linear_layers=True), proto, data) < 0.9
        options = Options(data={"x": data[0]["x"]}, linear_layers=True, bench_seconds=0)
        assert not any(seen.rectified for seen in observe(open_study(load(proto), options, silent)))
