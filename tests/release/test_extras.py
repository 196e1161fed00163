"""What is not installed is told in words that hold wherever sepfactor came from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sepfactor.extras import EXTRAS, how_to_install

tomllib = pytest.importorskip("tomllib")


def test_are_those_of_the_project(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra, packages in EXTRAS.items():
        asked = {re.split(r"[<>=!~ ]", one)[0].lower() for one in project["optional-dependencies"][extra]}
        assert asked == set(packages)
        assert how_to_install(extra).split()[2:] == list(packages)


def test_every_dependency_is_told_what_it_is_for(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (root / "docs" / "dependencies.md").read_text(encoding="utf-8")
    for asked in (*project["dependencies"], *(one for extra in EXTRAS.values() for one in extra)):
        assert f"`{re.split(r'[<>=!~ ]', asked)[0]}`" in page


def test_name_is_nowhere_taken_for_one_of_an_index(root: Path) -> None:
    """Until it is on one; then these words change in one place."""
    files = [*(root / "sepfactor").rglob("*.py"), *(root / "docs").rglob("*.md"), root / "README.md"]
    for file in files:
        found = re.search(
            r"install[^\n]*[ '\"]sepfactor(\[|['\" ]|$)", file.read_text(encoding="utf-8"), re.MULTILINE
        )
        assert found is None, f"{file}: {found[0]}"
