"""The loss curve passes through what was measured, never falls, and does not trust small errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.plans.losses import LossCurve, shares_left

points = st.lists(st.tuples(st.floats(1e-3, 2), st.floats(1e-6, 10)), max_size=5)
errors = st.floats(0, 4)


@given(points, errors, errors)
def test_it_never_falls(measured: list[tuple[float, float]], a: float, b: float) -> None:
    curve = LossCurve.through(measured)
    low, high = sorted((a, b))
    assert curve(low) <= curve(high) * (1 + 1e-9)


@given(points)
def test_no_measured_loss_is_played_down(measured: list[tuple[float, float]]) -> None:
    curve = LossCurve.through(measured)
    for error, loss in measured:
        assert curve(error * (1 + 1e-6)) >= loss * (1 - 1e-3)


def test_powers_between_and_beyond() -> None:
    curve = LossCurve.through([(0.1, 0.01), (0.4, 0.64)])  # a cube between the two
    assert curve(0.2) == pytest.approx(0.08)
    assert curve(0.05) == pytest.approx(0.0025)
    assert curve(0.8) == pytest.approx(5.12)
    assert curve(0.0) == 0.0


def test_beyond_the_last_point_it_is_quadratic_at_least() -> None:
    curve = LossCurve.through([(0.1, 0.5), (0.4, 0.5)])
    assert curve(0.2) == pytest.approx(0.5)
    assert curve(0.8) == pytest.approx(2.0)


def test_without_measurements_errors_count_squared() -> None:
    assert LossCurve.through([])(0.3) == pytest.approx(0.09)


@given(st.floats(0.1, 1.2), st.floats(0.6, 1.6))
def test_shares_are_recovered_from_many_plans(before: float, last: float) -> None:
    plans = [(1.0, 0.1), (0.2, 1.0), (0.5, 0.5), (2.0, 0.0), (0.0, 0.3)]
    found = shares_left([(b, a, before * b + last * a) for b, a in plans] * 10)
    assert found == pytest.approx((before, last), rel=0.1)


def test_without_a_plan_shares_are_as_usual() -> None:
    usual = shares_left([])
    assert 0 < usual[0] < 1
    assert usual[1] == pytest.approx(1)
    assert shares_left([(1.0, 0.0, float("inf")), (0.0, 0.0, 0.5)]) == usual


@given(st.floats(0, 100))
def test_one_plan_moves_the_share_its_way_but_no_share_is_nothing(measured: float) -> None:
    usual, (found, _) = shares_left([])[0], shares_left([(1.0, 0.0, measured)])
    assert 0 < found < 10 * usual
    assert (found - usual) * (measured - usual) >= 0 or found == pytest.approx(measured, rel=0.05)
