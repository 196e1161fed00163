"""Tuning: closer to the original on what it has not seen, the same bytes again, refusals in a sentence."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

import sepfactor
from sepfactor.cli import main
from sepfactor.errors import OptionError
from sepfactor.plans.document import Tune, read_plan
from sepfactor.search.settings import DEFAULT, SearchSettings
from sepfactor.search.tuned import tune_faster
from sepfactor.tune import tuning
from tests.fit.small import off_by, residual_network, smooth, weights
from tests.graph.build import model
from tests.timing import times_by_macs

pytest.importorskip("torch")

DATA = smooth(40)
UNSEEN = [{"x": image[None]} for image in smooth(16, seed=9)]
ASKED: dict[str, Any] = {"data": {"x": DATA}, "bench_seconds": 0, "tidy": False}
STEPS = 200


@pytest.fixture(autouse=True)
def _decided(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Times of layers are decided, and a second is so many steps."""
    times_by_macs(monkeypatch)
    monkeypatch.chdir(tmp_path)
    from sepfactor.tune.descent import Descent

    monkeypatch.setattr(Descent, "steps_within", lambda self, seconds: STEPS)


def by_rank(wanted: onnx.ModelProto, **more: Any) -> Any:
    asked = {**ASKED, "scheme": "spatial-vertical", "rank": 3, **more}
    return sepfactor.compress(wanted, **asked)


def test_is_closer_on_what_it_has_not_seen() -> None:
    wanted = residual_network()
    plain, tuned = by_rank(wanted), by_rank(wanted, tune=1)
    assert plain.report.tuning is None
    assert plain.plan.tune is None
    told = tuned.report.tuning
    assert told.reason is None
    assert told.steps == STEPS
    assert 0 < told.share <= 1
    assert told.after < told.before
    assert off_by(tuned.model, wanted, UNSEEN) < 0.985 * off_by(plain.model, wanted, UNSEEN)
    assert f"{STEPS} steps" in told.line


def test_of_another_engine_the_aim_is_what_the_file_answers_in_its_own_type() -> None:
    pytest.importorskip("openvino")
    told = by_rank(residual_network(), tune=1, engine="openvino").report.tuning
    assert told.reason is None
    assert told.after < told.before


def test_the_plan_is_enough_to_write_the_same_bytes() -> None:
    onnx.save(residual_network(), "model.onnx")
    found = sepfactor.compress("model.onnx", "first.onnx", **ASKED, rank=3, tune=1, force=True)
    Path("plan.json").write_text(found.plan.to_json())
    plan = read_plan(Path("plan.json"))
    assert plan.tune == Tune(seconds=1, steps=STEPS)
    assert plan.digest() == found.plan.digest()
    assert plan.digest() != plan.model_copy(update={"tune": None}).digest()
    sepfactor.apply("model.onnx", "plan.json", "second.onnx", data={"x": DATA}, bench_seconds=0)
    first, second = (onnx.load(name) for name in ("first.onnx", "second.onnx"))
    assert first.graph.SerializeToString() == second.graph.SerializeToString()


def test_plan_knows_how_many_steps_and_apply_may_tune_a_plan_without() -> None:
    wanted = residual_network()
    _, (plan,) = sepfactor.plan(wanted, **ASKED, rank=3, tune=1)
    assert plan.tune is not None
    assert plan.tune.steps == STEPS
    _, (plan,) = sepfactor.plan(wanted, **ASKED, rank=3)
    assert plan.tune is None
    again = sepfactor.apply(wanted, plan, data={"x": DATA}, bench_seconds=0, tune=1)
    assert again.report.tuning is not None
    assert again.plan.tune == Tune(seconds=1, steps=STEPS)


def test_layers_left_alone_stay_byte_for_byte() -> None:
    wanted = residual_network()
    original = {t.name: numpy_helper.to_array(t) for t in wanted.graph.initializer}
    found = by_rank(wanted, tune=1, ignore=["c"])
    assert found.report.tuning.share > 0
    kept = {str(name): v.const_value.numpy() for name, v in found.model.graph.initializers.items()}
    assert np.array_equal(kept["w3"], original["w3"])
    assert np.array_equal(kept["b3"], original["b3"])


def test_a_budget_profits() -> None:
    wanted = residual_network()
    plain = sepfactor.compress(wanted, min_snr=20.0, **ASKED)
    tuned = sepfactor.compress(wanted, min_snr=20.0, tune=1, **ASKED)
    assert tuned.is_met
    assert tuned.report.totals.macs_after <= plain.report.totals.macs_after
    assert any(point.label.startswith("tuned") for point in tuned.report.front)
    assert not any(point.label.startswith("tuned") for point in plain.report.front)


