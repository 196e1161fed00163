"""Flips of classifiers: estimates are right on the whole, and scatter less than counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.measure.flips import expected_loss, expected_share, leads, with_upper_end
from sepfactor.measure.metrics import OutputMeter, estimated_losses, log_scores


class TestLeads:
    @given(st.integers(0, 10_000))
    def test_the_sign_says_who_is_best(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        values, classes = rng.standard_normal((6, 4)), rng.integers(4, size=6)
        assert np.array_equal(leads(values, classes) >= 0, values.argmax(1) == classes)

    def test_what_is_not_finite_is_behind(self) -> None:
        assert leads(np.array([[np.nan, 1.0]]), np.array([1]))[0] == -np.inf


class TestExpectedShare:
    @given(st.integers(0, 1000), st.booleans())
    def test_no_change_no_loss(self, seed: int, behind: bool) -> None:
        lead = np.abs(np.random.default_rng(seed).standard_normal(30)) - (0.5 if behind else 0.0)
        share = float(np.mean(lead >= 0))
        assert expected_share(lead, lead, lead) == pytest.approx(share, abs=1e-9)

    @pytest.mark.parametrize("labelled", [True, False])
    @pytest.mark.parametrize("size", [0.2, 0.5])
    def test_it_estimates_better_than_counting(self, labelled: bool, size: float) -> None:
        rng = np.random.default_rng(3)
        lead = rng.standard_normal(40_000) * 2 + 1
        lead = lead if labelled else np.abs(lead)
        after = 0.9 * lead + size * rng.standard_normal(len(lead))
        truth = float(np.mean(after >= 0) - np.mean(lead >= 0))
        drawn = [rng.integers(len(lead), size=25) for _ in range(200)]
        pairs = [(lead[d], after[d]) for d in drawn]
        estimated = np.array([expected_share(a, b, a) - np.mean(a >= 0) for a, b in pairs])
        counted = np.array([np.mean(b >= 0) - np.mean(a >= 0) for a, b in pairs])
        assert np.std(estimated) < 0.65 * np.std(counted)
        assert np.sqrt(np.mean((estimated - truth) ** 2)) < 0.8 * np.sqrt(np.mean((counted - truth) ** 2))

    def test_broken_rows_count_as_lost(self) -> None:
        lead = np.ones(20)
        after = np.where(np.arange(20) < 10, -np.inf, 1.0)
        assert expected_share(lead, after, lead) == pytest.approx(0.5)

    def test_few_samples_are_counted(self) -> None:
        lead, after = np.array([1.0, 2.0, 3.0, 4.0]), np.array([-1.0, 2.0, 3.0, 4.0])
        assert expected_share(lead, after, lead) == pytest.approx(0.75)


class TestInterval:
    """The one-sided 95 % interval covers the truth, over many draws of as many samples as people have.

    It is somewhat short, as the estimate itself is a little biased and skew: nine in ten is what is held to.
    """

    @pytest.mark.parametrize("count", [16, 40, 150])
    def test_of_a_share(self, count: int) -> None:
        rng = np.random.default_rng(5)
        lead = np.abs(rng.standard_normal(20_000) * 2 + 1)
        after = lead + 0.3 * rng.standard_normal(len(lead))
        truth = float(np.mean(after < 0))
        ends, values = [], []
        for _ in range(200):
            drawn = rng.integers(len(lead), size=count)
            one, other = lead[drawn], after[drawn]
            values.append(1 - expected_share(one, other, one))
            ends.append(upper_end(lambda left, _, a=one, b=other: _share_lost(a[left], b[left]), ONE[:count]))
        assert np.mean(np.array(ends) >= truth) > 0.88
        assert np.mean(ends) - truth < 4.5 * np.std(values)

    def test_images_are_the_unit(self) -> None:
        rng = np.random.default_rng(6)
        lead, common = np.abs(rng.standard_normal(120)), np.repeat(rng.standard_normal(12), 10)
        after = lead + 0.5 * common

        def lost(left: np.ndarray, _: np.ndarray) -> float:
            return _share_lost(lead[left], after[left])

        assert upper_end(lost, np.repeat(np.arange(12), 10)) > 1.2 * upper_end(lost, ONE[:120])

    def test_further_leads_narrow_it(self) -> None:
        """Where all samples change alike, how sure it is depends on the leads alone."""
        rng = np.random.default_rng(7)
        wider = []
        for _ in range(20):
            lead = np.abs(rng.standard_normal(400))
            own, after = lead[:20], lead[:20] - 0.3

            def lost(left: np.ndarray, further: np.ndarray, lead: np.ndarray = lead) -> float:
                pool = np.concatenate([lead[:20][left], lead[20:][further]])
                return 1 - expected_share(lead[:20][left], lead[:20][left] - 0.3, pool)

            few = upper_end(lambda left, _, a=own, b=after: _share_lost(a[left], b[left]), ONE[:20])
            many = upper_end(lost, ONE[:20], 380) - lost(np.ones(20, bool), np.ones(380, bool))
            wider.append((few - _share_lost(own, after)) / many)
        assert np.median(wider) > 2

    def test_of_a_loss(self) -> None:
        rng = np.random.default_rng(8)
        lead = np.abs(rng.standard_normal(20_000) * 2)
        after = lead + 0.4 * rng.standard_normal(len(lead))
        likely = np.full(len(lead), 0.9)
        truth = expected_loss(lead[:4000], after[:4000], likely[:4000])
        ends = []
        for _ in range(150):
            drawn = rng.integers(len(lead), size=40)
            a, b, p = lead[drawn], after[drawn], likely[drawn]
            ends.append(
                upper_end(lambda left, _, a=a, b=b, p=p: expected_loss(a[left], b[left], p[left]), ONE[:40])
            )
        assert np.mean(np.array(ends) >= truth) > 0.85

    @pytest.mark.parametrize("count", [30, 100])
    def test_of_a_difference(self, count: int) -> None:
        """With true classes some answers are lost and others won, and little may be left of both."""
        rng = np.random.default_rng(10)
        lead = rng.standard_normal(20_000) * 2 + 1
        after = lead + 0.3 * rng.standard_normal(len(lead))
        truth = float(np.mean(lead >= 0) - np.mean(after >= 0))
        ends = []
        for _ in range(150):
            drawn = rng.integers(len(lead), size=count)
            a, b = lead[drawn], after[drawn]

            def lost(left: np.ndarray, _: np.ndarray, a: np.ndarray = a, b: np.ndarray = b) -> float:
                return float(np.mean(a[left] >= 0)) - expected_share(a[left], b[left], a[left])

            ends.append(upper_end(lost, ONE[:count], is_share=False))
        assert np.mean(np.array(ends) >= truth) > 0.88
        assert np.max(ends) < 0.15

    def test_where_nothing_changes_nothing_is_lost(self) -> None:
        lead = np.abs(np.random.default_rng(9).standard_normal(30))
        assert upper_end(lambda left, _: _share_lost(lead[left], lead[left]), ONE[:30]) == pytest.approx(0)
        assert upper_end(lambda left, _: 0.25, ONE[:1]) == 0.25


ONE = np.arange(1000)
"""Each sample an image."""


def upper_end(*given: Any, **more: Any) -> float:
    return with_upper_end(*given, **more)[1]


def _share_lost(before: np.ndarray, after: np.ndarray) -> float:
    return 1 - expected_share(before, after, before)


def classifier(count: int, size: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class scores, the same with noise, and true classes as likely as the first ones say."""
    rng = np.random.default_rng(seed)
    scores = 2 * rng.standard_normal((count, 6))
    other = scores + size * rng.standard_normal(scores.shape)
    likely = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    classes = (rng.random((count, 1)) < likely.cumsum(axis=1)).argmax(axis=1)
    return scores, other, classes


