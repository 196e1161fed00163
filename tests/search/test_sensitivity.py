"""What a layer's errors do to the output: the same by what lies behind the layer as by whole networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import sepfactor
from sepfactor.graph.survey import Site
from sepfactor.journal import Journal
from sepfactor.measure.quality import Judge
from sepfactor.search import to_budget
from sepfactor.search.each_alone import EachAlone
from sepfactor.search.sensitivity import measure_sensitivity
from sepfactor.search.settings import SearchSettings
from sepfactor.search.space import SearchSpace
from sepfactor.study.study import Study
from tests.fit.small import residual_network, smooth, weights
from tests.graph.build import model
from tests.timing import fit_briefly, times_by_macs

SAME = "<pads = [1, 1, 1, 1]>"

NETWORKS = {
    "a sum around a layer": residual_network(),
    "the last layer is the output": model(
        f"a = Conv {SAME} (x, w1, b1)  r = Relu (a)  y = Conv {SAME} (r, w2, b2)",
        "float[N, 3, H, W] x",
        "float[N, 4, H, W] y",
        **weights(w1=(16, 3, 3, 3), w2=(4, 16, 3, 3)),
    ),
    "an output before, and one that is read": model(
        f"""a = Conv {SAME} (x, w1, b1)  r = Relu (a)  b = Conv {SAME} (r, w2, b2)  s = Relu (b)
            z = Conv {SAME} (s, w3, b3)""",
        "float[N, 3, H, W] x",
        "float[N, 16, H, W] r, float[N, 16, H, W] b, float[N, 4, H, W] z",
        **weights(w1=(16, 3, 3, 3), w2=(16, 16, 3, 3), w3=(4, 16, 3, 3)),
    ),
    "a shape read again, and an input": model(
        f"""a = Conv {SAME} (x, w1, b1)  size = Shape (x)  d = Add (a, x)
            b = Conv {SAME} (d, w2, b2)  e = Reshape (b, size)  y = Mul (e, x)""",
        "float[N, 16, H, W] x",
        "float[N, 16, H, W] y",
        **weights(w1=(16, 16, 3, 3), w2=(16, 16, 3, 3)),
    ),
}


@pytest.fixture(autouse=True)
def _decided(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    times_by_macs(monkeypatch)
    fit_briefly(monkeypatch)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_either_way_says_the_same(network: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Study, SearchSpace, Judge, SearchSettings]] = []

    def remember(*arguments: Any) -> SearchSpace:
        asked.append(arguments)
        return measure_sensitivity(*arguments)

    monkeypatch.setattr(to_budget, "measure_sensitivity", remember)
    channels = network.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    data = np.tile(smooth(16), (1, -(-channels // 3), 1, 1))[:, :channels]
    sepfactor.plan(network, data={"x": data}, min_snr=15.0, bench_seconds=0)
    ((study, *others),) = asked
    arguments = (replace(study, journal=Journal()), *others)  # which remembers nothing of the first time
    sites = []
    from_here_on = EachAlone._from_here_on

    def noted(self: EachAlone, candidates: Any, site: Site) -> Any:
        sites.append(site.output)
        return from_here_on(self, candidates, site)

    monkeypatch.setattr(EachAlone, "_from_here_on", noted)
    onward = measure_sensitivity(*arguments)
    tried = [layer.evidence.site.output for layer in onward.layers if layer.candidates]
    assert sites == tried != []
    monkeypatch.setattr(EachAlone, "_changes_its_answer_alone", lambda *_: False)
    whole = measure_sensitivity(*arguments)
    assert sites == tried
    for one, other in zip(onward.layers, whole.layers, strict=True):
        for candidate in one.candidates:
            expected = other.losses.of(candidate)
            assert one.losses.of(candidate) == pytest.approx(expected, rel=1e-3, abs=1e-9)
    assert any(layer.losses.of(c) > 0 for layer in whole.layers for c in layer.candidates)
