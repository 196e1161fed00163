"""Text, classes of pixels and embeddings: recognised by their numbers, judged in their own units."""

from __future__ import annotations

import numpy as np
import pytest

from sepfactor.amounts import Amount
from sepfactor.budgets.drop import MaxDrop
from sepfactor.errors import OptionError
from sepfactor.measure.tasks import Answers, Found, Wanted, recognise
from sepfactor.measure.tasks.text import edit_distance

RUNS = 12


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def found(runs: list[np.ndarray], task: str | None = None) -> Found:
    (one,) = recognise([Answers("y", runs, [len(run) for run in runs])], Wanted(task=task))
    return one


def said(lines: list[list[int]], classes: int = 30, sure: float = 0.9) -> list[np.ndarray]:
    """Probabilities by step that spell these, with a blank (0) between all symbols."""
    runs = []
    for line in lines:
        steps = [0, *[step for symbol in line for step in (symbol, symbol, 0)]]
        table = np.full((1, 40, classes), (1 - sure) / (classes - 1))
        table[0, np.arange(40), steps + [0] * (40 - len(steps))] = sure
        runs.append(table)
    return runs


def lines(rng: np.random.Generator) -> list[list[int]]:
    return [rng.integers(1, 30, 10).tolist() for _ in range(RUNS)]


class TestText:
    def test_strings_that_are_equal_lose_nothing(self, rng: np.random.Generator) -> None:
        one = found(said(lines(rng)))
        assert one.task.name == "text"
        assert "10.0 characters a line" in one.evidence
        rng = np.random.default_rng(0)
        (quality,) = one.task.judge([said(lines(rng), sure=0.6)])
        assert (quality.kind, quality.result, quality.trials) == ("characters", 1, 10 * RUNS)
        assert quality.divergence > 0

    def test_lines_of_any_length(self, rng: np.random.Generator) -> None:
        runs = [run[:, : 30 + k] for k, run in enumerate(said(lines(rng)))]
        one = found(runs)
        assert one.task.name == "text"
        assert one.task.judge([runs])[0].result == 1

    def test_an_edit_is_a_character(self, rng: np.random.Generator) -> None:
        text = lines(rng)
        other = [line[1:] if k < 6 else line for k, line in enumerate(text)]
        (quality,) = found(said(text)).task.judge([said(other)])
        assert quality.result == pytest.approx(1 - 6 / (10 * RUNS))
        assert quality.pessimistic < quality.result

    def test_scores_without_blanks_are_no_text(self, rng: np.random.Generator) -> None:
        table = [3 * rng.standard_normal((1, 40, 30)) for _ in range(RUNS)]
        assert found(table).task.name == "dense"
        assert found(table, "text").task.name == "text"

    @pytest.mark.parametrize(
        ("one", "other", "edits"), [([], [], 0), ([1], [], 1), ([1, 2, 3], [1, 3], 1), ([1, 2], [2, 1], 2)]
    )
    def test_edit_distance(self, one: list[int], other: list[int], edits: int) -> None:
        assert edit_distance(np.array(one, np.int64), np.array(other, np.int64)) == edits
        assert edit_distance(np.array(other, np.int64), np.array(one, np.int64)) == edits


def blobs(rng: np.random.Generator, shift: int = 0) -> list[np.ndarray]:
    runs = []
    for _ in range(RUNS):
        mask = np.full((1, 1, 32, 32), 0.01)
        y, x = rng.integers(0, 16, 2)
        mask[..., y : y + 12, x + shift : x + shift + 12] = 0.99
        runs.append(mask)
    return runs


class TestSegmentation:
    def test_a_mask_is_judged_by_its_overlap(self, rng: np.random.Generator) -> None:
        one = found(blobs(rng))
        assert one.task.name == "segmentation"
        assert "a mask" in one.evidence
        again = blobs(np.random.default_rng(0), shift=1)
        (quality,) = one.task.judge([again])
        inside, outside = 11 / 13, (32 * 32 - 156) / (32 * 32 - 132)
        assert quality.result == pytest.approx((inside + outside) / 2)
        assert one.task.judge([blobs(np.random.default_rng(0))])[0].result == 1

    def test_the_worse_threshold_counts(self, rng: np.random.Generator) -> None:
        runs = blobs(rng)
        fainter = [np.where(run > 0.5, 0.4, run) for run in runs]
        stronger = [np.where(run < 0.5, 0.4, run) for run in runs]
        for other in (fainter, stronger):
            assert found(runs).task.judge([other])[0].result < 0.5

    def test_classes_of_pixels(self, rng: np.random.Generator) -> None:
        labels = [rng.integers(0, 3, (1, 16, 16)) for _ in range(RUNS)]
        runs = [0.7 * np.eye(3)[one].transpose(0, 3, 1, 2) + 0.1 for one in labels]
        one = found(runs)
        assert one.task.name == "segmentation"
        wrong = [np.where(np.arange(16) < 4, np.roll(run, 1, axis=1), run) for run in runs]
        (quality,) = one.task.judge([wrong])
        assert quality.result == pytest.approx(0.75 / 1.25, abs=0.01)
        assert quality.pessimistic <= quality.result
        (broken,) = one.task.judge([[np.full_like(run, np.nan) for run in runs]])
        assert broken.result == 0

    def test_pictures_and_unsure_maps_are_none(self, rng: np.random.Generator) -> None:
        for runs in (
            [rng.random((1, 3, 16, 16)) for _ in range(RUNS)],
            [rng.random((1, 1, 16, 16)) for _ in range(RUNS)],
        ):
            assert found(runs).task.name == "dense"


