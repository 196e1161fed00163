"""The claim the project stands on, in small: what bare weights destroy, fitted factors keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from sepfactor.factor import Factorization, select_schemes
from sepfactor.fit.layer_fit import FitTask
from sepfactor.fit.output_metrics import output_metrics
from sepfactor.fit.sequential import fit
from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.graph.survey import survey
from sepfactor.measure import OnnxRuntime
from sepfactor.progress import silent

Image = pytest.importorskip("PIL.Image")
RANKS = {"11": (32,), "13": (16,)}
"""Of the two 3×3 layers in the middle, by output: 2.4 times as fast."""
BORDER = 8


def luma(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The input ``(1, 1, 224, 224)`` and the ``(672, 672)`` picture to be found."""
    y = Image.open(path).convert("RGB").convert("YCbCr").getchannel(0)
    high = y.resize((672, 672), Image.Resampling.NEAREST)
    low = high.resize((224, 224), Image.Resampling.BICUBIC)
    return {"input": np.asarray(low, np.float32)[None, None] / 255}, np.asarray(high, np.float32) / 255


def mean_psnr(model: bytes, pairs: list[tuple[dict[str, np.ndarray], np.ndarray]]) -> float:
    session, inside = OnnxRuntime().open(model), slice(BORDER, -BORDER)
    found = []
    for feed, high in pairs:
        wrong = (np.clip(session.run(feed)[0][0, 0], 0, 1) - high)[inside, inside]
        found.append(-10 * np.log10(np.mean(np.square(wrong, dtype=np.float64))))
    return float(np.mean(found))


def as_bytes(model: ir.Model) -> bytes:
    return bytes(ir.to_proto(model).SerializeToString())


@pytest.mark.shared
def test_espcn_at_ranks_that_ruin_it_unfitted(shared_dir: Path) -> None:
    images = shared_dir / "data" / "imagenet1000"
    seen = [luma(path)[0] for path in sorted((images / "calibration").iterdir())[:6]]
    pairs = [luma(path) for path in sorted((images / "evaluation").iterdir())[:3]]
    file = shared_dir / "models" / "espcn_super_resolution_10.onnx"
    prepared = prepare(load(file).model)
    (scheme,) = select_schemes(["spatial-vertical"])
    bare, tasks, sites = [], [], survey(prepared)
    metrics = output_metrics(prepared, sites)
    for site in sites:
        rank = RANKS.get(site.output)
        metric = metrics.get(site.output)
        tasks.append(FitTask(site) if rank is None else FitTask(site, (scheme.name,), rank, metric=metric))
        if rank is not None and site.stage is not None:
            factors = Factorization(scheme.decompose(site.stage).build(rank), site.bias)
            bare.append(Replacement(site, factors, {}))
    assert len(bare) == 2
    found = fit(prepared, tasks, seen, OnnxRuntime(), 0, silent)
    fitted = [
        Replacement(task.site, one.factorization, {})
        for task, one in zip(tasks, found, strict=True)
        if one is not None
    ]
    original, ruined, kept = (
        mean_psnr(as_bytes(model), pairs)
        for model in (prepared, rebuild(prepared, bare).model, rebuild(prepared, fitted).model)
    )
    assert original > 25
    assert ruined < original - 5
    assert kept > original - 0.1
