"""Exact rewriting before factoring: chosen by times, part of the plan, told apart from factoring."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import sepfactor
from sepfactor.cli import main
from sepfactor.errors import PlanError
from sepfactor.plans.document import read_plan
from sepfactor.report.html import report_html
from sepfactor.report.markup import markdown, view
from sepfactor.study import rewrite_times, rewriting, study
from tests.engines import Shapes, macs
from tests.graph.build import assert_same, check, interface, model, normal, run
from tests.timing import decide_engine, decide_layers

SHAPE = (16, 16, 3, 3)


def network() -> onnx.ModelProto:
    """A PReLU and a number between convolutions, one of which is of low rank."""
    low = np.einsum("oir,rhw->oihw", normal(16, 16, 2), normal(2, 3, 3)) / 9
    return model(
        "a = Conv <pads = [1, 1, 1, 1]> (x, w)  b = PRelu (a, p)  c = Conv <pads = [1, 1, 1, 1]> (b, v)"
        " d = Mul (c, k)  y = Conv <pads = [1, 1, 1, 1]> (d, u)",
        "float[N, 16, 20, 20] x",
        "float[N, 16, P, Q] y",
        w=normal(*SHAPE) / 9,
        v=low.astype(np.float32),
        u=normal(*SHAPE, seed=2) / 9,
        p=normal(16, 1, 1),
        k=np.float32(0.4),
    )


def plain() -> onnx.ModelProto:
    """Nothing in it can be rewritten."""
    return model(
        "a = Conv <pads = [1, 1, 1, 1]> (x, w)  y = Relu (a)",
        "float[N, 16, 20, 20] x",
        "float[N, 16, 20, 20] y",
        w=normal(*SHAPE),
    )


@pytest.fixture
def decide(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a PReLU cost so much, and a multiplication in a convolution next to nothing."""

    def of(prelu: float, speedup: float = 2.0) -> None:
        def cost(node: onnx.NodeProto, shapes: Shapes) -> float:
            return 1e-6 * macs(node, shapes) + {"PRelu": prelu, "Mul": 0.1}.get(node.op_type, 1e-3)

        decide_engine(monkeypatch, cost)
        decide_layers(monkeypatch.setattr, lambda *_: speedup)

    return of


DATA: dict[str, Any] = {"data": {"x": normal(8, 16, 20, 20)}, "seed": 3}


def test_it_comes_first_and_is_told_apart(tmp_path: Path, decide: Callable[..., None]) -> None:
    decide(prelu=8.0)
    result = sepfactor.compress(network(), tmp_path / "out.onnx", rank=4, scheme=["spatial"], **DATA)
    report = result.report
    assert {row.rule for row in report.rewrites if row.kept} == {"fold-backward", "prelu"}
    assert result.plan.rewrites == ("fold-backward", "prelu")
    assert all(row.saves_ms is not None for row in report.rewrites)
    speed = report.speed
    assert speed is not None
    assert speed.prepared is not None and speed.tidying is not None and speed.factoring is not None
    assert report.totals.replaced
    assert speed.ratio == pytest.approx(speed.tidying.ratio * speed.factoring.ratio)
    saved = sum(row.saves_ms or 0.0 for row in report.rewrites)
    assert speed.original.median_ms - speed.prepared.median_ms == pytest.approx(saved)
    written = onnx.load(tmp_path / "out.onnx")
    check(written)
    assert interface(written) == interface(network())
    assert "PRelu" not in {node.op_type for node in written.graph.node}


