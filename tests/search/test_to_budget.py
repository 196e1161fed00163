"""Plans to a budget: what is asked for is kept on held-out data, and a plan is enough to build again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import sepfactor
from sepfactor.cli import main
from sepfactor.errors import OptionError, PlanError
from sepfactor.factor import Factorization, select_schemes
from sepfactor.fit.evidence import observe
from sepfactor.graph.load import load
from sepfactor.measure import engines
from sepfactor.measure.metrics import estimated_losses
from sepfactor.measure.rounds import Rounds
from sepfactor.options import make_options
from sepfactor.plans.document import KEEP, Plan, read_plan
from sepfactor.progress import TakeBest, silent
from sepfactor.report.html import report_html
from sepfactor.results import Report
from sepfactor.search.settings import DEFAULT
from sepfactor.search.to_budget import plan_to_budget
from sepfactor.study.study import open_study
from tests import networks
from tests.engines import DecidedEngine
from tests.fit.small import feeds, outputs, residual_network, smooth, weights
from tests.graph.build import model, run
from tests.strategies import unpadded
from tests.timing import fit_briefly, of_macs, times_by_macs

DATA: dict[str, Any] = {"data": {"x": smooth(16)}, "bench_seconds": 0}


@pytest.fixture(autouse=True)
def _always_faster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    times_by_macs(monkeypatch)
    fit_briefly(monkeypatch)
    monkeypatch.chdir(tmp_path)


def snr(one: Any, other: Any, data: list[dict[str, np.ndarray]]) -> float:
    a, b = outputs(one, data), outputs(other, data)
    return float(10 * np.log10(np.sum(a**2) / np.sum((a - b) ** 2)))


def replaced(plan: Plan) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {layer.output: (layer.scheme, layer.rank) for layer in plan.layers if layer.scheme != KEEP}


def planted_network(rank: int) -> onnx.ModelProto:
    """Three convolutions, ``a b y``; the wide one in the middle is of this rank."""
    values = weights(w1=(64, 3, 3, 3), w2=(64, 64, 3, 3), w3=(3, 64, 3, 3))
    (scheme,) = select_schemes(["spatial-vertical"])
    chains = scheme.decompose(unpadded(values["w2"].astype(float))).build((rank,))
    values["w2"] = Factorization(chains).dense().weight.astype(np.float32)
    same = "<pads = [1, 1, 1, 1]>"
    return model(
        f"""
        a = Conv {same} (x, w1, b1)
        r = Relu (a)
        b = Conv {same} (r, w2, b2)
        s = Relu (b)
        y = Conv {same} (s, w3, b3)
        """,
        "float[N, 3, H, W] x",
        "float[N, 3, H, W] y",
        **values,
    )


class TestBudget:
    @pytest.mark.parametrize("least", [12.0, 20.0])
    def test_the_quality_asked_for_is_kept_on_other_images(self, least: float) -> None:
        proto = residual_network()
        result = sepfactor.compress(proto, min_snr=least, **DATA)
        assert result.is_met
        assert replaced(result.plan)
        assert result.report.budget is not None
        assert result.report.budget.quality is not None
        assert result.report.budget.quality.expected >= least
        assert snr(proto, result.model, feeds(8, seed=77)) > least - 2  # other images than were held out

    def test_a_tighter_budget_replaces_less(self) -> None:
        loose, tight = (
            sepfactor.compress(residual_network(), min_snr=least, **DATA).report for least in (10, 30)
        )
        assert loose.totals.macs_after < tight.totals.macs_after <= tight.totals.macs_before

    def test_what_cannot_be_kept_leaves_the_network_as_it_is(self) -> None:
        result = sepfactor.compress(residual_network(), "out.onnx", min_snr=200, **DATA)
        assert result.is_met  # nothing lost, nothing gained
        assert not replaced(result.plan)
        assert not Path("out.onnx").exists()

    @pytest.mark.parametrize("budget", [{"min_snr": 12.0}, {"max_macs": "50%"}])
    def test_broken_off_it_takes_the_best_so_far(self, budget: dict[str, Any]) -> None:
        told: list[tuple[str, str]] = []

        def listen(step: str, done: int, total: int, detail: str) -> None:
            told.append((step, detail))
            if step == "plan" and "best so far" in detail and not any(name == "stop" for name, _ in told):
                raise TakeBest

        result = sepfactor.compress(residual_network(), "out.onnx", progress=listen, **budget, **DATA)
        assert result.is_met
        assert replaced(result.plan)
        assert Path("out.onnx").exists()
        assert any("broken off" in note for note in result.report.notes)
        assert any(n == "stop" and said.startswith("taking the best so far, ") for n, said in told)

    def test_broken_off_before_any_plan_keeps_the_budget_there_is_none(self) -> None:
        def listen(step: str, done: int, total: int, detail: str) -> None:
            if step == "plan":
                raise TakeBest

        with pytest.raises(KeyboardInterrupt, match="None of 0 plans") as caught:
            sepfactor.compress(residual_network(), "out.onnx", min_snr=12.0, progress=listen, **DATA)
        assert not isinstance(caught.value, TakeBest)
        assert not Path("out.onnx").exists()

    @pytest.mark.parametrize("share", ["70%", "40%"])
    def test_multiply_accumulates(self, share: str) -> None:
        totals = sepfactor.compress(residual_network(), max_macs=share, **DATA).report.totals
        assert totals.macs_after <= float(share[:-1]) / 100 * totals.macs_before

    def test_parameters(self) -> None:
        totals = sepfactor.compress(residual_network(), max_params="60%", **DATA).report.totals
        assert totals.parameters_after <= 0.6 * totals.parameters_before

    def test_the_least_loss_within_the_cost_is_taken(self) -> None:
        """No single scheme at the same cost does better."""
        best = sepfactor.compress(residual_network(), max_macs="50%", **DATA)
        other = sepfactor.compress(residual_network(), max_macs="50%", scheme="channel", **DATA)
        data = feeds(8, seed=77)
        assert snr(residual_network(), best.model, data) >= snr(residual_network(), other.model, data)

    @pytest.mark.parametrize("budget", [{"min_snr": 12.0}, {"max_macs": "50%"}])
    def test_of_a_large_network_fewer_plans_are_built_and_the_budget_is_kept(
        self, budget: dict[str, Any]
    ) -> None:
        study = open_study(load(residual_network()), make_options({**DATA, **budget}), silent)
        evidence = observe(study)
        usual, few = (
            plan_to_budget(study, evidence, settings)
            for settings in (DEFAULT, replace(DEFAULT, build_macs=0.0, fewest_builds=1))
        )
        assert usual.verdict.is_met
        assert few.verdict.is_met
        assert len(few.points) < len(usual.points)

    @pytest.mark.parametrize("slower", [1.0, 0.5, 0.01])
    def test_a_last_build_that_is_too_slow_is_followed_by_a_faster_plan(
        self, slower: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every build is as fast as its shapes say, but for the first one made with care."""
        careful: list[str] = []

        def listen(step: str, done: int, total: int, detail: str) -> None:
            if step == "plan" and "with care" in detail:
                careful.append(detail)

        class SlowOnce(DecidedEngine):
            def time(self, runs: Any, **settings: Any) -> Rounds:
                rounds = super().time(runs, **settings)
                if len(careful) == 1 and len(runs) == 2:
                    rounds.wall[1] /= slower
                return rounds

        monkeypatch.setitem(engines.ENGINES, "onnxruntime", lambda *_: SlowOnce(of_macs))
        result = sepfactor.compress(residual_network(), speedup=1.1, progress=listen, **DATA)
        assert result.is_met
        assert len(careful) == (2 if slower == 0.5 else 1)
        assert result.report.totals.macs_before / result.report.totals.macs_after >= 1.1

    @pytest.mark.parametrize("bound", [{"max_macs": "0.1%"}, {"max_params": "0.1%"}])
    def test_a_cost_that_cannot_be_reached(self, bound: dict[str, str]) -> None:
        result = sepfactor.compress(residual_network(), "out.onnx", **bound, **DATA)
        assert not result.is_met
        assert not Path("out.onnx").exists()
        assert "no plan keeps" in result.report.budget.verdict.text
        forced = sepfactor.compress(residual_network(), "out.onnx", force=True, **bound, **DATA)
        assert not forced.is_met
        assert Path("out.onnx").exists()

    @pytest.mark.parametrize(
        ("bound", "field"),
        [({"max_macs": "60%"}, "macs"), ({"max_params": "60%"}, "parameters")],
    )
    def test_the_verdict_says_what_the_cost_came_to(self, bound: dict[str, str], field: str) -> None:
        report = sepfactor.compress(residual_network(), **bound, **DATA).report
        found = re.search(r"60% of the .*: kept, .* which is ([\d.]+)%", report.budget.verdict.text)
        assert found, report.budget.verdict.text
        sums = report.totals.model_dump()
        share = 100 * sums[f"{field}_after"] / sums[f"{field}_before"]
        assert float(found[1]) == pytest.approx(share, abs=0.06)
        assert share <= 60

    def test_cost_and_quality_together(self) -> None:
        result = sepfactor.compress(residual_network(), max_macs="30%", min_snr=60, **DATA)
        assert not result.is_met
        assert "not kept" in result.report.budget.verdict.text

    def test_what_programs_give_as_objects_is_named_in_the_report(self) -> None:
        def score(outputs: Any, _: Any) -> float:
            return float(np.abs(outputs["y"]).mean())

        report = sepfactor.compress(residual_network(), metric=score, max_drop="5%", **DATA).report
        options = json.loads(report.to_json())["options"]
        assert options["metric"] == "score"
        assert (options["data"], options["max-drop"]) == ("dict", "5%")
        assert Report.model_validate_json(report.to_json()) == report
        assert "<td>score</td>" in report_html(report)
        assert "Measured" in (report._repr_html_() or "")

    def test_a_metric_of_ones_own(self) -> None:
        def score(found: Any, inputs: Any) -> float:
            return float(-np.square(found["y"]).mean())

        result = sepfactor.compress(residual_network(), metric=score, max_drop="5%", **DATA)
        assert result.report.budget.quality.kind == "metric"
        assert result.report.budget.quality.drop <= 0.05 * abs(result.report.budget.quality.original)

    def test_the_front_has_the_speed_the_report_has(self) -> None:
        """Of the plan chosen: as it was timed at last, and not while plans were compared."""
        report = sepfactor.compress(residual_network(), min_snr=15, **DATA | {"bench_seconds": 0.1}).report
        (chosen,) = [point for point in report.front or () if point.chosen]
        assert report.speed is not None
        assert chosen.speedup == report.speed.ratio

    def test_classes_have_no_decibel_and_images_no_classes(self) -> None:
        with pytest.raises(OptionError, match="--min-snr"):
            sepfactor.compress(residual_network(), max_drop="1%", **DATA)

    def test_a_classifier(self) -> None:
        data = {"image": networks.images(40)}
        result = sepfactor.compress(networks.classifier(), data=data, max_drop="10%", bench_seconds=0)
        assert result.is_met
        quality = result.report.budget.quality
        assert quality.kind == "agreement"
        assert quality.drop <= 0.1

    def test_a_classifier_without_labels(self) -> None:
        """Judged by the probabilities of the original, it may lose more answers, if they were toss-ups."""
        by_agreement, by_estimate = (
            sepfactor.compress(scorer(), data=smooth(96), bench_seconds=0, **{budget: "4%"})
            for budget in ("max_drop", "max_estimated_drop")
        )
        quality = by_estimate.report.budget.quality
        assert by_estimate.is_met
        assert quality is not None
        assert quality.kind == "estimate"
        assert quality.original - quality.pessimistic <= 0.04
        assert by_estimate.report.totals.macs_after < by_agreement.report.totals.macs_after
        unseen = feeds(64, seed=5)
        before, after = (
            np.concatenate([run(net, feed)[0] for feed in unseen]) for net in (scorer(), by_estimate.model)
        )
        assert estimated_losses(before, after).mean() < 0.08
        with pytest.raises(OptionError, match="--max-estimated-drop counts classes"):
            sepfactor.compress(residual_network(), max_estimated_drop="1%", **DATA)


