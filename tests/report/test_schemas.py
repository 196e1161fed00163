"""The published schemas are those of the models, and what is put out fits them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pydantic
import pytest
from jsonschema import Draft202012Validator, ValidationError

from sepfactor.report.schemas import make, names, published
from sepfactor.results import Document
from tests.report.samples import bench, comparison, inspection, planning, rewritten, rich_report


@pytest.mark.skipif(pydantic.VERSION < "2.14", reason="schemas are worded by pydantic 2.14 or later")
@pytest.mark.parametrize("name", names())
def test_what_ships_is_up_to_date(name: str) -> None:
    assert published(name) == make(name), "run: python -m sepfactor.report.schemas"


@pytest.mark.parametrize("name", names())
def test_they_are_schemas(name: str) -> None:
    Draft202012Validator.check_schema(published(name))


def check(name: str, found: Any) -> None:
    Draft202012Validator(published(name)).validate(found)


SAMPLES = pytest.mark.parametrize(
    ("name", "document"),
    [
        ("report", rich_report),
        ("inspection", inspection),
        ("bench", bench),
        ("comparison", comparison),
        ("planning", planning),
        ("tidied", rewritten),
    ],
)


@SAMPLES
def test_documents_fit(name: str, document: Callable[[], Document]) -> None:
    check(name, json.loads(document().to_json()))


@SAMPLES
def test_unknown_and_missing_fields_do_not(name: str, document: Callable[[], Document]) -> None:
    found = json.loads(document().to_json())
    with pytest.raises(ValidationError):
        check(name, found | {"unheard_of": 1})
    with pytest.raises(ValidationError):
        check(name, {key: value for key, value in found.items() if key != "sepfactor_version"})
    with pytest.raises(ValidationError):
        check(name, found | {"environment": {}})


def test_they_go_down_to_the_leaves() -> None:
    found = json.loads(rich_report().to_json())
    del found["accuracy"]["outputs"][0]["snr_db"]
    with pytest.raises(ValidationError):
        check("report", found)


_NAMED_BY_USERS = {
    *("options", "spectrum", "ranks", "full_ranks", "seen_ranks", "refusals", "operators"),
    "shapes",
}


@pytest.mark.parametrize("name", names())
def test_only_what_users_name_has_names_of_its_own(name: str) -> None:
    """Options, schemes, operator types and inputs; whatever else is known by name has its type."""
    free = set()

    def look(value: Any, place: str = "") -> None:
        if isinstance(value, dict):
            if isinstance(value.get("additionalProperties"), dict | bool) and value["additionalProperties"]:
                free.add(place)
            for key, part in value.items():
                look(part, key if key not in ("properties", "anyOf") else place)
        elif isinstance(value, list):
            for part in value:
                look(part, place)

    look(make(name))
    assert free <= _NAMED_BY_USERS
