"""Every way of choosing ends in a plan, and what is asked for is kept exactly as the file has it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import sepfactor
from sepfactor.errors import PlanError
from sepfactor.factor import Factorization
from sepfactor.fit.evidence import observe
from sepfactor.graph.load import load
from sepfactor.measure import engines
from sepfactor.options import make_options
from sepfactor.plans.document import Plan
from sepfactor.progress import silent
from sepfactor.search.choose import choose
from sepfactor.search.settings import DEFAULT
from sepfactor.search.to_budget import plan_to_budget
from sepfactor.study.study import open_study
from sepfactor.threads import Threads
from tests import networks
from tests.engines import DecidedEngine
from tests.fit.small import residual_network, smooth, weights
from tests.graph.build import model
from tests.timing import by_macs, decide_layers, fit_briefly, of_macs, times_by_macs

DATA: dict[str, Any] = {"data": "data.npz", "bench_seconds": 0}


@pytest.fixture(autouse=True)
def _decided(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    times_by_macs(monkeypatch)
    fit_briefly(monkeypatch)
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", x=smooth(16))


def without_biases() -> onnx.ModelProto:
    """Three layers without a bias: a correction gives them one."""
    values = weights(w1=(16, 3, 3, 3), w2=(16, 16, 3, 3), w3=(4, 16, 3, 3))
    same = "<pads = [1, 1, 1, 1]>"
    return model(
        f"""a = Conv {same} (x, w1)  r = Relu (a)  b = Conv {same} (r, w2)  s = Relu (b)
            y = Conv {same} (s, w3)""",
        "float[N, 3, H, W] x",
        "float[N, 4, H, W] y",
        **{name: value for name, value in values.items() if name.startswith("w")},
    )


def numbers_in(path: str) -> int:
    """Weights and biases of the convolutions in a file."""
    graph = onnx.load(path).graph
    read = {name for node in graph.node if node.op_type == "Conv" for name in node.input[1:]}
    return sum(int(np.prod(tensor.dims)) for tensor in graph.initializer if tensor.name in read)


@pytest.mark.parametrize("network", [residual_network, without_biases])
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"min_snr": 15.0},
        {"speedup": 1.3},
        {"latency_ms": 0.5},
        {"max_macs": "60%"},
        {"max_params": "60%"},
        {"speedup": 1.2, "min_snr": 10.0},
        {"rank": 4},
        {"max_error": 0.3},
        {"max_macs": "60%", "layers": {"*": {"rank": 3}}},
        {"max_macs": "60%", "refit": False},
    ],
    ids=str,
)
def test_compressing_is_planning_and_applying(network: Any, asked: dict[str, Any]) -> None:
    sepfactor.compress(network(), "first.onnx", force=True, **asked, **DATA)
    _, (plan,) = sepfactor.plan(network(), **asked, **DATA)
    sepfactor.apply(network(), Plan.model_validate_json(plan.to_json()), "second.onnx", bench_seconds=0)
    assert Path("first.onnx").exists() == Path("second.onnx").exists()
    if Path("first.onnx").exists():
        assert Path("first.onnx").read_bytes() == Path("second.onnx").read_bytes()


@pytest.mark.parametrize("left", [{"ignore": ["c"]}, {"layers": {"c": {"keep": True}}}], ids=str)
def test_what_is_left_alone_stays_so_when_a_plan_is_applied(left: dict[str, Any]) -> None:
    """Behind a layer that was replaced kept ones are corrected; not this one, as the plan says."""
    first = sepfactor.compress(residual_network(), "first.onnx", max_error=0.9, **left, **DATA)
    assert first.report.layers[1].replaced
    assert not first.report.layers[2].corrected
    second = sepfactor.apply(residual_network(), first.plan, "second.onnx", bench_seconds=0)
    assert first.plan == second.plan
    assert Path("first.onnx").read_bytes() == Path("second.onnx").read_bytes()


def test_a_plan_made_of_a_programs_data_asks_for_them_again() -> None:
    made = sepfactor.compress(residual_network(), rank=4, data={"x": smooth(8)}, bench_seconds=0)
    with pytest.raises(PlanError, match="--data"):
        sepfactor.apply(residual_network(), made.plan, bench_seconds=0)
    again = sepfactor.apply(residual_network(), made.plan, data={"x": smooth(8)}, bench_seconds=0)
    assert again.report.data.fitted_on == made.report.data.fitted_on


def test_a_rank_of_a_layer_holds_under_a_budget() -> None:
    _, (plan,) = sepfactor.plan(
        residual_network(), max_macs="60%", layers={"*": {"rank": 3, "scheme": "channel-out"}}, **DATA
    )
    assert {layer.rank for layer in plan.layers if not layer.is_kept} == {(3,)}


@pytest.mark.parametrize("most", [0.2, 0.4])
def test_an_error_of_a_layer_holds_under_a_budget(most: float) -> None:
    _, (plan,) = sepfactor.plan(residual_network(), min_snr=1.0, max_error=most, **DATA)
    errors = [layer.error for layer in plan.layers if layer.error is not None]
    assert errors
    assert max(errors) <= most


@pytest.mark.parametrize("share", [0.85, 0.7, 0.55])
def test_parameters_are_counted_as_the_file_has_them(share: float) -> None:
    """Biases that corrections add are among them."""
    whole = 16 * 27 + 16 * 144 + 4 * 144
    most = round(share * whole)
    result = sepfactor.compress(without_biases(), "out.onnx", max_params=f"{most / 1000}k", **DATA)
    assert result.is_met
    assert numbers_in("out.onnx") == result.report.totals.parameters_after <= most


def test_the_time_of_one_run_is_kept() -> None:
    whole = sum(
        row.macs_before or 0 for row in sepfactor.compress(residual_network(), rank=99, **DATA).report.layers
    )
    ms = 1e-6 * whole / 2
    report = sepfactor.compress(residual_network(), latency_ms=ms, **DATA).report
    assert report.budget is not None
    assert report.budget.is_met
    assert 1e-6 * report.totals.macs_after <= ms
    (limit,) = report.budget.limits
    assert (limit.code, limit.asked, limit.is_met) == ("latency-ms", ms, True)
    assert limit.reached is not None
    assert limit.reached <= ms


def test_of_the_plans_that_keep_a_speedup_the_least_lossy_is_taken() -> None:
    study = open_study(load(residual_network()), make_options({**DATA, "speedup": 1.5}), silent)
    outcome = choose(study, observe(study)).outcome
    assert outcome is not None
    assert outcome.point is not None
    kept = [point for point in outcome.points if point.cost.ms <= outcome.space.original_ms / 1.5]
    full = [point for point in kept if point.effort == "full"]
    assert outcome.point.quality.divergence == min(point.quality.divergence for point in full)


def test_more_time_never_costs_more_loss() -> None:
    snr = []
    for speedup in (1.1, 1.5, 2.5):
        quality = sepfactor.compress(residual_network(), speedup=speedup, **DATA).report.budget
        assert quality is not None
        assert quality.quality is not None
        snr.append(quality.quality.expected)
    assert all(one >= other - 0.5 for one, other in pairwise(snr))


def slow_when_separable(dense: Factorization, other: Factorization, size: tuple[int, ...]) -> float:
    """One-dimensional kernels take ten times as long as their multiplications say."""
    kernels = (stage.kernel_shape for stage in other.stages)
    flat = any(1 in kernel and max(kernel) > 1 for kernel in kernels)
    return by_macs(dense, other, size) / (10 if flat else 1)


@pytest.mark.parametrize("bound", [{"max_macs": "80%"}, {"max_params": "80%"}])
def test_where_size_is_limited_no_layer_gets_slower_unasked(
    bound: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    decide_layers(monkeypatch.setattr, slow_when_separable)
    result = sepfactor.compress(residual_network(), **bound, **DATA)
    assert result.is_met
    replaced = [layer for layer in result.plan.layers if not layer.is_kept]
    assert replaced
    assert all(layer.alone is not None and layer.alone.speedup >= 1 for layer in replaced)


@pytest.mark.parametrize("share", ["70%", "50%"])
def test_nor_in_any_plan_that_is_built_to_compare_with(share: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However far sensitivities are trusted, so that none of them can win by being slow."""
    decide_layers(monkeypatch.setattr, slow_when_separable)
    study = open_study(load(residual_network()), make_options({**DATA, "max_macs": share}), silent)
    outcome = plan_to_budget(study, observe(study), DEFAULT)
    for point in outcome.points:
        taken = [(layer, k) for layer, k in zip(outcome.layers, point.options, strict=True) if k]
        assert taken
        assert all(layer.times[k - 1].speedup >= 1 for layer, k in taken)


