"""What to do next, where there is no network to hand out."""

from __future__ import annotations

from typing import Any

import pytest

from sepfactor.report.advice import where_not_kept, where_nothing_is_replaced
from sepfactor.report.model import Budget
from tests.report.samples import layer, report

ROUGH = "nothing cheaper stays within 0.05 of its output (closest: trim, off by 0.3)"
SLOW = "put back: trim measured no faster (0.80× alone)"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"speedup": 2.0}, ("ask for less (--speedup)", "do that")),
        ({"max-macs": "50%", "max-params": "9%"}, ("ask for less (--max-macs, --max-params)",)),
        ({"speedup": 2.0, "min-snr": 40.0}, ("--speedup", "allow a larger loss (--min-snr 35)")),
        ({"speedup": 2.0, "max-drop": "1%"}, ("--max-drop above 1%",)),
    ],
)
def test_a_budget_that_is_not_kept(options: dict[str, Any], words: tuple[str, ...]) -> None:
    said = where_not_kept(options, "do that")
    assert said.startswith("Next: ")
    assert said.endswith("or do that.")
    assert all(word in said for word in words)


def nothing(*reasons: str, budget: str = "", synthetic: bool = False, **options: Any) -> str:
    layers = tuple(layer(name=f"a{i}", reason=reason) for i, reason in enumerate(reasons))
    fields = {"budget": Budget(verdict=budget, is_met=True)} if budget else {}
    data = {"judged_on": "x", "synthetic": synthetic}
    return where_nothing_is_replaced(report(layers=layers, options=options, data=data, **fields))


def test_nothing_replaced_within_a_budget() -> None:
    no_plan = "no faster plan keeps the budget (SNR at least 35 dB)"
    assert "--min-snr 30" in nothing(SLOW, budget=no_plan)
    assert "--min-snr 25" in nothing(SLOW, budget=no_plan, **{"min-snr": 30.0})
    assert "--max-drop 2%" in nothing(SLOW, budget="no faster plan keeps the budget (at most 1 point)")
    counted = "no faster plan keeps the budget (at most 3 points of agreement with the original lost)"
    said = nothing(SLOW, budget=counted, **{"max-drop": "3%"})
    assert "--max-estimated-drop 3%" in said
    assert "--max-drop above 3%" in said
    assert "--max-estimated-drop above 3%" in nothing(SLOW, budget="at most", **{"max-estimated-drop": "3%"})
    assert "larger loss" not in nothing(SLOW, budget="nothing can be made faster")


def test_nothing_replaced_by_a_rule() -> None:
    assert "--max-error 0.1)" in nothing(ROUGH)
    assert "--max-error 0.4)" in nothing(ROUGH, **{"max-error": 0.2})
    assert "a smaller --rank than 8" in nothing("no scheme of rank 8 costs fewer multiplications", rank=8)


def test_what_no_option_mends() -> None:
    assert "int8" in nothing(SLOW, SLOW, "its weight is empty")
    assert "int8" not in nothing(SLOW, "its weight is empty", "its weight is empty")
    assert "sepfactor inspect" in nothing("its weight is empty")


def test_made_up_data_are_the_first_thing_to_change() -> None:
    assert "give --data" in nothing(ROUGH, synthetic=True)
    assert "give --data" not in nothing(ROUGH)
