"""Times that are decided, not measured: what is tested is what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sepfactor.graph.survey import Site
from sepfactor.search import space as menu
from sepfactor.search.layer_timing import LayerTime, Stopwatch
from sepfactor.search.planner import Planner, macs_of
from sepfactor.study.study import Job


def times_of(speedup: float) -> Callable[..., list[LayerTime | None]]:
    """For :class:`Stopwatch`: every candidate is so many times faster than its layer, within ± 5 %."""

    def times(_: Stopwatch, dense: Any, others: Sequence[Any], place: Any) -> list[LayerTime | None]:
        return [LayerTime(1.0, 1 / speedup, speedup, 0.95 * speedup, 1.05 * speedup) for _ in others]

    return times


def decide_times(monkeypatch: pytest.MonkeyPatch, speedup: float) -> None:
    """Let all candidates take so long from here on."""
    monkeypatch.setattr(Stopwatch, "times", times_of(speedup))
    _stay_so(monkeypatch, lambda job, site: 1.0)


def _stay_so(monkeypatch: pytest.MonkeyPatch, layer_ms: Callable[[Job, Site], float]) -> None:
    """Layers take so long in the network of this machine, and what a plan took as built corrects nothing."""
    of_a_profile = menu.network_times

    def network_times(job: Job) -> menu.NetworkTimes:
        if job.machine is not None:
            return of_a_profile(job)
        layers = {site.output: layer_ms(job, site) for site in job.sites}
        return menu.NetworkTimes(layers, sum(layers.values()), sum(layers.values()))

    monkeypatch.setattr(menu, "network_times", network_times)
    monkeypatch.setattr(Planner, "_learn", lambda *_: None)


def times_by_macs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a candidate take as long as it has multiply-accumulates."""

    def times(_: Stopwatch, dense: Any, others: Sequence[Any], place: Any) -> list[LayerTime | None]:
        whole = dense.macs(place.size)
        speedups = [whole / other.macs(place.size) for other in others]
        return [LayerTime(1.0, 1 / s, s, s, s) for s in speedups]

    monkeypatch.setattr(Stopwatch, "times", times)
    _stay_so(monkeypatch, lambda job, site: 1e-6 * macs_of(job, site))
