from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from sepfactor.errors import DataError
from sepfactor.measure import OutputMeter
from sepfactor.measure.proportions import wilson
from sepfactor.results import OutputDifference

Array = np.ndarray[Any, Any]


def compare(reference: object, candidate: object, **more: Any) -> OutputDifference:
    meter = OutputMeter("y")
    meter.update(_floats(reference), _floats(candidate), **more)
    return meter.result()


def _floats(values: object) -> Array:
    return values if isinstance(values, np.ndarray) else np.array(values, np.float32)


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_hand_computed_errors() -> None:
    found = compare([[[3.0, 0.0, -4.0]]], [[[3.0, 1.0, -2.0]]])
    assert found.relative_error == pytest.approx(math.sqrt(5) / 5)
    assert found.snr_db == pytest.approx(10 * math.log10(25 / 5))
    assert found.psnr_db == pytest.approx(10 * math.log10(49 / (5 / 3)))  # peak 3 − (−4)
    assert found.cosine == pytest.approx(17 / math.sqrt(25 * 14))
    assert found.max_abs == 2.0
    assert (found.shape, found.samples, found.name) == ((1, 3), 1, "y")
    assert found.agreement is found.kl is found.top1 is found.top5 is found.target is None


def test_equal_outputs() -> None:
    found = compare(normal(0, 2, 3, 4, 4), normal(0, 2, 3, 4, 4))
    assert (found.relative_error, found.max_abs, found.cosine) == (0.0, 0.0, 1.0)
    assert found.snr_db == found.psnr_db == math.inf


def test_silence() -> None:
    equal, noise = (
        compare(np.zeros((1, 2, 2)), np.zeros((1, 2, 2))),
        compare(np.zeros((1, 2, 2)), np.ones((1, 2, 2))),
    )
    assert (equal.relative_error, equal.snr_db, equal.cosine) == (0.0, math.inf, 1.0)
    assert (noise.relative_error, noise.snr_db, noise.cosine) == (math.inf, -math.inf, 0.0)


@pytest.mark.parametrize("factor", [0.5, 1.1, -1.0])
def test_a_scaled_output(factor: float) -> None:
    a = normal(0, 3, 2, 5, 5).astype(np.float64)
    found = compare(a, factor * a)
    assert found.relative_error == pytest.approx(abs(1 - factor))
    assert found.snr_db == pytest.approx(-20 * math.log10(abs(1 - factor)))
    assert found.cosine == pytest.approx(math.copysign(1, factor))


@pytest.mark.parametrize("shape", [(6, 4), (6, 7), (6, 3, 5, 5), (6, 4, 1, 1), (6,)])
def test_streaming_equals_one_shot(shape: tuple[int, ...]) -> None:
    a, b = normal(0, *shape), normal(1, *shape)
    scores = len(shape) > 1 and set(shape[2:]) <= {1}
    labels = np.arange(6) % shape[1] if scores else None
    target = normal(2, *shape)

    def measured(cuts: list[int]) -> dict[str, Any]:
        meter = OutputMeter("y")
        for run in np.split(np.arange(6), cuts):
            own = None if labels is None else labels[run]
            meter.update(a[run], b[run], labels=own, target=target[run])
        return meter.result().model_dump(mode="json")

    assert flat(measured([1, 2, 5])) == pytest.approx(flat(measured([])), rel=1e-12)


def flat(values: Any, prefix: str = "") -> dict[str, float]:
    """Numbers of nested mappings by path, for pytest.approx."""
    if isinstance(values, dict):
        items = [flat(value, f"{prefix}/{key}") for key, value in values.items()]
        return {path: number for item in items for path, number in item.items()}
    return {prefix: values} if isinstance(values, int | float) else {prefix + str(values): 0.0}


def test_more_noise_is_never_better() -> None:
    a, noise = normal(0, 4, 10), normal(1, 4, 10)
    found = [compare(a, a + scale * noise) for scale in (0.0, 0.01, 0.1, 1.0)]
    errors = [f.relative_error for f in found]
    assert errors == sorted(errors)
    kls = [f.kl for f in found]
    assert kls[0] == 0.0
    assert kls == sorted(kls)


def test_class_scores_by_hand() -> None:
    found = compare([[0.0, math.log(3.0)], [2.0, 1.0]], [[0.0, 0.0], [1.0, 2.0]])
    p, q = 0.75, math.e / (1 + math.e)
    first = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    second = (2 * q - 1) * 1.0  # log-odds +1 against −1
    assert found.kl == pytest.approx((first + second) / 2)
    assert found.agreement == 0.0  # of equal scores the first wins


