from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sepfactor.errors import DataError, ModelError, OptionError
from sepfactor.measure import OnnxRuntime, compare_sessions
from sepfactor.measure.proportions import wilson
from sepfactor.results import Accuracy
from tests.measure.models import model, scaled

RUNTIME = OnnxRuntime()
Feed = dict[str, np.ndarray[Any, Any]]


def feeds(*batches: int, size: int = 4) -> list[Feed]:
    rng = np.random.default_rng(0)
    return [
        {
            "x": rng.standard_normal((n, 6)).astype(np.float32),
            "image": rng.random((n, 1, size, size)).astype(np.float32),
        }
        for n in batches
    ]


def best(data: Sequence[Feed]) -> np.ndarray[Any, Any]:
    return np.concatenate([feed["x"].argmax(axis=1) for feed in data])


def compared(first: float, second: float, data: Sequence[Feed], *args: Any, **more: Any) -> Accuracy:
    sessions = [RUNTIME.open(scaled(factor)) for factor in (first, second)]
    return compare_sessions(*sessions, data, *args, **more)


def test_a_model_against_itself() -> None:
    data = feeds(1, 3, 2)
    found = compared(1.0, 1.0, data, best(data))
    assert [output.name for output in found.outputs] == ["map", "scores", "best"]
    assert all(output.relative_error == 0 for output in found.outputs)
    _, scores, integers = found.outputs
    assert scores.kl == 0
    assert scores.agreement == scores.top1.reference.value == integers.agreement == 1
    assert (found.samples, found.with_labels, found.classifier) == (6, 6, "scores")
    assert json.loads(found.model_dump_json())["samples"] == 6


def test_a_planted_error_and_a_planted_drop() -> None:
    data = feeds(4, 4)
    found = compared(1.0, -0.5, data, best(data))
    pixels, scores, integers = found.outputs
    assert pixels.relative_error == pytest.approx(1.5)
    assert pixels.agreement is pixels.top1 is None
    assert scores.top1.drop == 1.0
    assert integers.agreement == 0.0


def test_outputs_are_matched_by_name() -> None:
    text = "a = Neg(x)  b = Abs(x)"
    one, other = (
        RUNTIME.open(model(text, "float[N,3,2] x", outs))
        for outs in ("float[N,3,2] a, float[N,3,2] b", "float[N,3,2] b, float[N,3,2] a")
    )
    data = [{"x": np.ones((1, 3, 2), np.float32)}]
    assert all(out.relative_error == 0 for out in compare_sessions(one, other, data).outputs)
    lacking = RUNTIME.open(model("a = Neg(x)", "float[N,3,2] x", "float[N,3,2] a"))
    with pytest.raises(ModelError, match="'b'"):
        compare_sessions(one, lacking, data)


def test_labels_may_come_run_by_run_and_be_unknown() -> None:
    data = feeds(2, 2, 2)
    labels = best(data)
    labels[3] = -1
    flat, by_run = (compared(1.0, 0.7, data, lab) for lab in (labels, labels.reshape(3, 2)))
    assert flat == by_run
    assert (flat.samples, flat.with_labels) == (6, 5)
    assert flat.outputs[1].top1.candidate == wilson(5, 5)


def test_the_classifier_can_be_named() -> None:
    data = feeds(2)
    assert compared(1.0, 1.0, data, best(data), classifier_output="scores").classifier == "scores"
    with pytest.raises(OptionError, match=r"'nothing'.*scores \(2, 6\)"):
        compared(1.0, 1.0, data, best(data), classifier_output="nothing")
    with pytest.raises(DataError, match="'best'"):
        compared(1.0, 1.0, data, best(data), classifier_output="best")


