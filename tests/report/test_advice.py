"""What to do next, where there is no network to hand out."""

from __future__ import annotations

from typing import Any

import pytest

from sepfactor.codes import BudgetVerdict, Reason
from sepfactor.report.advice import where_not_kept, where_nothing_is_replaced
from sepfactor.results import Budget, QualityKind
from tests.report.samples import data, layer, report

ROUGH = Reason("too-far-off", "nothing cheaper stays within 0.05 of its output", "closest: trim, off by 0.3")
SLOW = Reason("no-faster", "put back: the best candidate measured no faster", "trim, 0.80× alone")
EMPTY = Reason("empty-weight", "its weight is empty")
NO_RANK = Reason("no-cheaper-rank", "no scheme of the rank asked for costs fewer multiplications", "rank 8")


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


def nothing(*reasons: Reason, budget: Budget | None = None, synthetic: bool = False, **options: Any) -> str:
    layers = tuple(layer(name=f"a{i}", reason=reason) for i, reason in enumerate(reasons))
    made_up = data(synthetic=synthetic)
    return where_nothing_is_replaced(report(layers=layers, options=options, data=made_up, budget=budget))


def budget(counts: QualityKind, code: str = "no-plan") -> Budget:
    return Budget(verdict=BudgetVerdict(code, True, "words that nothing goes by"), counts=counts)


def test_nothing_replaced_within_a_budget() -> None:
    assert "--min-snr 30" in nothing(SLOW, budget=budget("snr"))
    assert "--min-snr 25" in nothing(SLOW, budget=budget("snr"), **{"min-snr": 30.0})
    assert "--max-drop 2%" in nothing(SLOW, budget=budget("top-1"))
    said = nothing(SLOW, budget=budget("agreement"), **{"max-drop": "3%"})
    assert "--max-estimated-drop 3%" in said
    assert "--max-drop above 3%" in said
    estimated = nothing(SLOW, budget=budget("estimate"), **{"max-estimated-drop": "3%"})
    assert "--max-estimated-drop above 3%" in estimated
    assert "larger loss" not in nothing(SLOW, budget=budget("top-1", "nothing-faster"))


def test_nothing_replaced_by_a_rule() -> None:
    assert "--max-error 0.1)" in nothing(ROUGH)
    assert "--max-error 0.4)" in nothing(ROUGH, **{"max-error": 0.2})
    assert "a smaller --rank than 8" in nothing(NO_RANK, rank=8)


def test_what_no_option_mends() -> None:
    assert "int8" in nothing(SLOW, SLOW, EMPTY)
    assert "int8" not in nothing(SLOW, EMPTY, EMPTY)
    assert "sepfactor inspect" in nothing(EMPTY)


def test_made_up_data_are_the_first_thing_to_change() -> None:
    assert "give --data" in nothing(ROUGH, synthetic=True)
    assert "give --data" not in nothing(ROUGH)


def test_nothing_goes_by_words() -> None:
    """The same codes with other sentences lead to the same advice."""
    for reason in (ROUGH, SLOW, EMPTY, NO_RANK):
        other = Reason(reason.code, "put back: agreement of 3 dB, nothing cheaper stays")
        assert nothing(other) == nothing(reason)