def scorer() -> onnx.ModelProto:
    """Scores of four classes, behind two layers that are not quite separable."""
    rng = np.random.default_rng(3)
    values = {"w1": rng.standard_normal((16, 3, 3, 3)) / 4, "w2": rng.standard_normal((16, 16, 3, 3)) / 8}
    return model(
        """a = Conv <pads = [1, 1, 1, 1]> (x, w1)  r = Relu (a)  b = Conv <pads = [1, 1, 1, 1]> (r, w2)
           m = GlobalAveragePool (b)  f = Flatten (m)  y = MatMul (f, w3)""",
        "float[N, 3, H, W] x",
        "float[N, 4] y",
        w3=(20 * rng.standard_normal((16, 4))).astype(np.float32),
        **{name: value.astype(np.float32) for name, value in values.items()},
    )


@cache
def usual_plan() -> Plan:
    """The same each time, and so made once."""
    _, (plan,) = sepfactor.plan(residual_network(), min_snr=15.0, **DATA)
    return plan


class TestPlanFile:
    def test_the_same_bytes_each_time(self) -> None:
        np.savez("data.npz", x=smooth(16))
        options: dict[str, Any] = {"data": "data.npz", "min_snr": 15.0, "bench_seconds": 0}
        first = sepfactor.compress(residual_network(), "first.onnx", **options)
        Path("plan.json").write_text(first.plan.to_json())
        again = sepfactor.apply(residual_network(), "plan.json", "second.onnx", bench_seconds=0)
        assert Path("first.onnx").read_bytes() == Path("second.onnx").read_bytes()
        assert replaced(again.plan) == replaced(first.plan)
        assert replaced(again.plan)

    @pytest.mark.parametrize("refit", [True, False])
    @pytest.mark.parametrize("data", ["data.npz", None])
    @pytest.mark.parametrize(
        "asked",
        [{"rank": 4, "scheme": "spatial"}, {"max_error": 0.3}, {"max_macs": "50%"}],
        ids=lambda asked: next(iter(asked)),
    )
    def test_the_same_bytes_however_it_was_made(
        self, asked: dict[str, Any], data: str | None, refit: bool
    ) -> None:
        np.savez("data.npz", x=smooth(16))
        made = networks.classifier() if data is None else residual_network()
        options: dict[str, Any] = {"data": data, "refit": refit, "limit": 4, "bench_seconds": 0}
        first = sepfactor.compress(made, "first.onnx", force=True, **asked, **options)
        assert replaced(first.plan)
        sepfactor.apply(made, first.plan, "second.onnx", bench_seconds=0)
        assert Path("first.onnx").read_bytes() == Path("second.onnx").read_bytes()

    def test_a_lossless_rank_off_the_grid_stays_lossless(self) -> None:
        """Where time does not count, ranks are looked for on a finer grid."""
        np.savez("data.npz", x=smooth(8))
        proto = planted_network(12)
        first = sepfactor.compress(proto, "first.onnx", data="data.npz", max_macs="60%", bench_seconds=0)
        Path("plan.json").write_text(first.plan.to_json())
        again = sepfactor.apply(proto, "plan.json", "second.onnx", bench_seconds=0)
        for result in (first, again):
            assert replaced(result.plan)["b"] == ("spatial-vertical", (12,))
            assert result.report.layers[1].exact
        assert Path("first.onnx").read_bytes() == Path("second.onnx").read_bytes()

    def test_a_line_edited_and_applied_again(self) -> None:
        plan = usual_plan()
        layers = [json.loads(layer.model_dump_json()) for layer in plan.layers]
        layers[0] |= {"scheme": KEEP, "rank": []}
        layers[1] |= {"scheme": "channel-out", "rank": [3]}
        edited = Plan.model_validate_json(json.dumps(json.loads(plan.to_json()) | {"layers": layers}))
        rows = sepfactor.apply(residual_network(), edited, **DATA).report.layers
        assert not rows[0].replaced
        assert (rows[1].scheme, rows[1].rank) == ("channel-out", (3,))

    def test_other_weights_of_the_same_shape(self) -> None:
        plan = usual_plan()
        other = residual_network()
        for tensor in other.graph.initializer:
            values = np.frombuffer(tensor.raw_data, np.float32)[::-1]
            tensor.raw_data = values.tobytes()
        result = sepfactor.apply(other, plan, **DATA)
        assert replaced(result.plan) == replaced(plan)
        assert result.plan.fingerprint != plan.fingerprint

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"output": "nowhere"}, "does not have"),
            ({"weight_shape": [9, 9, 3, 3]}, "of shape"),
            ({"scheme": "spatail"}, "unknown scheme"),
            ({"scheme": "separable-depthwise", "rank": [1]}, "but"),
            ({"scheme": "channel-out", "rank": [100000]}, "at most"),
            ({"scheme": "channel-out", "rank": []}, "at most"),
        ],
    )
    def test_what_does_not_fit_the_network(self, change: dict[str, Any], words: str) -> None:
        plan = usual_plan()
        layers = [json.loads(layer.model_dump_json()) for layer in plan.layers]
        layers[1] = layers[1] | {"scheme": "channel-out", "rank": [2]} | change
        edited = Plan.model_validate_json(json.dumps(json.loads(plan.to_json()) | {"layers": layers}))
        with pytest.raises(PlanError, match=words):
            sepfactor.apply(residual_network(), edited, **DATA)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda plan: plan | {"nonsense": 1}, "nonsense"),
            (lambda plan: plan | {"schema_version": "7.0"}, "version 7.0"),
            (lambda plan: plan | {"layers": [plan["layers"][0] | {"rank": [0]}]}, r"layers\.0\.rank"),
            (lambda plan: [plan], "not a plan"),
        ],
    )
    def test_what_is_no_plan(self, change: Callable[[Any], Any], words: str) -> None:
        Path("plan.json").write_text(json.dumps(change(json.loads(usual_plan().to_json()))))
        with pytest.raises(PlanError, match=words):
            read_plan(Path("plan.json"))

    def test_no_file(self) -> None:
        with pytest.raises(PlanError, match="sepfactor plan"):
            read_plan(Path("nowhere.json"))