def test_probabilities_are_taken_as_they_are() -> None:
    p, q = [[0.5, 0.25, 0.25]], [[0.25, 0.5, 0.25]]
    assert compare(p, q).kl == pytest.approx(0.5 * math.log(2) - 0.25 * math.log(2))
    logits = [compare(np.log(_floats(a)), np.log(_floats(b))).kl for a, b in ((p, q), (q, p))]
    assert logits == pytest.approx([0.25 * math.log(2)] * 2)


def test_certainty_that_underflows_stays_finite() -> None:
    found = compare([[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    assert 80 < found.kl < 100
    assert compare([[1.0, 0.0]], [[1.0, 0.0]]).kl == 0.0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_kl_is_not_negative_and_zero_for_equals(seed: int, scale: float) -> None:
    a, b = scale * normal(seed, 20, 9), scale * normal(seed + 100, 20, 9)
    assert compare(a, b).kl >= 0
    assert compare(a, a).kl == 0
    assert compare(a, a + 3).kl == pytest.approx(0, abs=1e-5)  # softmax does not see an offset


def test_masked_classes_are_no_trouble() -> None:
    scores = np.array([[1.0, -np.inf, 0.0]], np.float32)
    found = compare(scores, scores)
    assert (found.kl, found.agreement, found.relative_error, found.nonfinite) == (0.0, 1.0, 0.0, 0)


@pytest.mark.parametrize(
    ("shape", "are_scores"),
    [((5, 2), True), ((5, 10, 1, 1), True), ((5, 1), False), ((5, 3, 2), False), ((5,), False), ((), False)],
)
def test_what_looks_like_class_scores(shape: tuple[int, ...], are_scores: bool) -> None:
    found = compare(normal(0, *shape), normal(0, *shape))
    assert (found.agreement is not None) is are_scores
    assert (found.kl is not None) is are_scores


def test_labels_by_hand() -> None:
    reference = np.eye(7, dtype=np.float32)[[0, 1, 2, 3]]
    candidate = reference[:, ::-1] + 0.5 * reference  # class c becomes 6 − c, except that c is second
    found = compare(reference, candidate, labels=np.array([0, 1, 2, 4]))
    assert found.top1.reference == wilson(3, 4)
    assert found.top1.candidate == wilson(0, 4)
    assert (found.top1.lost, found.top1.gained, found.top1.drop) == (3, 0, 0.75)
    assert found.top5.candidate.value == 0.75 + 0.25  # 4 is the last of the five
    assert found.agreement == 0.25


def test_unknown_labels_are_left_out() -> None:
    scores = np.eye(3, dtype=np.float32)
    found = compare(scores, scores, labels=np.array([0, -1, 0]))
    assert found.top1.reference == wilson(1, 2)
    assert found.top5 is None  # of three classes all are among the five best
    assert compare(scores, scores, labels=np.full(3, -1)).top1 is None


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 3], [0, -2, 1], [[0], [1], [2]]])
def test_labels_that_do_not_fit(labels: object) -> None:
    with pytest.raises(DataError, match="0 to 2"):
        compare(normal(0, 3, 3), normal(0, 3, 3), labels=np.array(labels))


def test_labels_for_a_map() -> None:
    with pytest.raises(DataError, match="class scores"):
        compare(normal(0, 3, 3, 4), normal(0, 3, 3, 4), labels=np.array([0, 1, 2]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_candidate_that_breaks_down_is_not_flattered(bad: float) -> None:
    a = np.eye(4, dtype=np.float32)
    b = a.copy()
    b[0, :] = bad
    found = compare(a, b, labels=np.arange(4))
    assert found.nonfinite == 4
    assert found.relative_error == found.max_abs == math.inf
    assert found.snr_db == found.psnr_db == -math.inf
    assert math.isnan(found.cosine)
    assert found.top1.reference.value == 1.0
    assert found.kl == 0.0  # of the three rows that can be compared
    if math.isnan(bad):
        assert found.agreement == found.top1.candidate.value == 0.75


def test_what_the_reference_lost_itself_is_left_out() -> None:
    a = np.array([[[1.0, np.nan, np.inf]]], np.float32)
    found = compare(a, np.array([[[1.0, 7.0, np.nan]]], np.float32))
    assert (found.nonfinite, found.relative_error) == (0, 0.0)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])),
        (np.array([[True, False], [True, True]]), np.array([[True, False], [True, False]])),
        (np.array(["a", "b", "c", "d"], object), np.array(["a", "b", "c", "x"], object)),
    ],
)
def test_other_types_agree_by_element(a: Array, b: Array) -> None:
    found = compare(a, b)
    assert found.agreement == 0.75
    assert found.kl is None
    if a.dtype.kind == "i":
        assert found.relative_error == pytest.approx(1 / math.sqrt(30))
    if a.dtype.kind == "O":
        assert math.isnan(found.relative_error)


