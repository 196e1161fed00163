"""Where the time goes inside a model: onnxruntime's own profile, node by node.

Profiling slows a session down, so a profile says which nodes weigh what, and interleaved timing of
other sessions says how long the model takes. onnxruntime profiles by the clock on the wall; what one thread
computes alone is counted in that thread's own work meanwhile, which other programs do not move.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sepfactor.errors import OutputError
from sepfactor.measure.engine import Feed, NodeTime
from sepfactor.measure.onnxruntime_session import open_inference_session, run_session
from sepfactor.measure.thread_work import Reader, ThreadWork, can_be_read
from sepfactor.scratch import scratch_folder

DROPPED = 2
"""First runs that do not count: memory is still being planned and fetched."""

_SUFFIX = "_kernel_time"

_SURE, _SURE_US = 0.1, 2.0
"""What a node worked is known if it is to this share, or to so many microseconds."""

_ENOUGH = 1 / 3
"""Medians are over so many of the runs at least, those in which it is known best."""

_CLOCKS = (time.monotonic_ns, time.time_ns)
"""onnxruntime's clock is one of these, by the system."""


def profile_nodes(
    model: Path | bytes,
    feed: Feed,
    *,
    threads: int,
    provider: str,
    alone: bool = False,
    runs: int = 10,
    watch: Callable[[float], None] | None = None,
) -> list[NodeTime]:
    """Time of every node of the optimised graph, in the order of execution.

    A node that runs several times in one run (in a Loop) counts with the sum.

    Args:
        model: path, or a serialised ModelProto.
        feed: inputs by name.
        threads: threads within one operator.
        provider: execution provider.
        alone: the thread that runs the network does all of the work: times are of that.
        runs: how many runs the medians are over; two more come before and are dropped.
        watch: told after each run which share of them is done.

    Raises:
        ModelError: the model cannot be loaded or run.
        OutputError: there is no room for the profile.
        ValueError: there is nothing to take a median of.
    """
    if runs < 1:
        raise ValueError(f"a profile needs at least one run, not {runs}")
    with scratch_folder() as folder:
        opening = [clock() for clock in _CLOCKS]
        session = open_inference_session(
            model, threads=threads, provider=provider, profile_prefix=folder / "profile"
        )
        begin = int(session.get_profiling_start_time_ns())  # type: ignore[no-untyped-call]
        clock = _clock_of(begin, opening) if alone else None
        works = [ThreadWork(clock) for _ in range(runs + DROPPED)] if clock and can_be_read() else []
        for number in range(runs + DROPPED):
            run_session(session, feed, works[number] if works else None)
            if watch is not None:
                watch((number + 1) / (runs + DROPPED))
        written = session.end_profiling()  # type: ignore[no-untyped-call]  # not annotated there
        try:
            events = json.loads(Path(written).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # onnxruntime says nothing when it cannot write
            raise OutputError(
                f"onnxruntime could not write a profile in {folder}, where temporary files go. Make room "
                "there, or set TMPDIR to another folder."
            ) from None
    took = partial(_worked, works, begin) if works else _passed
    return _medians(_per_run(events, took)[DROPPED:])


def _clock_of(begin: int, opening: Sequence[int]) -> Reader | None:
    """The clock by which a session that was opened just now began to profile."""
    for clock, opened in zip(_CLOCKS, opening, strict=True):
        if opened <= begin <= clock():
            return clock
    return None


def times_of_events(events: Iterable[Mapping[str, Any]]) -> list[NodeTime]:
    """Time of every node by the clock of the profile itself, in the order of execution.

    Args:
        events: of a profile, as onnxruntime writes them; its first :data:`DROPPED` runs are left out.
    """
    return _medians(_per_run(events)[DROPPED:])


def scaled_to(nodes: Sequence[NodeTime], whole_ms: float | None) -> list[NodeTime]:
    """The same shares of a run that takes ``whole_ms`` milliseconds; as they are where that is None."""
    profiled = sum(node.median_ms for node in nodes)
    scale = 1.0 if whole_ms is None or not profiled else whole_ms / profiled
    return [replace(node, median_ms=scale * node.median_ms) for node in nodes]


class _Node(NamedTuple):
    name: str
    op_type: str
    node_index: int


class _Took(NamedTuple):
    """Microseconds, and how far off they may be."""

    time: float
    doubt: float


def _passed(_run: int, _begin: float, duration: float) -> _Took:
    return _Took(duration, 0.0)


def _worked(works: Sequence[ThreadWork], start: int, run: int, begin: float, duration: float) -> _Took:
    """What the thread of a run worked meanwhile.

    Args:
        works: of each run.
        start: of the profile, nanoseconds.
        run: number.
        begin: microseconds after the start of the profile.
        duration: microseconds.
    """
    first = start + round(1e3 * begin)
    least, most = works[run].between(first, first + round(1e3 * duration))
    return _Took((least + most) / 2e3, (most - least) / 2e3)


def _per_run(
    events: Iterable[Mapping[str, Any]], took: Callable[[int, float, float], _Took] = _passed
) -> list[dict[_Node, _Took]]:
    """What each node took, without those of nodes inside of it, run by run.

    Args:
        events: in the order in which they ended, as onnxruntime writes them: those of the nodes in a body
            come right before that of its holder, which began before them. ``model_run`` ends a run.
        took: of the run of a number, from a moment on, so long.
    """
    runs: list[dict[_Node, _Took]] = []
    current: dict[_Node, _Took] = {}
    ended: list[tuple[float, _Took]] = []  # begin and time of nodes that no holder was found for so far
    for event in events:
        name = str(event["name"])
        if event.get("cat") == "Node" and name.endswith(_SUFFIX):
            about = event["args"]
            node = _Node(name.removesuffix(_SUFFIX), str(about["op_name"]), int(about.get("node_index", -1)))
            begin = event["ts"]
            whole = took(len(runs), begin, event["dur"])
            own, doubt = whole
            while ended and ended[-1][0] >= begin:
                inside = ended.pop()[1]
                own, doubt = own - inside.time, doubt + inside.doubt
            ended.append((begin, whole))
            before = current.get(node, _Took(0.0, 0.0))
            current[node] = _Took(before.time + max(own, 0.0), before.doubt + doubt)
        elif name == "model_run":
            runs.append(current)
            current = {}
            ended.clear()
    return runs


def _medians(runs: Sequence[Mapping[_Node, _Took]]) -> list[NodeTime]:
    seen = dict.fromkeys(node for times in runs for node in times)
    return [
        NodeTime(*node, _median([times.get(node, _Took(0.0, 0.0)) for times in runs]) / 1e3) for node in seen
    ]


def _median(times: Sequence[_Took]) -> float:
    """Over the runs in which it is known, or known best."""
    known = [took.time for took in times if took.doubt <= max(_SURE * took.time, _SURE_US)]
    enough = math.ceil(_ENOUGH * len(times))
    if len(known) < enough:
        known = [took.time for took in sorted(times, key=lambda took: took.doubt)[:enough]]
    return statistics.median(known)