class TestFront:
    def test_faster_plans_lose_more(self) -> None:
        planning, plans = sepfactor.plan(residual_network(), pareto=True, **DATA)
        assert len(plans) == len(planning.front) >= 2
        macs = [sum(layer.scheme != KEEP for layer in plan.layers) for plan in plans]
        noise = [point.snr_db for point in planning.front]
        assert macs == sorted(macs)
        assert noise[0] > noise[-1]


class TestElsewhere:
    def test_a_plan_by_the_times_of_another_machine(self) -> None:
        found = sepfactor.profile(residual_network(), **DATA)
        times = {key: dict(entry) | {"speedup": 4.0} for key, entry in found.times.items()}
        far = found.model_copy(update={"times": times, "original_ms": 8.0, "prepared_ms": 8.0})
        Path("far.json").write_text(far.to_json())
        planning, (plan,) = sepfactor.plan(residual_network(), profile="far.json", min_snr=15, **DATA)
        assert plan.expected["original_ms"] == 8.0
        assert planning.budget.is_met


class TestCommands:
    @pytest.fixture(autouse=True)
    def _files(self) -> None:
        onnx.save(residual_network(), "model.onnx")
        np.savez("data.npz", x=smooth(16))

    def run(self, *words: object) -> Any:
        return CliRunner().invoke(main, [str(word) for word in words])

    def test_plan_and_apply(self) -> None:
        done = self.run("plan", "model.onnx", "--data", "data.npz", "--min-snr", 15)
        assert done.exit_code == 0, done.output
        assert "15 dB: kept" in done.output
        done = self.run("apply", "model.onnx", "model.plan.json", "-o", "out.onnx", "--bench-seconds", 0)
        assert done.exit_code == 0, done.output
        assert Path("out.onnx").exists()

    def test_front(self) -> None:
        done = self.run("plan", "model.onnx", "--data", "data.npz", "--pareto")
        assert done.exit_code == 0, done.output
        for file in Path().glob("model.plan-*.json"):
            assert file.name in done.output
            read_plan(file)
        assert len(list(Path().glob("model.plan-*.json"))) >= 2

    def test_profile_and_plan_by_it(self) -> None:
        assert self.run("profile", "model.onnx", "--data", "data.npz").exit_code == 0
        done = self.run(
            *("plan", "model.onnx", "--data", "data.npz", "--min-snr", 15),
            *("--profile", "model.profile.json", "-o", "far.json"),
        )
        assert done.exit_code == 0, done.output
        assert read_plan(Path("far.json")).replaced

    def test_a_budget_that_cannot_be_kept_is_exit_code_3(self) -> None:
        words = ("compress", "model.onnx", "--data", "data.npz", "--max-macs", "0.1%", "--bench-seconds", 0)
        done = self.run(*words, "-o", "out.onnx")
        assert done.exit_code == 3, done.output
        assert not Path("out.onnx").exists()
        assert "--force" in done.output
        assert self.run(*words, "-o", "out.onnx", "--force").exit_code == 3
        assert Path("out.onnx").exists()

    def test_nothing_is_overwritten_unasked(self) -> None:
        Path("model.plan.json").write_text("mine")
        assert self.run("plan", "model.onnx", "--data", "data.npz").exit_code == 1
        assert Path("model.plan.json").read_text() == "mine"