def test_runs_of_other_shapes_are_counted() -> None:
    meter = OutputMeter("boxes")
    meter.update(normal(0, 1, 3, 4), normal(0, 1, 3, 4))
    meter.update(normal(0, 1, 5, 4), normal(0, 1, 4, 4))
    found = meter.result()
    assert (found.mismatched, found.samples, found.shape) == (1, 2, (None, 4))
    assert found.relative_error == 0.0


def test_nothing_comparable_is_nan_not_perfect() -> None:
    for found in (OutputMeter("y").result(), compare(normal(0, 1, 3), normal(0, 1, 4))):
        assert math.isnan(found.relative_error)
        assert math.isnan(found.snr_db)
        assert math.isnan(found.max_abs)
        assert found.agreement is None


def test_float16_does_not_overflow() -> None:
    a = np.full((1, 4, 8, 8), 6e4, np.float16)
    assert compare(a, (a / 2).astype(np.float16)).relative_error == pytest.approx(0.5)


@pytest.mark.parametrize(("scale", "peak"), [(1.0, 1.0), (255.0, 255.0 * 0.5)])
def test_targets_by_hand(scale: float, peak: float) -> None:
    target = scale * np.array([[[0.25, 0.75]]])
    found = compare(target + scale * 0.1, target + scale * 0.2, target=target).target
    assert found.peak == peak
    assert found.reference_psnr_db == pytest.approx(20 * math.log10(peak / (scale * 0.1)))
    assert found.drop_db == pytest.approx(20 * math.log10(2))


def test_perfect_outputs_drop_nothing() -> None:
    target = normal(0, 1, 2, 2)
    assert compare(target, target, target=target).target.drop_db == 0.0


def test_psnr_against_targets_is_the_mean_over_samples() -> None:
    target = np.random.default_rng(0).random((3, 1, 4, 4))
    off = np.array([0.01, 0.1, 0.2]).reshape(3, 1, 1, 1)
    found = compare(target + off, target + 2 * off, target=target).target
    assert found.reference_psnr_db == pytest.approx(float(np.mean(-20 * np.log10(off))), rel=1e-5)
    assert found.drop_db == pytest.approx(20 * math.log10(2), rel=1e-4)


def test_targets_met_exactly_or_not_at_all() -> None:
    target = np.random.default_rng(0).random((2, 1, 4, 4))
    half = target + np.array([0.0, 0.1]).reshape(2, 1, 1, 1)
    found = compare(half, target + np.array([0.0, 0.2]).reshape(2, 1, 1, 1), target=target).target
    assert found.drop_db == pytest.approx(10 * math.log10(2), rel=1e-4)  # of one sample in two
    assert compare(target, half, target=target).target.reference_psnr_db == math.inf
    broken = np.where(target > 0.5, np.nan, target)
    assert compare(target, broken, target=target).target.candidate_psnr_db == -math.inf


@pytest.mark.parametrize("target", [np.ones((1, 3, 2)), np.full((1, 2, 2), np.nan)])
def test_targets_that_do_not_fit(target: Array) -> None:
    with pytest.raises(DataError, match="target"):
        compare(normal(0, 1, 2, 2), normal(0, 1, 2, 2), target=target)


def test_wilson_by_hand() -> None:
    assert (wilson(8, 10).low, wilson(8, 10).high) == pytest.approx((0.49016, 0.94332), abs=1e-5)
    assert (wilson(0, 20).low, wilson(20, 20).high) == (0.0, 1.0)
    assert wilson(0, 20).high == pytest.approx(0.16113, abs=1e-5)
    assert wilson(500, 1000).high - wilson(500, 1000).low < wilson(5, 10).high - wilson(5, 10).low


@pytest.mark.parametrize(
    "found",
    [
        compare(normal(0, 4, 6), normal(0, 4, 6), labels=np.arange(4), target=normal(0, 4, 6)),
        compare(np.full((1, 3), np.nan, np.float32), normal(0, 1, 3)),
        compare(normal(0, 1, 3), np.full((1, 3), np.nan, np.float32), target=normal(0, 1, 3)),
        OutputMeter("y").result(),
    ],
)
def test_json_is_strict(found: OutputDifference) -> None:
    plain = json.loads(found.model_dump_json(), parse_constant=pytest.fail)
    assert json.loads(OutputDifference.model_validate(plain).model_dump_json()) == plain


def test_json_says_what_the_object_says() -> None:
    a = np.eye(6, dtype=np.float32)
    plain = json.loads(compare(a, a, labels=np.arange(6), target=a + 1).model_dump_json())
    assert plain["snr_db"] is None
    assert plain["relative_error"] == 0
    assert plain["shape"] == [6]
    assert plain["top1"]["reference"]["value"] == 1.0
    assert plain["top1"]["drop"] == plain["target"]["drop_db"] == 0.0
