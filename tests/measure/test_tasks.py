"""What an output is: by its type, its shape, and what the original answers there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sepfactor.measure.tasks import Answers, ClassScores, Dense, Exact, Task, Wanted, recognise
from sepfactor.measure.tasks.base import batch_of, pessimistic

RUNS = 24


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def answers(runs: list[np.ndarray], batch: int = 1) -> Answers:
    return Answers("y", runs, [batch] * len(runs))


def logits(rng: np.random.Generator, classes: int = 6, scale: float = 4.0) -> list[np.ndarray]:
    return [scale * rng.standard_normal((1, classes)) for _ in range(RUNS)]


def recognised(runs: list[np.ndarray], batch: int = 1, **wanted: Any) -> tuple[Task, str | None]:
    (found,) = recognise([answers(runs, batch)], Wanted(**wanted))
    return found.task, found.note


class TestRecognition:
    def test_scores_whose_classes_vary(self, rng: np.random.Generator) -> None:
        raw = logits(rng)
        likely = [np.exp(one) / np.exp(one).sum() for one in raw]
        for runs in (raw, likely, [one.reshape(1, 6, 1, 1) for one in raw]):
            task, note = recognised(runs)
            assert isinstance(task, ClassScores)
            assert note is None

    @pytest.mark.parametrize("kind", ["one class", "embedding", "unsure"])
    def test_what_only_has_their_shape_is_held_to_its_noise(
        self, rng: np.random.Generator, kind: str
    ) -> None:
        runs = logits(rng, 20)
        if kind == "one class":
            runs = [np.linspace(0, 9, 20)[None] + 0.05 * one for one in runs]
        elif kind == "embedding":
            runs = [one / np.linalg.norm(one) for one in runs]
        else:
            runs = [0.05 * one for one in runs]
        task, note = recognised(runs)
        assert isinstance(task, Dense)
        assert note is not None
        assert "--task classifier" in note
        assert isinstance(recognised(runs, by_class=True)[0], ClassScores)

    def test_a_first_axis_that_is_not_the_batch(self, rng: np.random.Generator) -> None:
        rows = [rng.standard_normal((n, 7)) for n in (1, 3, 2)]
        squeezed = [rng.standard_normal((16, 16)) for _ in range(4)]
        for runs in (rows, squeezed):
            assert isinstance(recognised(runs, by_class=True)[0], Dense)
        assert isinstance(recognised([4 * rng.standard_normal((8, 6)) for _ in range(4)], 8)[0], ClassScores)

    def test_by_type(self, rng: np.random.Generator) -> None:
        picture = [rng.integers(0, 256, (1, 3, 16, 16), np.uint8)]
        classes = [rng.integers(0, 5, (1, 16, 16), np.uint8)]
        assert isinstance(recognised(picture)[0], Dense)
        for runs in (classes, [classes[0].astype(np.int64)], [np.array([["a"]], object)], [np.array([True])]):
            assert isinstance(recognised(runs)[0], Exact)

    def test_noise_that_was_asked_for_goes_before_looks(self, rng: np.random.Generator) -> None:
        for runs in (logits(rng), [rng.integers(0, 5, (1, 16))]):
            assert isinstance(recognised(runs, noise="snr")[0], Dense)
        assert isinstance(recognised([np.array([["a"]], object)], noise="snr")[0], Exact)


class TestJudging:
    def test_equal_elements(self) -> None:
        before = [np.arange(8).reshape(1, 8) for _ in range(4)]
        after = [one.copy() for one in before]
        after[0][0, 0] = 99
        (found,) = Exact(answers(before)).judge([after])
        assert found.kind == "agreement"
        assert found.result == pytest.approx(31 / 32)
        assert found.pessimistic < found.result
        assert found.trials == 32

    def test_strings(self) -> None:
        before = [np.array([["cat", "dog"]], object)]
        (found,) = Exact(answers(before)).judge([[np.array([["cat", "cow"]], object)]])
        assert found.result == 0.5

    @pytest.mark.parametrize("task", [Exact, Dense, ClassScores])
    def test_another_shape_is_a_loss(self, rng: np.random.Generator, task: type[Task]) -> None:
        kind = np.int64 if task is Exact else np.float64
        before = [(10 * rng.standard_normal((1, 5))).astype(kind) for _ in range(10)]
        after = [one if k > 2 else np.zeros((1, 4), kind) for k, one in enumerate(before)]
        found = task(answers(before)).judge([after])[0]
        assert found.changed == 3
        if task is Dense:
            assert found.result < 10 * math.log10(10 / 2)
        else:
            assert found.result == pytest.approx(0.7)

    def test_the_part_that_lost_most_counts(self, rng: np.random.Generator) -> None:
        before = [np.concatenate([[500.0, 600.0], [0.0, 0.0]]) + rng.random(4) for _ in range(9)]
        after = [one + np.array([0, 0, 0.3, 0.3]) * rng.standard_normal(4) for one in before]
        before, after = ([one[None, :] for one in side] for side in (before, after))
        (found,) = Dense(answers(before)).judge([after])
        assert found.where == "channels 2–3"
        assert found.result < 15
        assert found.pessimistic < found.expected

    def test_a_network_that_says_the_commonest_class_alone_keeps_no_scores(
        self, rng: np.random.Generator
    ) -> None:
        runs = [one + np.array([[6.0, 0, 0, 0, 0, 0]]) for one in logits(rng)]
        task = ClassScores(answers(runs))
        mean = np.mean(runs, axis=0)
        agreement, scores = task.judge([[mean] * RUNS])
        assert agreement.result > 0.5
        assert scores.kind == "scores"
        assert scores.result < 0.1
        assert task.judge([runs])[1].result == 1.0

    def test_what_is_common_to_all_classes_says_nothing(self, rng: np.random.Generator) -> None:
        runs = logits(rng)
        moved = [one + rng.standard_normal() for one in runs]
        agreement, scores = ClassScores(answers(runs)).judge([moved])
        assert (agreement.drop, scores.result) == (pytest.approx(0, abs=1e-9), pytest.approx(1))


class TestInterval:
    def test_it_covers_the_mean_of_all_images(self, rng: np.random.Generator) -> None:
        """Of exponential losses, which are about as unlike as those of images are."""
        ends = [pessimistic(rng.exponential(1.0, 24)) for _ in range(400)]
        assert np.mean(np.array(ends) >= 1.0) > 0.87

    def test_losses_in_proportion_to_the_signal_are_no_chance(self, rng: np.random.Generator) -> None:
        signal = rng.exponential(1.0, 12)
        assert pessimistic(0.1 * signal, signal / signal.mean()) == pytest.approx(0.1 * signal.mean())

    def test_one_image_has_none(self) -> None:
        assert pessimistic(np.array([0.5])) == 0.5


def test_the_largest_input_has_the_batch() -> None:
    assert batch_of({"x": np.zeros((4, 3, 8, 8)), "size": np.zeros(2)}) == 4
    assert batch_of({}) == batch_of({"x": np.zeros(())}) == 1


def test_of_a_single_sample_scores_vary_over_classes(rng: np.random.Generator) -> None:
    (one, *_) = logits(rng)
    task = ClassScores(answers([one]))
    assert task.judge([[one + 0.01 * rng.standard_normal(one.shape)]])[1].result > 0.99
    assert task.judge([[np.zeros_like(one)]])[1].result == pytest.approx(0)
