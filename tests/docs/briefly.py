"""Run sepfactor with little time for timing: ``python -m tests.docs.briefly compress …``, or as a fixture."""

from __future__ import annotations

from typing import Any

import pytest

from tests.timing import decide_times


def time_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates are twice as fast as their layers, networks are hardly timed, and few plans are built."""
    import sepfactor.benchmark as benchmark
    import sepfactor.deliver.verify as verify
    import sepfactor.search.planner as search
    from sepfactor.study.study import Job

    timed, interleaved = verify.time_networks, benchmark.interleave

    def time_networks(models: Any, feed: Any, runtime: Any, seconds: float, *rest: Any) -> Any:
        return timed(models, feed, runtime, min(seconds, 0.05), *rest)

    def interleave(calls: Any, **settings: Any) -> Any:
        return interleaved(calls, **settings | {"budget_s": 0.05})

    monkeypatch.setattr(verify, "time_networks", time_networks)
    monkeypatch.setattr(benchmark, "interleave", interleave)
    monkeypatch.setattr(search, "_BUILDS", 2)
    monkeypatch.setattr(Job, "timing_seconds", 0.0)
    decide_times(monkeypatch, 2.0)


if __name__ == "__main__":
    from sepfactor.cli import main

    with pytest.MonkeyPatch.context() as patch:
        time_briefly(patch)
        main(prog_name="sepfactor")
