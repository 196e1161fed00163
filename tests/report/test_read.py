"""Documents saved and read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sepfactor.errors import DataError
from sepfactor.report.base import Document
from sepfactor.report.read import read_document
from tests.report.samples import bench, comparison, inspection, report, rich_report


@pytest.mark.parametrize("make", [report, rich_report, inspection, bench, comparison])
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
        ('{"totals": {}, "schema_version": "1.0"}', "is damaged at"),
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


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        read_document(tmp_path / "x.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_document(tmp_path)


def test_fields_of_a_later_version_are_not_taken_for_ours(tmp_path: Path) -> None:
    later = json.loads(report().to_json()) | {"schema_version": "2.0", "new": 1}
    (tmp_path / "x.json").write_text(json.dumps(later), encoding="utf-8")
    with pytest.raises(DataError, match=r"this sepfactor reads 1\.0"):
        read_document(tmp_path / "x.json")
