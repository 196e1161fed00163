"""What compress says of outputs of every kind is what it measured of them, or that it cannot know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import sepfactor
from sepfactor.graph.load import load
from sepfactor.results import Report
from tests.fit.small import residual_network, smooth, weights
from tests.graph.build import model
from tests.timing import fit_briefly, times_by_macs

COUNT = 32
DATA: dict[str, Any] = {"data": {"x": smooth(COUNT)}, "bench_seconds": 0}


@pytest.fixture(autouse=True)
def _always_faster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    times_by_macs(monkeypatch)
    fit_briefly(monkeypatch)
    monkeypatch.chdir(tmp_path)


def network(end: str, outputs: str, **more: Any) -> onnx.ModelProto:
    """Two convolutions, ``a`` and ``f``, and what is made of their four maps."""
    values = weights(w1=(16, 3, 3, 3), w2=(4, 16, 3, 3))
    same = "<pads = [1, 1, 1, 1]>"
    body = f"a = Conv {same} (x, w1, b1)\n r = Relu (a)\n f = Conv {same} (r, w2, b2)\n {end}"
    return model(body, "float[N, 3, 12, 12] x", outputs, **values, **more)


LABELS = network("y = ArgMax <axis = 1, keepdims = 0> (f)", "int64[N, 12, 12] y")
BYTES = network(
    "g = Mul (f, size)\n h = Add (g, grey)\n k = Clip (h, low, high)\n y = Cast <to = 2> (k)",
    "uint8[N, 4, 12, 12] y",
    size=np.float32(40),
    grey=np.float32(128),
    low=np.float32(0),
    high=np.float32(255),
)
BOXES = network(
    "s = Sigmoid (f)\n g = Mul (f, size)\n h = Add (g, offset)\n y = Concat <axis = 1> (h, s)",
    "float[N, 8, 12, 12] y",
    size=np.float32(50),
    offset=np.float32(320),
)
POINTS = network(
    "p = GlobalAveragePool (f)\n q = Flatten (p)\n y = Add (q, mean)",
    "float[N, 4] y",
    mean=np.float32([1, 20, 3, 4]),
)


def compressed(proto: onnx.ModelProto, output: str | None = None, **options: Any) -> sepfactor.Result:
    return sepfactor.compress(proto, output, **{**DATA, **options})


def said(report: Report) -> str:
    assert report.budget is not None
    return report.budget.verdict.text


@pytest.mark.parametrize("proto", [LABELS, BYTES, BOXES, POINTS], ids=["labels", "bytes", "boxes", "points"])
def test_what_is_kept_is_what_was_measured(proto: onnx.ModelProto) -> None:
    """The same figures on the same held-out data, by the search and by what compares the file."""
    report = compressed(proto).report
    assert "inf" not in said(report)
    if not report.totals.replaced:
        return
    assert report.budget is not None
    assert report.accuracy is not None
    quality, (output,) = report.budget.quality, report.accuracy.outputs
    assert quality is not None
    if proto is LABELS:
        assert quality.kind == "agreement"
        assert output.agreement == pytest.approx(quality.result)
        assert quality.result >= 0.99
    else:
        assert quality.kind == "snr"
        assert output.worst_snr_db == pytest.approx(quality.result, abs=1e-3)
        assert output.worst_snr_db >= 35


def test_scores_beside_boxes_are_kept_by_themselves() -> None:
    loose = compressed(BOXES, min_snr=20.0).report
    assert loose.accuracy is not None
    (output,) = loose.accuracy.outputs
    assert 20 <= output.worst_snr_db < output.snr_db


def test_points_are_no_classes() -> None:
    """The largest of them is the same one for every input."""
    report = compressed(POINTS).report
    assert any("--task classifier" in note for note in report.notes)
    assert [task.task for task in report.tasks] == ["dense"]
    assert "SNR" in said(report) or not report.totals.replaced


class TestTooFew:
    @pytest.mark.parametrize("count", [1, 4])
    def test_so_few_show_nothing(self, count: int) -> None:
        few = {"x": smooth(count)}
        result = compressed(residual_network(), "out.onnx", min_snr=5.0, data=few)
        assert not result.is_met
        assert "not shown on so few" in said(result.report)
        assert ("held-out" in said(result.report)) == (count > 1)
        assert not Path("out.onnx").exists()

    def test_force_writes_it_all_the_same(self) -> None:
        few = {"x": smooth(1)}
        result = compressed(residual_network(), "out.onnx", min_snr=5.0, data=few, force=True)
        assert not result.is_met
        assert Path("out.onnx").exists()


class TestEvaluationData:
    def test_it_has_the_last_word(self) -> None:
        """Noise is not what the factors were fitted to: what is handed out keeps the budget there too."""
        noise = {"x": np.random.default_rng(3).standard_normal((12, 3, 12, 12)).astype(np.float32)}
        alone = compressed(residual_network(), min_snr=20.0)
        there = sepfactor.compare(residual_network(), alone.model, data=noise).accuracy.outputs[0]
        assert alone.report.totals.replaced
        assert there.worst_snr_db < 20
        report = compressed(residual_network(), "out.onnx", min_snr=20.0, eval_data=noise).report
        if not report.totals.replaced:
            assert not Path("out.onnx").exists()
            return
        assert report.budget is not None
        assert report.budget.quality is not None
        assert report.budget.quality.judged_on == "eval-data"
        assert report.budget.quality.pessimistic >= 20
        assert "evaluation" in said(report)

    def test_where_no_plan_keeps_it_there_none_is_written(self) -> None:
        noise = np.random.default_rng(3).standard_normal((12, 3, 12, 12)).astype(np.float32)
        result = compressed(
            residual_network(), "out.onnx", min_snr=20.0, max_macs="30%", eval_data={"x": noise}
        )
        assert not result.is_met
        assert not Path("out.onnx").exists()

    def test_of_the_same_kind_it_agrees(self) -> None:
        more = {"x": smooth(16, seed=9)}
        assert compressed(residual_network(), min_snr=12.0, eval_data=more).is_met


def test_what_draws_at_random_is_no_loss() -> None:
    """The same rank, with noise as large as the answer added at the end, and without."""
    noisy = network("n = RandomNormalLike (f)\n y = Add (f, n)", "float[N, 4, 12, 12] y")
    plain = network("y = Identity (f)", "float[N, 4, 12, 12] y")
    results = [compressed(one, rank=8) for one in (noisy, plain)]
    errors = []
    for result in results:
        assert result.report.accuracy is not None
        errors.append(result.report.accuracy.outputs[0].max_abs)
    assert errors[0] == pytest.approx(errors[1], rel=0.01)
    assert any("draws at random" in note for note in results[0].report.notes)
    assert all("seed" not in node.attributes for node in load(results[0].model).model.graph)


def test_the_second_of_two_heads_counts() -> None:
    """The first one says a brightness, of which nothing can be lost; the second one needs the layers."""
    proto = network(
        "m = GlobalAveragePool (x)\n l = Flatten (m)\n one = MatMul (l, w3)\n"
        "p = GlobalAveragePool (f)\n q = Flatten (p)\n k = Sub (q, mean)\n two = Mul (k, size)",
        "float[N, 3] one, float[N, 4] two",
        w3=(100 * np.eye(3) - 30).astype(np.float32),
        mean=np.float32([0.0, 0.0, 0.0, 0.0]),
        size=np.float32(40),
    )
    result = compressed(proto, max_drop="1%")
    if result.report.accuracy is not None:
        assert all(output.agreement >= 0.9 for output in result.report.accuracy.outputs if output.agreement)