@pytest.mark.parametrize(
    "how", [{"rank": 4, "scheme": ["spatial"]}, {"max_error": 0.0}, {"speedup": 3.0}, {"min_snr": 20.0}, {}]
)
def test_the_plan_says_it_so_that_applying_it_times_nothing(
    tmp_path: Path, decide: Callable[..., None], monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    decide(prelu=8.0)
    result = sepfactor.compress(network(), tmp_path / "one.onnx", **how, **DATA)
    assert result.plan.rewrites
    (tmp_path / "plan.json").write_text(result.plan.to_json(), encoding="utf-8")
    monkeypatch.setattr(rewrite_times, "open_and_time", None)
    monkeypatch.setattr(rewriting, "_unequal", None)
    again = sepfactor.apply(network(), tmp_path / "plan.json", tmp_path / "two.onnx", **DATA)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    assert again.plan.rewrites == result.plan.rewrites
    assert [row.rule for row in again.report.rewrites] == [*result.plan.rewrites]


def test_where_nothing_is_worth_factoring_the_network_is_written_tidied(
    tmp_path: Path, decide: Callable[..., None]
) -> None:
    decide(prelu=8.0, speedup=0.5)
    result = sepfactor.compress(network(), tmp_path / "out.onnx", max_error=0.1, **DATA)
    assert not result.report.totals.replaced
    assert result.path is not None and result.withheld is None
    assert "rewritten exactly, nothing factored" in result.report.headline.lower()
    assert result.report.speed is not None and result.report.speed.low > 1.0
    feed = {"x": normal(2, 16, 20, 20, seed=9)}
    assert_same(run(onnx.load(tmp_path / "out.onnx"), feed), run(network(), feed))
    again = sepfactor.apply(network(), result.plan, tmp_path / "two.onnx", **DATA)
    assert again.path is not None
    assert (tmp_path / "out.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_a_budget_says_that_it_is_kept_without_loss(tmp_path: Path, decide: Callable[..., None]) -> None:
    decide(prelu=8.0, speedup=0.5)
    result = sepfactor.compress(network(), tmp_path / "out.onnx", min_snr=90.0, **DATA)
    assert result.path is not None and result.is_met
    assert result.report.budget is not None
    assert "kept without loss, by exact rewriting alone" in result.report.budget.verdict.text


def test_what_so_few_samples_do_not_show_leaves_what_is_lossless(
    tmp_path: Path, decide: Callable[..., None]
) -> None:
    decide(prelu=8.0)
    few: dict[str, Any] = {**DATA, "data": {"x": normal(3, 16, 20, 20)}, "min_snr": 5.0}
    result = sepfactor.compress(network(), tmp_path / "out.onnx", **few)
    assert result.is_met and result.path is not None
    assert not result.report.totals.replaced
    assert result.report.budget is not None
    said = result.report.budget.verdict.text
    assert "kept without loss" in said and "not shown on so few" in said
    forced = sepfactor.compress(network(), tmp_path / "forced.onnx", force=True, **few)
    assert forced.report.totals.replaced and not forced.is_met


def test_a_budget_of_time_that_rewriting_keeps_loses_nothing(
    tmp_path: Path, decide: Callable[..., None]
) -> None:
    decide(prelu=8.0)
    result = sepfactor.compress(network(), tmp_path / "out.onnx", speedup=1.2, **DATA)
    assert not result.report.totals.replaced
    assert result.is_met and result.path is not None
    assert "by exact rewriting alone: 1.2× faster" in result.report.budget.verdict.text  # type: ignore[union-attr]


def test_what_makes_it_slower_is_left_out(tmp_path: Path, decide: Callable[..., None]) -> None:
    decide(prelu=0.0)
    result = sepfactor.compress(network(), tmp_path / "out.onnx", rank=4, scheme=["spatial"], **DATA)
    assert result.plan.rewrites == ("fold-backward",)
    assert {row.rule: row.kept for row in result.report.rewrites} == {"fold-backward": True, "prelu": False}


@pytest.mark.parametrize("budget", [{"max_macs": "80%"}, {"max_params": "80%"}])
def test_budgets_of_size_are_of_the_file_as_it_is(
    budget: dict[str, Any], decide: Callable[..., None]
) -> None:
    decide(prelu=8.0)
    assert sepfactor.plan(network(), **budget, **DATA)[1][0].rewrites == ()


def test_it_can_be_turned_off(tmp_path: Path, decide: Callable[..., None]) -> None:
    decide(prelu=8.0)
    onnx.save(network(), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", **DATA["data"])
    words = ["m.onnx", "--data", "d.npz", "--scheme", "spatial", "--rank", "4", "-q"]
    for more, has in ((["--no-tidy"], False), ([], True)):
        with pytest.MonkeyPatch.context() as here:
            here.chdir(tmp_path)
            done = CliRunner().invoke(
                main, ["compress", *words, *more, "-o", "o.onnx", "--json", "o.json", "--overwrite"]
            )
        assert done.exit_code == 0, done.output
        assert bool(json.loads((tmp_path / "o.json").read_text())["rewrites"]) == has
        types = {node.op_type for node in onnx.load(tmp_path / "o.onnx").graph.node}
        assert ("PRelu" not in types) == has


def test_where_nothing_is_found_nothing_is_run_or_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sepfactor.study.rewritten.Reference", None)
    monkeypatch.setattr(rewrite_times, "open_and_time", None)
    result = sepfactor.compress(plain(), rank=4, scheme=["spatial"], refit=False, bench_seconds=0)
    assert result.report.rewrites == () == result.plan.rewrites


def test_times_are_remembered(monkeypatch: pytest.MonkeyPatch, decide: Callable[..., None]) -> None:
    """The second run decides by the times of the first, and so the same."""
    decide(prelu=8.0)
    from sepfactor.measure.timing_cache import MemoryCache

    known = MemoryCache()
    monkeypatch.setattr(study, "_timing_cache", lambda *_: known)
    asked: dict[str, Any] = {"rank": 4, "scheme": ["spatial"], **DATA}
    (planned,) = sepfactor.plan(network(), **asked)[1]
    monkeypatch.setattr(rewrite_times, "open_and_time", None)
    (again,) = sepfactor.plan(network(), **asked)[1]
    assert planned.rewrites == again.rewrites == ("fold-backward", "prelu")


def test_a_profile_says_what_its_machine_is_faster_for(tmp_path: Path, decide: Callable[..., None]) -> None:
    decide(prelu=8.0)
    asked: dict[str, Any] = {"scheme": ["spatial"], **DATA}
    profile = sepfactor.profile(network(), **asked)
    (tmp_path / "there.json").write_text(profile.to_json(), encoding="utf-8")
    decide(prelu=0.0)  # here it is another way round
    (there,) = sepfactor.plan(network(), profile=tmp_path / "there.json", **asked)[1]
    assert there.rewrites == ("fold-backward", "prelu")
    stripped = profile.model_copy(update={"times": {k: v for k, v in profile.times.items() if k[0] != "{"}})
    (tmp_path / "there.json").write_text(stripped.to_json(), encoding="utf-8")
    found, (kept,) = sepfactor.plan(network(), profile=tmp_path / "there.json", **asked)
    assert kept.rewrites == ()
    assert {row.reason.code for row in found.rewrites if row.reason} == {"no-times"}


def test_what_draws_at_random_is_left_as_it_is(decide: Callable[..., None]) -> None:
    decide(prelu=8.0)
    proto = network()
    text = onnx.helper.make_node("RandomNormalLike", ["y"], ["r"], name="noise")
    add = onnx.helper.make_node("Add", ["y", "r"], ["z"], name="drawn")
    proto.graph.node.extend([text, add])
    proto.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, ["N", 16, "P", "Q"]))
    result = sepfactor.compress(proto, rank=4, scheme=["spatial"], refit=False, **DATA)
    assert result.plan.rewrites == ()


def test_a_plan_of_rewritings_that_nobody_knows_is_refused(decide: Callable[..., None]) -> None:
    decide(prelu=8.0)
    plan = sepfactor.compress(network(), rank=4, scheme=["spatial"], **DATA).plan
    with pytest.raises(PlanError, match="'from-elsewhere', which this sepfactor does not know"):
        sepfactor.apply(network(), plan.model_copy(update={"rewrites": ("from-elsewhere",)}), **DATA)


def test_reports_have_a_table_of_it(tmp_path: Path, decide: Callable[..., None]) -> None:
    decide(prelu=8.0)
    report = sepfactor.compress(network(), rank=4, scheme=["spatial"], **DATA).report
    page, summary = report_html(report), markdown(view(report))
    for shown in (page, summary):
        assert "fold-backward" in shown
        assert "Saves ms" in shown
    assert "tidying the graph alone" in report.headline


def test_plans_of_before_are_read(tmp_path: Path) -> None:
    """They name no rewriting, and none is done."""
    plan = sepfactor.plan(plain(), rank=4, scheme=["spatial"], refit=False)[1][0]
    old = json.loads(plan.to_json())
    del old["rewrites"]
    old["schema_version"] = "2.0"
    (tmp_path / "plan.json").write_text(json.dumps(old), encoding="utf-8")
    assert read_plan(tmp_path / "plan.json").rewrites == ()
