"""Labels and targets on their way from the options to the report."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sepfactor.deliver.describe import describe_data, describe_options
from sepfactor.deliver.verify import _notes
from sepfactor.graph.load import load
from sepfactor.measure import OnnxRuntime, compare_sessions
from sepfactor.options import Options
from sepfactor.results import Accuracy
from sepfactor.study.splits import open_splits
from tests.measure.models import model

RUNTIME = OnnxRuntime()
X = np.random.default_rng(0).random((60, 1, 4, 4)).astype(np.float32)
SCORES = model("y = Flatten(x)", "float[N,1,4,4] x", "float[N,16] y")


def gathered(network: bytes, **options: Any) -> Any:
    return open_splits(load(network), Options(**options), RUNTIME)


def judged(network: bytes, feeds: Any) -> Accuracy:
    session = RUNTIME.open(network)
    return compare_sessions(session, session, feeds, labels=feeds.labels, targets=feeds.targets)


@pytest.mark.parametrize("batch", [1, 4])
def test_targets_belong_to_what_is_judged_on(batch: int) -> None:
    size = "N" if batch == 1 else batch
    network = model("y = Identity(x)", f"float[{size},1,4,4] x", f"float[{size},1,4,4] y")
    targets = X + np.float32(0.1)
    found_in = gathered(network, data={"x": X[:8]}, eval_data={"x": X}, targets=targets, limit=6)
    assert found_in.fit.targets is None
    found = judged(network, found_in.judged_on).outputs[0].target
    peak = np.ptp(found_in.judged_on.targets)
    assert found.reference_psnr_db == pytest.approx(20 * np.log10(peak / 0.1), rel=1e-4)
    assert describe_data(found_in, Options()).targets is True
    assert describe_data(replace(found_in, judged_on=found_in.fit), Options()).targets is False
    assert describe_options(Options(targets=targets))["targets"] == "ndarray"
    assert gathered(network, data={"x": X}, targets=targets).judged_on.has_targets


@pytest.mark.parametrize(("shift", "noted"), [(0, False), (1, True)])
def test_a_baseline_at_chance_is_noted(shift: int, noted: bool) -> None:
    labels = (X.reshape(60, 16).argmax(axis=1) + shift) % 16
    data = gathered(SCORES, data={"x": X}, eval_data={"x": X}, labels=labels)
    study = SimpleNamespace(
        splits=data,
        options=Options(),
        loaded=SimpleNamespace(notes=()),
        sites=(),
        environment=OnnxRuntime().environment,
    )
    written: Any = SimpleNamespace(
        study=study,
        chosen=SimpleNamespace(given=None, outcome=None),
        built=SimpleNamespace(is_int8=False, plan=SimpleNamespace(layers=())),
    )
    notes = _notes(written, judged(SCORES, data.judged_on))
    assert any("The original itself gets only 0.0 % right" in note for note in notes) is noted
    assert not _notes(written, None)
