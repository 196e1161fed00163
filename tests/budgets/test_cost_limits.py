"""A limit on cost has one meaning of "kept", and says what to aim at next."""

from __future__ import annotations

from typing import Any

import pytest

from sepfactor.amounts import Amount
from sepfactor.budgets import Budget, Cost
from sepfactor.options import Options

ORIGINAL = Cost(ms=10.0, macs=1000.0, parameters=300.0, bytes=1200.0)
HALF = Amount(0.5, True)


def costing(ms: float, macs: float) -> Cost:
    return Cost(ms=ms, macs=macs, parameters=150.0, bytes=600.0)


class TestKept:
    @pytest.mark.parametrize(
        "cost",
        [costing(5.0, 500.0), costing(5.0 * (1 + 1e-12), 500.0), costing(5.01, 500.0), costing(5.0, 501.0)],
    )
    def test_the_search_and_the_verdict_agree(self, cost: Cost) -> None:
        budget = Budget.of(Options(speedup=2.0, max_macs=HALF))
        results = budget.results(ORIGINAL, cost, "measured")
        assert budget.keeps_costs(ORIGINAL, cost) == all(result.is_met for result in results)

    def test_rounding_alone_breaks_no_limit(self) -> None:
        budget = Budget.of(Options(speedup=3.0))
        assert budget.keeps_costs(ORIGINAL, costing(10.0 / 3 * (1 + 1e-12), 0.0))
        assert not budget.keeps_costs(ORIGINAL, costing(10.0 / 3 * 1.001, 0.0))

    def test_no_limit_on_cost_is_always_kept(self) -> None:
        assert Budget.of(Options(min_snr=30.0)).keeps_costs(ORIGINAL, costing(99.0, 9e9))


class TestNextAim:
    @pytest.mark.parametrize("true", [lambda aim: 1.3 * aim, lambda aim: 0.8 * aim])
    def test_times_that_are_off_by_a_factor_come_out_right_next(self, true: Any) -> None:
        (limit,) = Budget.of(Options(latency_ms=4.0)).costs
        aim = limit.next_aim(3.9, 4.0, costing(true(3.9), 0.0))
        assert true(aim) == pytest.approx(4.0)

    def test_sizes_that_are_off_by_an_amount_come_out_right_next(self) -> None:
        (limit,) = Budget.of(Options(max_macs=HALF)).costs
        aim = limit.next_aim(500.0, 500.0, costing(1.0, 540.0))
        assert aim + 40.0 == pytest.approx(500.0)

    def test_a_size_within_the_limit_is_aimed_at_again(self) -> None:
        (limit,) = Budget.of(Options(max_macs=HALF)).costs
        assert limit.next_aim(500.0, 500.0, costing(1.0, 450.0)) == 500.0