class TestEmbedding:
    def rows(self, rng: np.random.Generator, size: int = 64, shape: tuple[int, ...] = ()) -> list[np.ndarray]:
        return [(rng.standard_normal((1, size)) + 0.5).reshape(1, *shape, size) for _ in range(RUNS)]

    @pytest.mark.parametrize("shape", [(), (1, 1)])
    def test_directions_around_a_middle(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        runs = [0.3 * one for one in self.rows(rng, shape=shape)]
        one = found(runs)
        assert one.task.name == "embedding"
        assert one.task.judge([[2 * (run - 0.15) + 0.15 for run in runs]])[0].result > 0.98
        quality, _ = one.task.judge([[run + 0.3 * rng.standard_normal(run.shape) for run in runs]])
        assert 0.6 < quality.result < 0.85
        assert quality.pessimistic < quality.result

    def test_what_all_have_in_common_counts_for_nothing(self, rng: np.random.Generator) -> None:
        runs = [0.3 * one for one in self.rows(rng)]
        mean = np.mean(runs, axis=0)
        assert found(runs).task.judge([[mean] * RUNS])[0].result < 0.1

    def test_who_is_nearest_counts_beside_the_cosine(self, rng: np.random.Generator) -> None:
        """Pairs far closer to each other than to all others, of which a network takes some apart."""
        middles = rng.standard_normal((RUNS // 2, 64))
        pairs = np.repeat(middles, 2, axis=0) + 0.05 * rng.standard_normal((RUNS // 2 * 2, 64))
        task = found([row[None] for row in pairs], "embedding").task
        _, same = task.judge([[row[None] for row in pairs]])
        assert (same.kind, same.result, same.expected, same.pessimistic) == ("neighbours", 1, 1, 1)
        moved = pairs + 0.01 * rng.standard_normal(pairs.shape)
        assert task.judge([[row[None] for row in moved]])[1].result == 1
        apart = pairs.copy()
        apart[0] = rng.standard_normal(64)  # of which its partner and itself lose the nearest
        cosine, lost = task.judge([[row[None] for row in apart]])
        assert lost.result == pytest.approx(1 - 2 / len(pairs), abs=1 / len(pairs))
        assert lost.pessimistic < lost.expected < 1
        task.units = 3  # of people, say
        assert task.judge([[row[None] for row in apart]])[0].pessimistic < cosine.pessimistic
        broken = pairs.copy()
        broken[0] = np.nan
        assert task.judge([[row[None] for row in broken]])[1].result < 1

    def test_what_merely_turns_keeps_its_neighbours(self, rng: np.random.Generator) -> None:
        rows = rng.standard_normal((RUNS, 64))
        turn, _ = np.linalg.qr(rng.standard_normal((64, 64)))
        cosine, near = found([row[None] for row in rows], "embedding").task.judge(
            [[row[None] for row in rows @ turn]]
        )
        assert cosine.result < 0.5
        assert near.result == 1
        assert near.expected == pytest.approx(1)

    @pytest.mark.parametrize("count", [1, 2, 8])
    def test_of_few_samples_nothing_is_said_of_neighbours(self, rng: np.random.Generator, count: int) -> None:
        runs = self.rows(rng)[:count]
        (quality,) = found(runs, "embedding").task.judge([runs])
        assert quality.kind == "cosine"

    @pytest.mark.parametrize("count", [8, 9])
    def test_a_cosine_shows_nothing_where_neighbours_cannot_be_told(
        self, rng: np.random.Generator, count: int
    ) -> None:
        runs = self.rows(rng)[:count]
        near = [run + 1e-3 * rng.standard_normal(run.shape) for run in runs]
        cosine, *neighbours = found(runs, "embedding").task.judge([near])
        limit = MaxDrop.of(Amount(0.5, True), "cosine", 1.0)
        assert limit.result(cosine).is_met == bool(neighbours)

    def test_coordinates_are_none(self, rng: np.random.Generator) -> None:
        """Points that vary little around places of their own, and rows of other sizes."""
        points = [np.linspace(0, 1, 64)[None] + 0.02 * one for one in self.rows(rng)]
        for runs in (points, [0.3 * one for one in self.rows(rng, 62)]):
            assert found(runs).task.name == "dense"
            assert found(runs, "embedding").task.name == "embedding"


def test_a_task_that_no_output_can_be_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(OptionError, match=r"--task segmentation: they are 'y' \(1, 5\)"):
        found([rng.standard_normal((1, 5)) for _ in range(RUNS)], "segmentation")
    with pytest.raises(OptionError, match="--task detector"):
        found([rng.standard_normal((1, 5)) for _ in range(RUNS)], "detector")


def test_pictures_are_called_so(rng: np.random.Generator) -> None:
    pictures = [rng.random((1, 3, 16, 16)) for _ in range(RUNS)]
    assert found(pictures).evidence == "pictures"
    assert found([255 * one for one in pictures]).evidence == "pictures"
    for other in ([20 * one - 10 for one in pictures], [rng.random((1, 7, 16, 16)) for _ in range(RUNS)]):
        assert "no kind" in found(other).evidence