def test_but_it_does_where_nothing_else_keeps_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    decide_layers(monkeypatch.setattr, slow_when_separable)
    result = sepfactor.compress(residual_network(), max_macs="60%", scheme="spatial", **DATA)
    assert result.is_met
    assert any(layer.alone is not None and layer.alone.speedup < 1 for layer in result.plan.layers)


@pytest.mark.parametrize("bound", ["max_macs", "max_params"])
def test_the_closest_is_the_smallest_by_what_was_limited(bound: str) -> None:
    """Nothing that can be kept is smaller than what is handed out as the closest."""
    closest = sepfactor.compress(residual_network(), "out.onnx", force=True, **{bound: "0.1%"}, **DATA)
    assert not closest.is_met
    assert closest.report.budget is not None
    assert closest.report.budget.verdict.code == "no-plan"
    (limit,) = closest.report.budget.limits
    assert limit.reached is not None
    easier = sepfactor.compress(residual_network(), **{bound: f"{100 * limit.reached * 0.97:.3f}%"}, **DATA)
    assert not easier.is_met


@pytest.mark.parametrize("asked", [{"min_snr": 15.0}, {"speedup": 1.4}])
def test_the_same_times_give_the_same_plan_on_any_number_of_cores(asked: dict[str, Any]) -> None:
    found = []
    for workers in (1, 3):
        study = open_study(load(residual_network()), make_options({**DATA, **asked}), silent)
        study = replace(study, executor=Threads(workers))
        found.append(choose(study, observe(study)).plan.to_json())
    assert found[0] == found[1]


