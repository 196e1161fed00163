"""Everything here goes the whole way; what is chosen must not hang on how busy the machine is."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.robustness.way import pretend_faster

settings.register_profile("quick", max_examples=25, deadline=None, derandomize=True, database=None)
settings.register_profile("explore", max_examples=300, deadline=None)


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--hypothesis-profile", None):
        settings.load_profile("quick")


@pytest.fixture(autouse=True)
def _always_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_faster(monkeypatch.setattr)
    monkeypatch.setenv("SEPFACTOR_RUN_SECONDS", "5")