def parts(scores: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What :func:`expected_loss` takes."""
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    best = scores.argmax(axis=1)
    return leads(logs, best), leads(other, best), np.sort(np.exp(logs), axis=1)[:, -2:].sum(axis=1)


class TestLossByProbabilities:
    @pytest.mark.parametrize("size", [0.1, 0.3, 1.0, 3.0])
    def test_it_is_the_accuracy_lost_where_probabilities_are_right(self, size: float) -> None:
        """Without looking at a label; answers that differ are far more."""
        scores, other, classes = classifier(200_000, size)
        right = [side.argmax(axis=1) == classes for side in (scores, other)]
        drop = float(np.mean(right[0]) - np.mean(right[1]))
        error = float(np.std(right[0].astype(float) - right[1])) / len(classes) ** 0.5
        assert float(estimated_losses(scores, other).mean()) == pytest.approx(drop, abs=4 * error)
        assert np.mean(scores.argmax(axis=1) != other.argmax(axis=1)) > 1.5 * drop

    @pytest.mark.parametrize("size", [0.1, 0.3, 1.0])
    def test_all_pairs_say_the_same_with_less_noise(self, size: float) -> None:
        scores, other, _ = classifier(20_000, size)
        exact = estimated_losses(scores, other)
        whole = [part[:4000] for part in parts(scores, other)]
        assert expected_loss(*whole) == pytest.approx(float(exact.mean()), rel=0.1)
        drawn = [np.random.default_rng(seed).integers(len(scores), size=25) for seed in range(200)]
        by_pairs = [expected_loss(*(part[d] for part in parts(scores, other))) for d in drawn]
        assert np.std(by_pairs) < 0.7 * np.std([exact[d].mean() for d in drawn])
        assert np.mean(by_pairs) == pytest.approx(float(exact.mean()), rel=0.2)

    def test_no_change_no_loss(self) -> None:
        scores, _, _ = classifier(50, 0.0)
        assert expected_loss(*parts(scores, scores)) == 0.0
        assert not estimated_losses(scores, scores).any()

    def test_what_is_broken_has_lost_all_of_its_lead(self) -> None:
        before, likely = np.full(20, 100.0), np.full(20, 0.8)
        after = np.where(np.arange(20) < 5, -np.inf, before)
        assert expected_loss(before, after, likely) == pytest.approx(0.25 * 0.8)

    def test_few_samples_are_counted(self) -> None:
        before, after = np.array([np.log(3.0), 2.0]), np.array([-0.1, 1.0])
        assert expected_loss(before, after, np.array([0.8, 0.9])) == pytest.approx(0.5 * (0.6 - 0.2))

    def test_a_comparison_reports_it(self) -> None:
        scores, other, _ = classifier(300, 1.0)
        meter = OutputMeter("y")
        for begin in range(0, 300, 100):
            meter.update(*(side[begin : begin + 100].astype(np.float32) for side in (scores, other)))
        found = meter.result().estimated_drop
        assert found == pytest.approx(float(estimated_losses(scores, other).mean()), rel=1e-4)

    @pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
    def test_answers_that_broke_are_lost_with_all_their_probability(self, broken: float) -> None:
        scores = classifier(20, 1.0)[0].astype(np.float32)
        other = scores.copy()
        other[:15] = broken
        sure = np.exp(log_scores(scores)).max(axis=1)
        meter = OutputMeter("y")
        meter.update(scores, other)
        meter.update(np.full_like(scores, np.nan), scores)  # of which nothing is known
        found = meter.result()
        assert found.estimated_drop == pytest.approx(sure[:15].sum() / 20, rel=1e-5)
        assert found.kl == 0

    def test_nothing_but_broken_answers(self) -> None:
        scores = classifier(20, 1.0)[0].astype(np.float32)
        meter = OutputMeter("y")
        meter.update(scores, np.full_like(scores, np.nan))
        sure = np.exp(log_scores(scores)).max(axis=1)
        assert meter.result().kl is None
        assert meter.result().estimated_drop == pytest.approx(sure.mean(), rel=1e-5)
