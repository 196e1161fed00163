"""Searches here look at fewer ranks of each scheme, which is most of what they take of small networks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sepfactor.search.choose import choose
from sepfactor.search.settings import DEFAULT


@pytest.fixture(autouse=True)
def _fewer_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose.__defaults__ == (None, DEFAULT)
    monkeypatch.setattr(choose, "__defaults__", (None, replace(DEFAULT, ranks_per_scheme=(4, 6))))