@pytest.mark.parametrize("leading", [(), (1,)])
def test_targets(leading: tuple[int, ...]) -> None:
    data = feeds(2, 1)
    truth = [image.reshape(*leading, 1, 4, 4) for feed in data for image in feed["image"]]
    found = compared(0.9, 0.8, data, targets=truth)
    target = found.outputs[0].target
    assert target.peak == 1.0
    assert target.drop_db == pytest.approx(20 * np.log10(2), rel=1e-4)
    assert found.outputs[1].target is None
    assert found.with_labels == 0


@pytest.mark.parametrize("as_list", [False, True])
def test_targets_run_by_run(as_list: bool) -> None:
    data = feeds(3, 3)
    truth = np.stack([feed["image"] for feed in data])
    by_run = compared(0.9, 0.8, data, targets=list(truth) if as_list else truth)
    assert by_run == compared(0.9, 0.8, data, targets=truth.reshape(6, 1, 4, 4))
    assert by_run.outputs[0].target.drop_db == pytest.approx(20 * np.log10(2), rel=1e-4)
    with pytest.raises(DataError, match="3 targets for at least 6 samples"):
        compared(1.0, 1.0, data, targets=truth[:1])


@pytest.mark.parametrize(
    ("samples", "right", "flagged"),
    [(60, 0, True), (60, 2, True), (60, 3, False), (40, 0, False), (60, 60, False)],
)
def test_a_baseline_at_chance(samples: int, right: int, flagged: bool) -> None:
    data = feeds(samples)
    labels = (best(data) + 1) % 6
    labels[:right] = best(data)[:right]
    found = compared(1.0, 1.0, data, labels).baseline_at_chance
    assert found == (right / samples if flagged else None)


def test_chance_falls_with_the_number_of_classes() -> None:
    session = RUNTIME.open(model("y = Identity(x)", "float[N,500] x", "float[N,500] y"))
    scores = np.random.default_rng(0).random((1000, 500)).astype(np.float32)
    labels = (scores.argmax(axis=1) + 1) % 500
    for right, flagged in ((3, True), (4, False), (30, False)):
        labels[:right] = scores[:right].argmax(axis=1)
        found = compare_sessions(session, session, [{"x": scores}], labels).baseline_at_chance
        assert (found is not None) is flagged
    assert compare_sessions(session, session, [{"x": scores}]).baseline_at_chance is None


def test_targets_of_several_sizes() -> None:
    data = feeds(1, size=4) + feeds(1, size=6)
    found = compared(1.0, 1.0, data, targets=[feed["image"] for feed in data])
    assert found.outputs[0].target.drop_db == 0.0
    assert found.outputs[0].shape == (1, None, None)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"labels": np.zeros(2, int)}, "2 labels"),
        ({"labels": np.zeros(4, int)}, "4 labels"),
        ({"labels": np.zeros(3)}, "float64"),
        ({"labels": np.array([0, 1, 6])}, "0 to 5"),
        ({"targets": np.zeros((2, 1, 4, 4))}, "2 targets"),
        ({"targets": np.zeros((4, 1, 4, 4))}, "4 targets"),
        ({"targets": np.zeros((3, 1, 5, 5))}, "fit no floating output"),
        ({"targets": [np.zeros((1, 4, 4)), np.zeros((1, 4, 5)), np.zeros((1, 4, 4))]}, "1, 4, 5"),
    ],
)
def test_truth_that_does_not_fit(more: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        compared(1.0, 1.0, feeds(2, 1), **more)


def test_labels_without_class_scores() -> None:
    session = RUNTIME.open(model("y = Relu(x)", "float[N,3,4] x", "float[N,3,4] y"))
    data = [{"x": np.ones((1, 3, 4), np.float32)}]
    with pytest.raises(DataError, match="Leave the labels out"):
        compare_sessions(session, session, data, np.zeros(1, int))


def test_no_data() -> None:
    with pytest.raises(DataError, match="no data"):
        compared(1.0, 1.0, [])


def test_progress_counts_runs() -> None:
    seen: list[tuple[int, int]] = []
    compared(1.0, 1.0, feeds(1, 1, 1), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