def test_what_a_busy_machine_took_teaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that scatter correct no prediction, so that the plan stays that of the quiet machine."""
    plans = []
    for spread in (0.0, 0.6):
        engine = DecidedEngine(of_macs, spread=spread)
        monkeypatch.setitem(engines.ENGINES, "onnxruntime", lambda *_, engine=engine: engine)
        _, (plan,) = sepfactor.plan(residual_network(), min_snr=15.0, **DATA)
        plans.append([(layer.scheme, layer.rank) for layer in plan.layers])
    assert plans[0] == plans[1]


def test_a_classifier_loses_no_more_than_it_may() -> None:
    data = {"image": networks.images(40)}
    for most in (2, 10):
        result = sepfactor.compress(networks.classifier(), data=data, max_drop=f"{most}%", bench_seconds=0)
        assert result.report.budget is not None
        (limit, *_) = result.report.budget.limits or (None,)
        if limit is not None:
            assert limit.reached is not None
            assert limit.reached <= most / 100


def test_a_network_that_answers_nothing_is_never_kept() -> None:
    """However small it is."""
    noise = {"x": np.random.default_rng(0).standard_normal((24, 3, 12, 12)).astype(np.float32)}
    asked: dict[str, Any] = {"data": noise, "max_macs": "7%", "refit": False, "bench_seconds": 0}
    result = sepfactor.compress(residual_network(), "out.onnx", **asked)
    budget = result.report.budget
    assert budget is not None
    assert budget.quality is not None
    assert budget.quality.is_ruined
    assert budget.limits[0].is_met
    assert not result.is_met
    assert "nothing like the original" in budget.verdict.text
    assert not Path("out.onnx").exists()
    sepfactor.compress(residual_network(), "out.onnx", force=True, **asked)
    assert Path("out.onnx").exists()
