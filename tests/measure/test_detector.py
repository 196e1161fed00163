"""Detectors: families are told apart by their numbers, and boxes are found, lost or new."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from sepfactor.measure.tasks import Answers, Task, Wanted, recognise
from sepfactor.measure.tasks.boxes import Boxes, match, overlaps

SIZE, IMAGES = 64, 6
Runs = list[list[np.ndarray]]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def truth(rng: np.random.Generator, count: int = 5) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Boxes far apart on each image: corners, classes, scores."""
    images = []
    for _ in range(IMAGES):
        cells = rng.choice(9, count, replace=False)
        low = np.stack([cells % 3, cells // 3], axis=1) * 21.0 + rng.uniform(0, 4, (count, 2))
        corners = np.concatenate([low, low + rng.uniform(8, 15, (count, 2))], axis=1)
        images.append((corners, rng.integers(0, 3, count), rng.uniform(0.4, 0.95, count)))
    return images


def centred(corners: np.ndarray) -> np.ndarray:
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)


def yolo5(boxes: Sequence[tuple[np.ndarray, ...]]) -> Runs:
    runs = []
    for corners, classes, scores in boxes:
        table = np.zeros((1, 84, 8))
        table[..., :4] = (30.0, 30.0, 9.0, 9.0)
        table[0, : len(corners), :4] = centred(corners)
        table[0, : len(corners), 4] = np.sqrt(scores)
        table[0, np.arange(len(corners)), 5 + classes] = np.sqrt(scores)
        runs.append(table)
    return [runs]


def yolo8(boxes: Sequence[tuple[np.ndarray, ...]]) -> Runs:
    runs = []
    for corners, classes, scores in boxes:
        table = np.zeros((1, 7, 84))
        table[0, :4] = np.array([[30.0, 30.0, 9.0, 9.0]]).T
        table[0, :4, : len(corners)] = centred(corners).T
        table[0, 4 + classes, np.arange(len(corners))] = scores
        runs.append(table)
    return [runs]


def yolox(boxes: Sequence[tuple[np.ndarray, ...]]) -> Runs:
    runs = []
    for corners, classes, scores in boxes:
        table = np.zeros((1, 84, 8))
        table[..., 2:4] = -1.0
        for (x, y, w, h), label, score in zip(centred(corners), classes, scores, strict=True):
            row = int(y // 8) * 8 + int(x // 8)
            while table[0, row, 4]:
                row += 1
            column, line = row % 8, row // 8
            table[0, row, :4] = (x / 8 - column, y / 8 - line, np.log(w / 8), np.log(h / 8))
            table[0, row, 4] = table[0, row, 5 + label] = np.sqrt(score)
        runs.append(table)
    return [runs]


def ssd(boxes: Sequence[tuple[np.ndarray, ...]], *, background: bool = True) -> Runs:
    corners_of, scores_of = [], []
    for corners, classes, scores in boxes:
        table = np.tile(np.array([[[0.4, 0.4, 0.5, 0.5]]]), (1, 84, 1))
        table[0, : len(corners)] = corners / SIZE
        shares = np.zeros((1, 84, 3 + background))
        shares[0, np.arange(len(corners)), classes + background] = scores
        if background:
            shares[..., 0] = 1 - shares[..., 1:].sum(axis=2)
        corners_of.append(table)
        scores_of.append(shares)
    return [corners_of, scores_of]


def end_to_end(boxes: Sequence[tuple[np.ndarray, ...]]) -> Runs:
    """``(n, 7)``: image, corners, class, score."""
    return [[np.concatenate([np.zeros((len(c), 1)), c, k[:, None], s[:, None]], axis=1) for c, k, s in boxes]]


def ten(boxes: Sequence[tuple[np.ndarray, ...]]) -> Runs:
    """``(1, 20, 6)``: corners, score, class; padded."""
    runs = []
    for c, k, s in boxes:
        table = np.zeros((1, 20, 6))
        table[0, : len(c)] = np.concatenate([c, s[:, None], k[:, None]], axis=1)
        runs.append(table)
    return [runs]


def apart(boxes: Sequence[tuple[np.ndarray, ...]]) -> Runs:
    return [[c for c, _, _ in boxes], [s for _, _, s in boxes], [k for _, k, _ in boxes]]


FAMILIES: dict[str, Callable[[Sequence[tuple[np.ndarray, ...]]], Runs]] = {
    "YOLOv5": yolo5,
    "YOLOv8": yolo8,
    "YOLOX": yolox,
    "SSD (corners)": ssd,
    "a row a detection": end_to_end,
    "boxes, scores and classes apart": apart,
}


def found(outputs: Runs) -> Task:
    answers = [Answers(f"y{k}", runs, [1] * IMAGES) for k, runs in enumerate(outputs)]
    (one,) = recognise(answers, Wanted(image=(SIZE, SIZE)))
    return one.task


class TestFamilies:
    @pytest.mark.parametrize("name", FAMILIES)
    def test_each_is_recognised_and_reads_its_boxes(self, rng: np.random.Generator, name: str) -> None:
        boxes = truth(rng)
        outputs = FAMILIES[name](boxes)
        answers = [Answers(f"y{k}", runs, [1] * IMAGES) for k, runs in enumerate(outputs)]
        (one,) = recognise(answers, Wanted(image=(SIZE, SIZE)))
        assert one.task.name == "detector"
        assert name in one.evidence
        assert "5.0 an image" in one.evidence
        (same,) = one.task.judge(outputs)
        assert (same.kind, same.result, same.pessimistic, same.divergence) == ("boxes", 1, 1, 0)
        assert same.found == 5 * IMAGES

    def test_rows_that_are_padded(self, rng: np.random.Generator) -> None:
        assert found(ten(truth(rng))).judge(ten(truth(np.random.default_rng(0))))[0].found == 30

    @pytest.mark.parametrize("name", FAMILIES)
    def test_what_is_lost_and_what_is_new_count_alike(self, rng: np.random.Generator, name: str) -> None:
        boxes = truth(rng)
        fewer = [(c[1:], k[1:], s[1:]) for c, k, s in boxes]
        for before, after in ((boxes, fewer), (fewer, boxes)):
            (quality,) = found(FAMILIES[name](before)).judge(FAMILIES[name](after))
            assert quality.result == pytest.approx(0.8)
            assert quality.expected < 0.85

    @pytest.mark.parametrize("name", FAMILIES)
    @pytest.mark.parametrize("how", ["moved", "of another class"])
    def test_a_box_elsewhere_or_of_another_class_is_another(
        self, rng: np.random.Generator, name: str, how: str
    ) -> None:
        boxes = truth(rng)
        after = [(c + 8.0 * (how == "moved"), (k + (how != "moved")) % 3, s) for c, k, s in boxes]
        (quality,) = found(FAMILIES[name](boxes)).judge(FAMILIES[name](after))
        assert quality.result < 0.1

    def test_scores_in_a_table_of_large_boxes_count(self, rng: np.random.Generator) -> None:
        """Boxes in pixels beside scores from 0 to 1: the noise of all says nothing of the scores."""
        boxes = truth(rng)
        after = [(c, k, 0.2 * s) for c, k, s in boxes]
        (quality,) = found(yolo8(boxes)).judge(yolo8(after))
        assert quality.result == 0

    def test_a_class_without_an_object_is_no_box(self, rng: np.random.Generator) -> None:
        (runs,) = yolo5(truth(rng))
        for run in runs:
            run[0, 60, 5:] = 0.9
        assert found([runs]).judge([runs])[0].found == 30

    @pytest.mark.parametrize("kind", ["noise", "nothing found", "no image"])
    def test_other_numbers_are_no_boxes(self, rng: np.random.Generator, kind: str) -> None:
        outputs = [[rng.standard_normal((1, 84, 8)) for _ in range(IMAGES)]]
        size: tuple[int, int] | None = (SIZE, SIZE)
        if kind == "nothing found":
            outputs = yolo8([(c, k, 0.01 * s) for c, k, s in truth(rng)])
        elif kind == "no image":
            outputs, size = yolox(truth(rng)), None
        answers = [Answers("y", outputs[0], [1] * IMAGES)]
        assert [one.task.name for one in recognise(answers, Wanted(image=size))] == ["dense"]

    def test_landmarks_count(self, rng: np.random.Generator) -> None:
        boxes = truth(rng)
        points = [rng.standard_normal((1, 84, 10)) for _ in range(IMAGES)]
        off = [one + 2 * rng.standard_normal(one.shape) for one in points]
        task = found([*ssd(boxes), points])
        assert task.judge([*ssd(boxes), points])[0].result == 1
        assert task.judge([*ssd(boxes), off])[0].result < 0.2

    def test_an_image_of_another_size_has_no_grid(self, rng: np.random.Generator) -> None:
        (runs,) = yolox(truth(rng))
        runs[-1] = np.concatenate([runs[-1], runs[-1]], axis=1)
        assert found([runs]).judge([runs])[0].found == 25

    @pytest.mark.parametrize("name", FAMILIES)
    def test_what_is_not_finite_is_no_box(self, rng: np.random.Generator, name: str) -> None:
        outputs = FAMILIES[name](truth(rng))
        broken = [[np.full_like(run, np.nan, dtype=np.float64) for run in runs] for runs in outputs]
        assert found(outputs).judge(broken)[0].result == 0

    def test_a_shape_that_changes_is_a_loss(self, rng: np.random.Generator) -> None:
        boxes = truth(rng)
        (runs,) = yolo8(boxes)
        (quality,) = found([runs]).judge([[run[..., :40] for run in runs]])
        assert (quality.changed, quality.result) == (IMAGES, 0)


class TestPeaks:
    def maps(self, rng: np.random.Generator) -> Runs:
        runs: Runs = [[], []]
        for corners, _, scores in truth(rng):
            heat = 0.01 * rng.random((1, 1, 64, 64))
            centre = centred(corners)[:, :2].astype(int)
            heat[0, 0, centre[:, 1], centre[:, 0]] = scores
            runs[0].append(heat)
            runs[1].append(rng.standard_normal((1, 2, 64, 64)))
        return runs

    def test_of_a_heat_map(self, rng: np.random.Generator) -> None:
        heat, sizes = self.maps(rng)
        task = found([heat, sizes])
        assert task.name == "detector"
        assert task.judge([heat, sizes])[0].found == 30
        assert task.judge([heat, sizes])[0].result == 1
        assert (
            task.judge([[np.roll(one, 1, axis=3) for one in heat], sizes])[0].result < 0.6
        )  # says another size
        assert task.judge([[0.5 * one * (one < 0.6) for one in heat], sizes])[0].result < 0.7

    def test_a_peak_has_slopes(self, rng: np.random.Generator) -> None:
        heat, sizes = self.maps(rng)
        for one in heat:
            for y, x in zip(*np.nonzero(one[0, 0] > 0.3), strict=True):
                one[0, 0, y, (x - 1) % 64] = 0.9 * one[0, 0, y, x]
        assert found([heat, sizes]).judge([heat, sizes])[0].found == 30

    def test_along_a_scale(self, rng: np.random.Generator) -> None:
        place = np.arange(100)
        runs = [0.8 * np.exp(-0.5 * ((place - at) / 2) ** 2)[None] for at in rng.uniform(10, 90, IMAGES)]
        task = found([runs])
        assert task.judge([[np.roll(one, 1) for one in runs]])[0].result == 1
        assert task.judge([[np.roll(one, 3) for one in runs]])[0].result == 0


def test_margins_of_other_images_count_and_nothing_else_of_them(rng: np.random.Generator) -> None:
    task = found(yolo8(truth(rng)))
    assert task.learns
    assert not task.counts_fitted
    weaker = [(c, k, 0.9 * s) for c, k, s in truth(np.random.default_rng(0))]
    (alone,) = task.judge(yolo8(weaker))
    (runs,) = yolo8([(c, k, np.full(len(s), 0.26)) for c, k, s in truth(rng)])  # just above the threshold
    task.learn([Answers("y0", runs, [1] * IMAGES)], None)
    (learnt,) = task.judge(yolo8(weaker))
    assert learnt.result == alone.result
    assert learnt.expected < alone.expected - 0.05


def test_overlap_of_boxes() -> None:
    box = np.array([0.0, 0, 2, 2])
    others = np.array([[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6], [0, 0, 0, 0]])
    assert overlaps(box, others) == pytest.approx([1, 1 / 3, 0, 0])


def test_a_box_is_found_once() -> None:
    one = Boxes.of(np.array([[0.0, 0, 2, 2]]), np.array([0.9]))
    two = Boxes.of(np.array([[0.0, 0, 2, 2], [0, 0, 2, 2.1]]), np.array([0.9, 0.8]))
    assert match([one], [two]).share == 1
    assert match([two], [one]).share == 0.5
    assert len(two.without_doubles()) == 1


def test_where_there_is_nothing_to_find_nothing_is_lost() -> None:
    assert match([Boxes.none()], [Boxes.none()]).share == 1
    assert match([Boxes.none()], [Boxes.none()]).lost() == (0, 0)
