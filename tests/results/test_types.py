"""Every result: documented field by field, frozen, and the same after JSON."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from sepfactor import results
from sepfactor.codes import BudgetVerdict, Reason, Verdict
from sepfactor.report.reasons import by_reason
from sepfactor.results import Document, Histogram, OutputDifference, Quality, Ratio
from tests.report.samples import OUTPUT, bench, comparison, inspection, layer, planning, rich_report

TYPES = [
    kind
    for name in results.__all__
    if isinstance(kind := getattr(results, name), type) and not issubclass(kind, Document)
] + [Reason, Verdict, BudgetVerdict, *Document.__subclasses__()]


def fields_of(kind: type) -> Iterator[str]:
    if issubclass(kind, BaseModel):
        yield from kind.model_fields
    elif dataclasses.is_dataclass(kind):
        yield from (field.name for field in dataclasses.fields(kind))


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_field_has_a_line_of_its_own(kind: type) -> None:
    parents = (one.__doc__ or "" for one in kind.__mro__ if one.__module__.startswith("sepfactor"))
    told = set(re.findall(r"^ {8}(\w+): \S", "\n".join(parents), re.MULTILINE))
    assert told >= set(fields_of(kind))


@pytest.mark.parametrize("make", [rich_report, planning, inspection, bench, comparison])
def test_documents_are_frozen_and_survive_json(make: Callable[[], Document]) -> None:
    document = make()
    with pytest.raises(ValidationError, match="frozen"):
        document.sepfactor_version = "1"  # type: ignore[misc]
    assert type(document).model_validate_json(document.to_json()) == document


FACTORS = st.floats(0.01, 100)


@given(FACTORS, st.floats(1, 2), st.floats(1, 2))
def test_the_verdict_of_a_ratio_follows_from_its_figures(ratio: float, below: float, above: float) -> None:
    found = Ratio(ratio=ratio, low=ratio / below, high=ratio * above)
    wanted = "faster" if found.low > 1 else "slower" if found.high < 1 else "unchanged"
    assert found.verdict.code == wanted
    assert found.measurable == (wanted != "unchanged")
    turned = Ratio(ratio=1 / ratio, low=1 / found.high, high=1 / found.low)
    assert {found.verdict.code, turned.verdict.code} in ({"faster", "slower"}, {"unchanged"})


def test_null_is_told_apart_by_what_stands_beside_it() -> None:
    equal = OutputDifference.model_validate(OUTPUT | {"relative_error": 0.0, "snr_db": None})
    unknown = OutputDifference.model_validate(OUTPUT | {"relative_error": None, "snr_db": None})
    assert equal.snr_db == math.inf
    assert math.isnan(unknown.snr_db)
    assert (equal.is_finite, unknown.is_finite) == (True, False)


def test_the_drop_follows_from_the_scores() -> None:
    found = Quality(kind="top-1", original=0.9, result=0.8, expected=0.85, divergence=0.1, samples=9)
    assert found.drop == pytest.approx(0.05)
    assert not found.is_noise


@pytest.mark.parametrize(
    "wrong",
    [{"edges": (1.0, 1.0, 2.0)}, {"edges": (0.0, 1.0, 2.0)}, {"edges": (1.0, 2.0)}, {"counts": (-1, 2)}],
)
def test_a_histogram_lies_between_rising_edges(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Histogram.model_validate(
            {"edges": (1.0, 2.0, 3.0), "counts": (1, 2), "equal": 0, "within_99": 3.0} | wrong
        )


def test_layers_that_stay_are_put_together_by_code() -> None:
    """Whatever the sentences say; what takes most of the time comes first."""
    kept = [
        layer(name="a", reason=Reason("x", "one", "detail"), milliseconds_before=1.0),
        layer(name="b", reason=Reason("y", "one"), milliseconds_before=5.0),
        layer(name="c", reason=Reason("x", "another"), milliseconds_before=1.0),
        layer(name="d", milliseconds_before=0.1),
    ]
    found = [(why, [one.name for one in group]) for why, group in by_reason(kept)]
    assert found[:2] == [("one", ["b"]), ("one; another", ["a", "c"])]
    assert found[2][1] == ["d"]
