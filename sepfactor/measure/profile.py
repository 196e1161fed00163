"""Where the time goes inside a model: onnxruntime's own profile, node by node.

Profiling slows a session down, so a profile says which nodes weigh what, and interleaved timing of
other sessions says how long the model takes.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from sepfactor.errors import OutputError
from sepfactor.measure.engine import Feed, NodeTime
from sepfactor.measure.onnxruntime_session import open_inference_session, run_session
from sepfactor.scratch import scratch_folder

_DROPPED = 2  # first runs: memory is still being planned and fetched
_SUFFIX = "_kernel_time"


def profile_nodes(
    model: Path | bytes,
    feed: Feed,
    *,
    threads: int,
    provider: str,
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
        session = open_inference_session(
            model, threads=threads, provider=provider, profile_prefix=folder / "profile"
        )
        for number in range(runs + _DROPPED):
            run_session(session, feed)
            if watch is not None:
                watch((number + 1) / (runs + _DROPPED))
        written = session.end_profiling()  # type: ignore[no-untyped-call]  # not annotated there
        try:
            events = json.loads(Path(written).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # onnxruntime says nothing when it cannot write
            raise OutputError(
                f"onnxruntime could not write a profile in {folder}, where temporary files go. Make room "
                "there, or set TMPDIR to another folder."
            ) from None
    return _medians(_per_run(events)[_DROPPED:])


def scaled_to(nodes: Sequence[NodeTime], whole_ms: float | None) -> list[NodeTime]:
    """The same shares of a run that takes ``whole_ms`` milliseconds; as they are where that is None."""
    profiled = sum(node.median_ms for node in nodes)
    scale = 1.0 if whole_ms is None or not profiled else whole_ms / profiled
    return [replace(node, median_ms=scale * node.median_ms) for node in nodes]


class _Node(NamedTuple):
    name: str
    op_type: str
    node_index: int


def _per_run(events: Iterable[Mapping[str, Any]]) -> list[dict[_Node, float]]:
    """Microseconds of each node, without those of nodes inside of it, run by run.

    Args:
        events: in the order in which they ended, as onnxruntime writes them: those of the nodes in a body
            come right before that of its holder, which began before them. ``model_run`` ends a run.
    """
    runs: list[dict[_Node, float]] = []
    current: defaultdict[_Node, float] = defaultdict(float)
    ended: list[tuple[float, float]] = []  # begin and duration of nodes that no holder was found for so far
    for event in events:
        name = str(event["name"])
        if event.get("cat") == "Node" and name.endswith(_SUFFIX):
            about = event["args"]
            index = int(about.get("node_index", -1))
            begin, own = event["ts"], event["dur"]
            while ended and ended[-1][0] >= begin:
                own -= ended.pop()[1]
            ended.append((begin, event["dur"]))
            current[_Node(name.removesuffix(_SUFFIX), str(about["op_name"]), index)] += max(own, 0.0)
        elif name == "model_run":
            runs.append(dict(current))
            current.clear()
            ended.clear()
    return runs


def _medians(runs: list[dict[_Node, float]]) -> list[NodeTime]:
    seen = dict.fromkeys(node for times in runs for node in times)
    return [NodeTime(*node, statistics.median(times.get(node, 0.0) for times in runs) / 1e3) for node in seen]
