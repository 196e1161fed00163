"""Accuracies of two models on the same samples: what may be chance, and what is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from sepfactor.measure.paired import PairedDrop

COUNTS = st.integers(0, 60)


@given(COUNTS, COUNTS)
def test_the_test_is_the_exact_binomial_one(lost: int, gained: int) -> None:
    found = PairedDrop(lost, gained, 200).p_value
    expected = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert found == pytest.approx(expected, rel=1e-9)


@given(COUNTS, COUNTS)
def test_swapping_the_models_mirrors_everything(lost: int, gained: int) -> None:
    one, other = PairedDrop(lost, gained, 200), PairedDrop(gained, lost, 200)
    assert one.p_value == pytest.approx(other.p_value)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert -1 <= one.low < one.high <= 1


@pytest.mark.parametrize(
    ("samples", "lose", "gain"), [(60, 0.05, 0.05), (200, 0.08, 0.02), (500, 0.01, 0.01)]
)
def test_the_interval_holds_the_truth_as_often_as_it_says(samples: int, lose: float, gain: float) -> None:
    draws = np.random.default_rng(0).multinomial(samples, [lose, gain, 1 - lose - gain], size=2000)
    intervals = (PairedDrop(int(a), int(b), samples) for a, b, _ in draws)
    held = np.mean([i.low <= lose - gain <= i.high for i in intervals])
    assert 0.935 <= held <= 0.99


def test_a_little_on_few_samples_is_not_sold_as_a_fact() -> None:
    """0.4 points on 500 images: two more lost than gained."""
    found = PairedDrop(7, 5, 500)
    assert found.value == pytest.approx(0.004)
    assert found.low < 0 < found.high
    assert not found.is_certain
    assert found.verdict.text.startswith("may be chance: 95 % interval −")


def test_much_is_a_fact() -> None:
    found = PairedDrop(40, 5, 500)
    assert found.low > 0
    assert found.is_certain
    assert found.verdict.text.startswith("more than chance")


def test_nothing_differs() -> None:
    found = PairedDrop(0, 0, 10)
    assert (found.value, found.p_value) == (0, 1)
    assert found.low == -found.high != 0  # ten samples do not prove equality
    assert "no sample differs" in found.verdict.text
