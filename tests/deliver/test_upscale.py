"""The whole way on a trained network: errors a user would see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sepfactor
from tests.timing import decide_times


@pytest.fixture(autouse=True)
def _always_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    decide_times(monkeypatch, 2.0)


def error_of(root: Path, **options: Any) -> tuple[float, sepfactor.Result]:
    models = root / "models"
    result = sepfactor.compress(
        models / "upscale2x.onnx",
        data=models / "upscale2x_calibration.npz",
        eval_data=models / "upscale2x_evaluation.npz",
        bench_seconds=0,
        limit=6,
        **options,
    )
    assert result.report.accuracy is not None
    (found,) = result.report.accuracy.outputs
    assert found.name == "upscaled"
    return found.relative_error, result


def test_a_fifth_of_each_layer_costs_little_of_the_picture(root: Path) -> None:
    error, result = error_of(root, max_error=0.2, scheme=["spatial-vertical", "depthwise-pointwise"])
    assert error < 0.03
    totals = result.report.totals
    assert totals.replaced >= 2
    assert totals.macs_after < 0.7 * totals.macs_before


def test_at_the_same_ranks_it_is_far_below_the_bare_weights(root: Path) -> None:
    plan: dict[str, Any] = {"scheme": "spatial-vertical", "rank": 32}
    fitted, result = error_of(root, **plan)
    bare, other = error_of(root, **plan, refit=False)
    assert fitted < 0.02
    assert fitted < 0.5 * bare
    ours, theirs = ([(row.scheme, row.rank) for row in r.report.layers] for r in (result, other))
    assert ours == theirs
