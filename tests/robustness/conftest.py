"""Everything here goes the whole way; what is chosen must not hang on how busy the machine is."""

from __future__ import annotations

import pytest

from tests.robustness.way import pretend_faster


@pytest.fixture(autouse=True)
def _always_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_faster(monkeypatch.setattr)
    monkeypatch.setenv("SEPFACTOR_RUN_SECONDS", "5")