@dataclass
class Recovering:
    """Stands in for a planner: what plans lose is what was predicted, and tuning takes a share of it away."""

    share: float
    best_loss: float | None = 1.0
    settings: SearchSettings = DEFAULT
    study: Any = field(default_factory=lambda: SimpleNamespace(options=SimpleNamespace(tune=30.0)))
    tuned: list[tuple[float, float]] = field(default_factory=list)

    def best(self) -> Any:
        return None if self.best_loss is None else SimpleNamespace(predicted_loss=self.best_loss)

    def solve(self, minimise: str, bounds: dict[str, float]) -> tuple[int, ...]:
        return (round(1000 * bounds["loss"]),)

    def build(self, options: tuple[int, ...], label: str, effort: str, tune: Tune) -> float:
        assert effort == "full"
        assert tune.seconds is not None
        loss = options[0] / 1000
        self.tuned.append((loss, tune.seconds))
        return loss

    def lost(self, point: float, limit: Any) -> float:
        return point * (1 - self.share)

    def may_hand_out(self, point: float) -> bool:
        return point * (1 - self.share) <= 1.0


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.6, 0.8])
@pytest.mark.parametrize("start", [1.0, None])
def test_the_strongest_plan_that_tuning_saves_is_looked_for(share: float, start: float | None) -> None:
    planner: Any = Recovering(share, start)
    tune_faster(planner, cast(Any, SimpleNamespace(most=1.0, exponent=1.0)), 1.0)
    edge = 1 / (1 - share)
    kept = [loss for loss, _ in planner.tuned if planner.may_hand_out(loss)]
    assert len(planner.tuned) <= DEFAULT.tuned_plans
    assert sum(seconds for _, seconds in planner.tuned) <= 30.0
    assert len({loss for loss, _ in planner.tuned}) == len(planner.tuned)
    if share:
        assert max(kept) > 0.7 * edge
    if start is not None:  # what is no faster than what there is gains nothing
        assert min(loss for loss, _ in planner.tuned) >= 0.99 * start


def test_within_a_cost_less_is_lost() -> None:
    wanted = residual_network()
    plain = sepfactor.compress(wanted, max_macs="40%", **ASKED)
    tuned = sepfactor.compress(wanted, max_macs="40%", tune=1, **ASKED)
    assert tuned.is_met
    assert off_by(tuned.model, wanted, UNSEEN) < off_by(plain.model, wanted, UNSEEN)


def test_is_left_out_where_an_operator_is_unknown() -> None:
    same = "<pads = [1, 1, 1, 1]>"
    odd = model(
        f"a = Conv {same} (x, w1, b1) r = Round (a) y = Conv {same} (r, w2, b2)",
        "float[N, 3, H, W] x",
        "float[N, 3, H, W] y",
        **weights(w1=(12, 3, 3, 3), w2=(3, 12, 3, 3)),
    )
    found = by_rank(odd, tune=1)
    assert found.report.tuning.reason.code == "unknown-operator"
    assert "Round" in found.report.tuning.line


def test_a_way_that_leads_nowhere_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    from sepfactor.tune import descent

    careless = {"together": True, "seed": 0, "settings": descent.TuneSettings(rates=(50.0,))}
    monkeypatch.setattr(descent.Descent.__init__, "__kwdefaults__", careless)
    wanted = residual_network()
    plain, tuned = by_rank(wanted), by_rank(wanted, tune=1)
    assert tuned.report.tuning.share == 0
    assert "nothing was won" in tuned.report.tuning.line
    assert off_by(tuned.model, wanted, UNSEEN) == off_by(plain.model, wanted, UNSEEN)


def test_of_rates_the_one_that_leads_somewhere_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from sepfactor.tune import descent

    careless = {"together": True, "seed": 0, "settings": descent.TuneSettings(rates=(50.0, 3e-3))}
    monkeypatch.setattr(descent.Descent.__init__, "__kwdefaults__", careless)
    assert by_rank(residual_network(), tune=1).report.tuning.share > 0


def test_eight_bits_go_on_from_tuned_weights() -> None:
    found = sepfactor.compress(residual_network(), min_snr=15.0, int8=True, tune=1, **ASKED)
    assert found.is_met


def test_without_torch_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _, (plan,) = sepfactor.plan(residual_network(), **ASKED, rank=3, tune=1)
    monkeypatch.setattr(tuning, "find_spec", lambda name: None)
    onnx.save(residual_network(), "model.onnx")
    Path("plan.json").write_text(plan.to_json())
    asked = CliRunner().invoke(main, ["compress", "model.onnx", "--rank", "3", "--tune", "5"])
    assert asked.exit_code == 2
    assert "--tune needs the package torch" in asked.output
    assert "pip install torch" in asked.output
    with pytest.raises(OptionError, match="The plan tunes the network, which needs the package torch"):
        sepfactor.apply("model.onnx", "plan.json", data={"x": DATA})


def test_needs_fitted_factors() -> None:
    with pytest.raises(OptionError, match="no-refit fits none"):
        by_rank(residual_network(), tune=1, refit=False)


def test_torch_is_imported_for_tuning_alone() -> None:
    code = "import sys, sepfactor, sepfactor.pipeline, sepfactor.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_front_of_tuned_plans() -> None:
    _, plans = sepfactor.plan(residual_network(), pareto=True, tune=6, **ASKED)
    assert plans
    assert all(plan.tune == Tune(seconds=1, steps=STEPS) for plan in plans)
