"""Where the time goes inside a model: onnxruntime's own profile, node by node.

Profiling slows a session down, so a profile says which nodes weigh what, and interleaved timing of
other sessions says how long the model takes.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sepfactor.errors import OutputError
from sepfactor.measure.session import Feed, Runtime, open_session, run

_DROPPED = 2  # first runs: memory is still being planned and fetched
_SUFFIX = "_kernel_time"


@dataclass(frozen=True)
class NodeTime:
    """Time of one node of the optimised graph.

    Attributes:
        name: of the profile's event: the node's name, which for a blocked Conv is made of its
            output value (``<value>_nchwc``), or ``<op>_<index>`` for a node without a name.
        op_type: operator type.
        node_index: in the optimised graph.
        median_ms: median over the runs, milliseconds; onnxruntime counts whole microseconds. Of a node
            with bodies (If, Loop, Scan) only what the nodes in them leave of it, so that times add up.
    """

    name: str
    op_type: str
    node_index: int
    median_ms: float

    def as_dict(self) -> dict[str, str | int | float]:
        """The fields, ready for JSON."""
        return asdict(self)


def profile_nodes(
    model: Path | bytes,
    feed: Feed,
    runtime: Runtime,
    *,
    runs: int = 10,
    watch: Callable[[float], None] | None = None,
) -> list[NodeTime]:
    """Time of every node of the optimised graph, in the order of execution.

    A node that runs several times in one run (in a Loop) counts with the sum.

    Args:
        model: path, or a serialised ModelProto.
        feed: inputs by name.
        runtime: threads and provider.
        runs: how many runs the medians are over; two more come before and are dropped.
        watch: told after each run which share of them is done.

    Raises:
        ModelError: the model cannot be loaded or run.
        OutputError: there is no room for the profile.
        ValueError: there is nothing to take a median of.
    """
    if runs < 1:
        raise ValueError(f"a profile needs at least one run, not {runs}")
    with tempfile.TemporaryDirectory(prefix="sepfactor-profile-", ignore_cleanup_errors=True) as folder:
        session = open_session(model, runtime, profile_prefix=Path(folder) / "profile")
        for number in range(runs + _DROPPED):
            run(session, feed)
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
