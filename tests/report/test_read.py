"""Documents saved and read again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sepfactor.errors import DataError
from sepfactor.report.markup import markdown, view
from sepfactor.report.read import read_document
from sepfactor.results import Document
from tests.report.samples import bench, comparison, inspection, planning, report, rewritten, rich_report


@pytest.mark.parametrize("make", [report, rich_report, inspection, bench, comparison, planning, rewritten])
def test_what_is_read_is_what_was_saved(make: Callable[[], Document], tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(make().to_json(), encoding="utf-8")
    found = read_document(file)
    assert type(found) is type(make())
    assert found.to_json() == make().to_json()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("\udcff", "is not JSON"),
        ("[]", "is no report of sepfactor"),
        ('{"a": 1}', "is no report of sepfactor"),
        ('{"totals": {}, "schema_version": "2.0"}', "is damaged at sepfactor_version: Field required"),
        ('{"totals": {"bytes_after": NaN}, "schema_version": "2.0"}', "damaged at totals.bytes_after"),
        ('{"totals": {}, "layers": [1e999], "schema_version": "2.0"}', "damaged at layers.0: a number"),
        ('{"totals": {}, "schema_version": "9.7"}', "has the format 9.7"),
    ],
)
def test_other_files(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError, match=words):
        read_document(file)


def test_what_is_no_text_at_all(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"\x08\x07\xff\xfe")
    with pytest.raises(DataError) as refused:
        read_document(file)
    assert not any(word in str(refused.value) for word in ("codec", "utf", "byte"))
    assert "name a file that a command wrote with --json" in str(refused.value)


Place = tuple[str | int, ...]


GONE: Any = object()


def leaves(value: Any, place: Place = ()) -> Iterator[Place]:
    """Where there is anything in a document, mappings and lists included."""
    yield place
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(part, (*place, key))


@pytest.mark.parametrize("make", [rich_report, inspection, bench, comparison, planning, rewritten])
@pytest.mark.parametrize(
    "wrong", [{"no": "such thing"}, "words", [[[]]], GONE], ids=["mapping", "text", "list", "gone"]
)
def test_whatever_is_damaged_is_refused_with_its_place_or_shown(
    make: Callable[[], Document], wrong: Any, tmp_path: Path
) -> None:
    """Any part replaced by something else: a sentence says where, or the views make do with it."""
    file, whole = tmp_path / "x.json", json.loads(make().to_json())
    for place in leaves(whole):
        if not place or place[0] == "schema_version":
            continue
        damaged = json.loads(json.dumps(whole))
        inner = damaged
        for key in place[:-1]:
            inner = inner[key]
        if wrong is GONE:
            del inner[place[-1]]
        else:
            inner[place[-1]] = wrong
        file.write_text(json.dumps(damaged), encoding="utf-8")
        try:
            found = read_document(file)
        except DataError as error:
            assert any(words in str(error) for words in (f"damaged at {place[0]}", "is no report")), place
        else:
            assert found.to_json()
            assert markdown(view(found))
            repr(found)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        read_document(tmp_path / "x.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_document(tmp_path)


def test_fields_of_a_later_version_are_not_taken_for_ours(tmp_path: Path) -> None:
    later = json.loads(report().to_json()) | {"schema_version": "3.0", "new": 1}
    (tmp_path / "x.json").write_text(json.dumps(later), encoding="utf-8")
    with pytest.raises(DataError, match=r"this sepfactor reads 2\.0"):
        read_document(tmp_path / "x.json")
