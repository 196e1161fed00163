"""Run sepfactor without much timing or fitting: ``python -m tests.docs.briefly compress …``, or a fixture."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sepfactor.search.settings import DEFAULT
from tests.timing import decide_times, fit_briefly


def time_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates are twice as fast as their layers, networks take what is decided, few plans are built."""
    from sepfactor.search.choose import choose

    decide_times(monkeypatch, 2.0)
    fit_briefly(monkeypatch)
    monkeypatch.setattr(choose, "__defaults__", (None, replace(DEFAULT, builds=2)))


if __name__ == "__main__":
    from sepfactor.cli import main

    with pytest.MonkeyPatch.context() as patch:
        time_briefly(patch)
        main(prog_name="sepfactor")
