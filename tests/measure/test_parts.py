"""Errors beside what an output tells: an offset hides nothing, and boxes do not hide scores."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sepfactor.measure.parts import PartMeter, Parts, parts_of, samples_of
from sepfactor.measure.spread import Spread


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def parts(samples: np.ndarray | list[np.ndarray]) -> Parts:
    found = Spread.of(list(samples))
    assert found is not None
    return parts_of(found)


def snr(before: np.ndarray | list[np.ndarray], after: np.ndarray | list[np.ndarray]) -> tuple[float, str]:
    meter = PartMeter()
    for a, b in zip(before, after, strict=True):
        meter.update(a, b)
    return meter.result()


def plain(before: np.ndarray, after: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(before**2) / np.sum((before - after) ** 2)))


def detector(rng: np.random.Generator, count: int = 16, anchors: int = 200) -> np.ndarray:
    """``(N, 14, anchors)``: four coordinates in pixels, ten scores that are nearly always small."""
    boxes = rng.uniform(0, 640, (1, 4, anchors)) + rng.normal(0, 10, (count, 4, anchors))
    return np.concatenate([boxes, rng.beta(0.1, 3, (count, 10, anchors))], axis=1)


class TestWholeOutputs:
    def test_images_have_their_usual_snr(self, rng: np.random.Generator) -> None:
        images = rng.uniform(0, 1, (8, 3, 16, 16))
        noisy = images + 0.01 * rng.standard_normal(images.shape)
        found, part = snr(images, noisy)
        assert found == pytest.approx(plain(images, noisy), abs=0.05)
        assert part == ""

    def test_an_offset_adds_ten_decibel_at_most(self, rng: np.random.Generator) -> None:
        """300 ± 3, off by as much as it varies: 40 dB by the usual formula."""
        answers = 300 + 3 * rng.standard_normal((64, 1, 8, 8))
        after = answers + 2.89 * rng.standard_normal(answers.shape)
        assert plain(answers, after) > 39
        assert snr(answers, after)[0] == pytest.approx(10 + 20 * np.log10(3 / 2.89), abs=0.3)

    def test_what_is_the_same_for_all_inputs_is_no_signal(self, rng: np.random.Generator) -> None:
        """Anchors vary over positions, not over inputs."""
        grid = np.linspace(0, 100, 50)
        answers = grid + rng.standard_normal((16, 50))
        after = answers + rng.standard_normal(answers.shape)
        assert snr(answers, after)[0] < 15 < plain(answers, after)

    def test_a_single_sample_varies_over_positions(self, rng: np.random.Generator) -> None:
        one = rng.standard_normal((1, 3, 32, 32))
        assert snr(one, 1.1 * one)[0] == pytest.approx(20, abs=0.1)

    def test_a_constant_counts_by_its_power(self) -> None:
        same = np.full((4, 2, 5), 7.0)
        assert snr(same, 1.1 * same)[0] == pytest.approx(20, abs=1e-6)

    def test_nothing_where_something_was(self) -> None:
        assert snr(np.zeros((2, 3)), np.ones((2, 3)))[0] == -math.inf
        assert snr(np.zeros((2, 3)), np.zeros((2, 3)))[0] == math.inf

    def test_what_is_not_finite(self) -> None:
        a = np.array([[1.0, np.nan], [2.0, 3.0]])
        assert snr(a, np.array([[1.0, 5.0], [2.0, 3.0]]))[0] == math.inf
        assert snr(a, np.array([[np.inf, 5.0], [2.0, 3.0]]))[0] == -math.inf
        assert math.isnan(snr([], [])[0])


class TestParts:
    @pytest.mark.parametrize("last", [False, True])
    def test_boxes_do_not_hide_scores(self, rng: np.random.Generator, last: bool) -> None:
        before = detector(rng)
        after = before.copy()
        after[:, 4:] += 0.4 * before[:, 4:].std() * rng.standard_normal(after[:, 4:].shape)
        own = plain(before[:, 4:], after[:, 4:])
        assert plain(before, after) > 60
        sides = (before, after) if not last else (before.swapaxes(1, 2), after.swapaxes(1, 2))
        found, part = snr(*sides)
        assert found == pytest.approx(own, abs=1.0)
        assert part == "channels 4–13"

    def test_scores_beside_boxes_of_the_same_unit_count_by_what_they_vary(
        self, rng: np.random.Generator
    ) -> None:
        before = detector(rng)
        before[:, :4] /= 640
        after = before.copy()
        after[:, 4:] += before[:, 4:].std() * rng.standard_normal(after[:, 4:].shape)
        assert snr(before, after)[0] < 5

    def test_a_class_that_is_never_seen_is_no_unit_of_its_own(self, rng: np.random.Generator) -> None:
        before = detector(rng)
        before[:, 9] *= 1e-4
        assert [sorted(group) for group in parts(before).groups] == [[0, 1, 2, 3], [*range(4, 14)]]
        after = before.copy()
        after[:, 9] += 1e-4 * rng.standard_normal(after[:, 9].shape)
        assert snr(before, after)[0] > 35

    def test_rows_of_detections_have_their_columns_in_common(self, rng: np.random.Generator) -> None:
        rows = [np.hstack([640 * rng.random((n, 4)), rng.random((n, 1))]) for n in (3, 5, 2, 8)]
        found = parts(rows)
        assert found.axis == 1
        assert [sorted(group) for group in found.groups] == [[0, 1, 2, 3], [4]]

    def test_maps_of_open_size_are_judged_by_channel(self, rng: np.random.Generator) -> None:
        maps = [rng.standard_normal((2, n, n + 1)) for n in (4, 9)]
        assert snr(maps, [1.1 * one for one in maps])[0] == pytest.approx(20, abs=0.1)

    def test_the_scale_of_all_does_not_matter(self, rng: np.random.Generator) -> None:
        before = detector(rng)
        after = before + 0.1 * rng.standard_normal(before.shape)
        assert snr(1e3 * before, 1e3 * after)[0] == pytest.approx(snr(before, after)[0], abs=3)

    @pytest.mark.parametrize("channels", [[0], [0, 1, 2], [1, 3, 4, 7]])
    def test_names(self, channels: list[int]) -> None:
        rest = np.setdiff1d(np.arange(9), channels)
        name = Parts(0, np.ones(9), (np.array(channels), rest)).name(0)
        assert name == {1: "channel 0", 3: "channels 0–2", 4: "channels 1, 3–4, 7"}[len(channels)]


def test_samples_are_rows_only_where_the_first_axis_is_the_batch() -> None:
    assert [one.shape for one in samples_of(np.zeros((4, 7)), 4)] == [(7,)] * 4
    assert [one.shape for one in samples_of(np.zeros((4, 7)), 1)] == [(4, 7)]
    assert [one.shape for one in samples_of(np.zeros(()), 1)] == [()]
