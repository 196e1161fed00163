"""Mean average precision against a slow one, in every reading of units and classes, and its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sepfactor.errors import DataError
from sepfactor.measure.tasks import Answers, Wanted, recognise
from sepfactor.measure.tasks.boxes import Boxes, overlaps
from sepfactor.measure.tasks.precision import THRESHOLDS, Reading, Truth, loss

SIZE = (64, 96)
"""Height and width."""

PIXELS = Reading((1.0, 1.0), False, 4, 0)


def true_boxes(rng: np.random.Generator, count: int, classes: int = 3) -> np.ndarray:
    """Boxes anywhere; classes 0, 1, 2, which the file calls 1, 2, 3."""
    low = rng.uniform(0, (SIZE[1] - 20, SIZE[0] - 20), (count, 2))
    labels = rng.integers(0, classes, (count, 1))
    return np.concatenate(
        [low, low + rng.uniform(6, 20, (count, 2)), labels, labels + 1, np.zeros((count, 1))], axis=1
    )


def answered(rng: np.random.Generator, truth: np.ndarray, moved: float, found: float = 0.8) -> Boxes:
    """Some of the true boxes, a little elsewhere, and some that are not there."""
    kept = truth[rng.random(len(truth)) < found]
    corners = kept[:, :4] + rng.normal(0, moved, (len(kept), 4))
    wrong = true_boxes(rng, 2)
    scores = np.concatenate([rng.uniform(0.3, 1, len(kept)), rng.uniform(0.02, 0.6, len(wrong))])
    every = np.concatenate([corners, wrong[:, :4]])
    return Boxes.of(every, scores, np.concatenate([kept[:, 4], wrong[:, 4]]))


def slow(found: Sequence[Boxes], truths: Sequence[np.ndarray], threshold: float) -> float:
    """As the definition has it, box by box and recall by recall."""
    each = []
    for label in sorted({int(one) for truth in truths for one in truth[truth[:, 6] == 0, 4]}):
        hits, total = [], 0
        for boxes, truth in zip(found, truths, strict=True):
            own = truth[truth[:, 4] == label]
            total += int((own[:, 6] == 0).sum())
            taken: set[int] = set()
            for k in np.flatnonzero(boxes.classes == label):
                shared = overlaps(boxes.corners[k], own[:, :4])
                fits = [j for j in range(len(own)) if shared[j] >= threshold]
                asked = [j for j in fits if not own[j, 6] and j not in taken]
                if asked:
                    best = max(asked, key=lambda j: shared[j])
                    taken.add(best)
                    hits.append((boxes.scores[k], 1))
                elif not any(own[j, 6] for j in fits):
                    hits.append((boxes.scores[k], 0))
        hits.sort(key=lambda one: -one[0])
        right = np.cumsum([hit for _, hit in hits])
        points = [(right[k] / total, right[k] / (k + 1)) for k in range(len(hits))]
        best_of = [
            max((p for r, p in points if r >= recall - 1e-12), default=0.0)
            for recall in np.linspace(0, 1, 101)
        ]
        each.append(np.mean(best_of))
    return float(np.mean(each))


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_the_definition_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = [true_boxes(rng, int(rng.integers(0, 6))) for _ in range(12)]
    truths[0] = true_boxes(rng, 4)
    for truth in truths[1:4]:
        truth[:1, 6] = 1.0  # a crowd
    found = [answered(rng, truth, 1.0) for truth in truths]
    graded = Truth(truths, PIXELS).grade(found).precision()
    for number, threshold in enumerate(THRESHOLDS):
        assert graded[number] == pytest.approx(slow(found, truths, threshold))
    assert 0.2 < graded[0] < 1.0
    assert (np.diff(graded) <= 1e-12).all()


def test_all_found_is_one_and_nothing_found_is_zero() -> None:
    rng = np.random.default_rng(0)
    truths = [true_boxes(rng, 3) for _ in range(8)]
    exact = [Boxes.of(truth[:, :4], np.full(len(truth), 0.9), truth[:, 4]) for truth in truths]
    known = Truth(truths, PIXELS)
    np.testing.assert_allclose(known.grade(exact).precision(), 1.0)
    np.testing.assert_allclose(known.grade([Boxes.none()] * 8).precision(), 0.0)
    assert loss(known.grade(exact), known.grade(exact), slice(None), None) == (0.0, 0.0)
    assert known.asked == 24


@pytest.mark.parametrize("scale", [(1.0, 1.0), (1.0 / SIZE[1], 1.0 / SIZE[0])])
@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_units_and_numbers_of_classes_are_read_off_the_original(
    scale: tuple[float, float], is_turned: bool, first: int
) -> None:
    rng = np.random.default_rng(0)
    truths = [true_boxes(rng, 3) for _ in range(20)]
    found = []
    for truth in truths:
        boxes = answered(rng, truth, 0.5)
        corners = boxes.corners * [*scale, *scale]
        corners = corners[:, [1, 0, 3, 2]] if is_turned else corners
        found.append(Boxes.of(corners, boxes.scores, boxes.classes + first))
    read = Truth.read_by(found, truths, SIZE)
    plain = [Boxes.of(read.reading.corners(b), b.scores, b.classes - first) for b in found]
    wanted = Truth(truths, PIXELS).grade(plain).precision()
    np.testing.assert_allclose(read.grade(found).precision(), wanted)


def test_labels_of_other_images_are_refused() -> None:
    rng = np.random.default_rng(0)
    truths = [true_boxes(rng, 2) for _ in range(20)]
    found = [answered(rng, truth, 0.5) for truth in truths]
    with pytest.raises(DataError, match="hardly any of the 40 boxes"):
        Truth.read_by(found[10:] + found[:10], truths, SIZE)
    with pytest.raises(DataError, match="boxes of 19 samples"):
        Truth.read_by(found, truths[1:], SIZE)


def test_the_interval_covers_what_many_images_lose() -> None:
    def drawn(rng: np.random.Generator, images: int) -> tuple[Truth, list[Boxes], list[Boxes]]:
        truths = [true_boxes(rng, 3) for _ in range(images)]
        before = [answered(rng, truth, 0.5, 0.9) for truth in truths]
        after = []
        for boxes in before:
            kept = rng.random(len(boxes)) > 0.05
            moved = boxes.corners[kept] + rng.normal(0, 0.5, (kept.sum(), 4))
            after.append(Boxes.of(moved, boxes.scores[kept], boxes.classes[kept]))
        return Truth(truths, PIXELS), before, after

    rng = np.random.default_rng(0)
    many, before, after = drawn(rng, 1500)
    true = np.mean(many.grade(before).precision() - many.grade(after).precision())
    ends = []
    for _ in range(100):
        few, before, after = drawn(rng, 24)
        ends.append(loss(few.grade(before), few.grade(after), slice(None), None)[1])
    assert np.mean(np.array(ends) >= true) >= 0.85  # about 92 of 100, as 250 draws say
    assert np.median(ends) < 3 * true


def test_a_detector_with_labels_is_judged_by_them() -> None:
    rng = np.random.default_rng(0)
    truths = [true_boxes(rng, 4) for _ in range(16)]
    runs = []
    for truth in truths:
        table = np.zeros((1, 7, 84))
        table[0, :4] = 30.0
        corners, here = truth[:, :4], slice(len(truth))
        table[0, :4, here] = np.concatenate(
            [(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1
        ).T
        table[0, 4 + truth[:, 4].astype(int), np.arange(len(truth))] = rng.uniform(0.4, 0.9, len(truth))
        runs.append(table)
    answers = Answers("y", runs, [1] * len(runs))
    (one,) = recognise([answers], Wanted(image=SIZE, boxes=truths))
    assert one.task.kinds == ("mAP@0.5", "mAP@0.5:0.95")
    fewer = [run.copy() for run in runs]
    for run in fewer:
        run[0, 4:, 0] = 0.0  # a box of each image is lost
    for quality in one.task.judge([runs]):
        assert quality.original == quality.result == quality.pessimistic > 0.9
        assert quality.found == 64
    for quality in one.task.judge([fewer]):
        assert quality.original - quality.result > 0.1
        assert quality.pessimistic < quality.result
    (again,) = recognise([answers], Wanted(image=SIZE, boxes=truths), like=[one])
    assert again.task.kinds == one.task.kinds
    (unlabelled,) = recognise([answers], Wanted(image=SIZE), like=[one])
    assert unlabelled.task.kinds == ("boxes",)
