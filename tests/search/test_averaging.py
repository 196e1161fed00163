"""The average comes first where that is worth it, as options and plans have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import sepfactor
from sepfactor.errors import OptionError, PlanError
from sepfactor.plans.document import KEEP, read_plan
from sepfactor.search.averaging import relative_error
from tests.fit.small import feeds, off_by, outputs, smooth, weights
from tests.graph.build import model
from tests.timing import times_by_macs

NAME = "average-first"


@pytest.fixture(autouse=True)
def _faster_by_macs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    times_by_macs(monkeypatch)
    monkeypatch.chdir(tmp_path)


def classifier(between: str = "d = Relu (c)", size: str = "12, 12") -> onnx.ModelProto:
    """Scores of classes from the mean over the map of a 1×1 convolution ``c``, behind a 3×3 one ``a``."""
    return model(
        f"""
        a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
        b = Relu (a)
        c = Conv (b, w2, b2)
        {between}
        e = GlobalAveragePool (d)
        y = Flatten (e)
        """,
        f"float[N, 3, {size}] x",
        "float[N, 20] y",
        **weights(w1=(32, 3, 3, 3), w2=(20, 32, 1, 1)),
    )


def data(count: int = 16, seed: int = 0) -> dict[str, Any]:
    """With labels, so that the outputs are known to be scores of classes."""
    return {"data": {"x": smooth(count, seed=seed), "labels": np.arange(count) % 20}, "bench_seconds": 0}


def data_of(size: int) -> dict[str, Any]:
    return {"data": {"x": smooth(16, size=size)}, "bench_seconds": 0}


def row(result: Any, name: str = "c") -> Any:
    return next(layer for layer in result.report.layers if layer.output == name)


class TestByRule:
    def test_where_nothing_is_lost_it_is_always_moved(self) -> None:
        proto = classifier("d = Identity (c)")
        result = sepfactor.compress(proto, max_error=0, **data())
        assert (row(result).scheme, row(result).rank, row(result).exact) == (NAME, (), True)
        assert row(result).macs_after * 144 == row(result).macs_before
        assert row(result).parameters_after == row(result).parameters_before
        assert off_by(result.model, proto, feeds(4, seed=9)) < 1e-5

    def test_what_is_lost_is_within_the_error(self) -> None:
        proto, found = classifier(), {}
        for most in (0.0, 0.4, 10.0):
            result = sepfactor.compress(proto, max_error=most, scheme=NAME, refit=False, force=True, **data())
            found[most] = row(result)
            assert not found[most].replaced or found[most].output_error <= most
        assert not found[0.0].replaced
        assert "averaged first it is off by" in str(found[0.0].reason)
        assert found[10.0].macs_after <= (found[0.4].macs_after or 0) < found[0.4].macs_before

    def test_other_schemes_leave_it(self) -> None:
        result = sepfactor.compress(classifier(), max_error=1.0, scheme="channel", **data())
        assert row(result).scheme != NAME

    def test_a_layer_that_is_not_averaged_says_so(self) -> None:
        result = sepfactor.compress(classifier(), max_error=1.0, scheme=NAME, **data())
        assert "averaged" in str(row(result, "a").reason)

    def test_an_open_map_is_averaged_whole(self) -> None:
        result = sepfactor.compress(classifier(size="H, W"), max_error=10.0, scheme=NAME, **data())
        assert row(result).rank == ()
        for size in (12, 7):
            assert np.isfinite(outputs(result.model, feeds(2, seed=9, size=size))).all()

    def test_where_averaging_first_saves_nothing_other_forms_are_still_looked_at(self) -> None:
        result = sepfactor.compress(classifier("d = Identity (c)", size="1, 1"), max_error=10.0, **data_of(1))
        assert NAME not in str(row(result).reason)  # it is not tried, and drives nothing else out

    def test_a_run_that_gives_nan_averages_nothing(self) -> None:
        proto = classifier("n = Div (c, zero)  m = Mul (n, zero)  d = Relu (m)")
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0), "zero"))
        result = sepfactor.compress(proto, max_error=10.0, scheme=NAME, force=True, **data())
        assert not row(result).replaced

    def test_maps_of_many_sizes(self) -> None:
        proto = model(
            "c = Conv (x, w2, b2)  d = Relu (c)  y = AveragePool <kernel_shape=[2,2], strides=[2,2]> (d)",
            "float[N, 3, H, W] x",
            "float[N, 64, P, Q] y",
            **weights(w2=(64, 3, 1, 1)),
        )
        runs = [{"x": smooth(1, size=size)} for size in (8, 11, 14, 6)]
        result = sepfactor.compress(proto, max_error=10.0, scheme=NAME, data=runs, bench_seconds=0)
        assert row(result).rank == (2, 2)
        assert off_by(result.model, proto, feeds(4, seed=9)) == pytest.approx(
            row(result).output_error, rel=0.5
        )


class TestToABudget:
    def test_it_is_chosen_and_what_is_before_it_is_fitted_and_it_is_corrected(self) -> None:
        result = sepfactor.compress(classifier(), max_macs="25%", **data())
        assert row(result).scheme == NAME
        assert row(result, "a").replaced
        assert row(result).fitted_error < row(result).unfitted_error
        assert result.report.totals.macs_after <= 0.25 * result.report.totals.macs_before
        assert off_by(result.model, classifier(), feeds(16, seed=9)) < 0.6

    def test_the_plan_says_the_block_and_builds_the_same_bytes(self) -> None:
        first = sepfactor.compress(classifier(), "first.onnx", max_macs="25%", **data())
        Path("plan.json").write_text(first.plan.to_json())
        planned = next(layer for layer in read_plan(Path("plan.json")).layers if layer.output == "c")
        assert (planned.scheme, planned.rank) == (NAME, row(first).rank)
        sepfactor.apply(classifier(), "plan.json", "second.onnx", **data())
        assert Path("first.onnx").read_bytes() == Path("second.onnx").read_bytes()

    @pytest.mark.parametrize(("block", "fewer"), [([2, 2], 4), ([5, 12], 48)])
    def test_another_block_can_be_written_into_the_plan(self, block: list[int], fewer: int) -> None:
        plan = json.loads(sepfactor.compress(classifier(), max_macs="25%", **data()).plan.to_json())
        layer = next(layer for layer in plan["layers"] if layer["output"] == "c")
        layer["rank"] = block
        Path("plan.json").write_text(json.dumps(plan))
        result = sepfactor.apply(classifier(), "plan.json", **data())
        assert row(result).macs_after * fewer == row(result).macs_before

    @pytest.mark.parametrize(("output", "rank"), [("c", [5, 13]), ("c", [2]), ("a", [])])
    def test_a_plan_that_averages_what_cannot_be_is_refused(self, output: str, rank: list[int]) -> None:
        plan = json.loads(sepfactor.compress(classifier(), max_macs="25%", **data()).plan.to_json())
        layer = next(layer for layer in plan["layers"] if layer["output"] == output)
        layer |= {"scheme": NAME, "rank": rank}
        Path("plan.json").write_text(json.dumps(plan))
        with pytest.raises(PlanError, match=r"averages what '.*Set its scheme to keep"):
            sepfactor.apply(classifier(), "plan.json", **data())

    def test_a_plan_says_what_is_done_and_nothing_else_is_asked(self) -> None:
        first = sepfactor.compress(classifier(), "first.onnx", max_macs="25%", **data())
        with pytest.raises(OptionError, match="for choosing a plan"):
            sepfactor.compress(classifier(), plan=first.plan, scheme="spatial", **data())
        second = sepfactor.compress(classifier(), "second.onnx", plan=first.plan, **data())
        assert row(second).scheme == NAME
        assert Path("first.onnx").read_bytes() == Path("second.onnx").read_bytes()

    def test_no_parameter_is_counted_that_is_not_there(self) -> None:
        result = sepfactor.compress(classifier(), max_params="60%", max_macs="40%", **data())
        totals = result.report.totals
        share = 100 * totals.parameters_after / totals.parameters_before
        assert result.report.budget is not None
        assert f"which is {share:.1f}%" in result.report.budget.verdict.text.split(",")[-1]

    def test_it_can_be_left_out(self) -> None:
        plan = sepfactor.compress(classifier(), max_macs="50%", ignore=["c"], **data()).plan
        assert next(layer.scheme for layer in plan.layers if layer.output == "c") == KEEP


def test_the_error_is_relative_to_the_spread_of_each_channel() -> None:
    answers = np.random.default_rng(0).standard_normal((3, 200)) * np.array([[1], [2], [3]])
    moved = answers + 10 * np.arange(3)[:, None]
    off = moved + 0.1 * np.sqrt(14 / 3)
    assert relative_error(moved, off) == pytest.approx(0.1, rel=0.1)
    assert relative_error(moved, moved) == 0
    for bad in (np.nan, np.inf):
        spoilt = moved.copy()
        spoilt[0, 0] = bad
        assert relative_error(spoilt, moved) == relative_error(moved, spoilt) == np.inf
    assert relative_error(np.zeros((2, 1)), np.zeros((2, 1))) == 0
    assert relative_error(np.full((2, 1), 2.0), np.full((2, 1), 3.0)) == pytest.approx(0.5)
