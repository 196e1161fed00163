"""What runs networks, as the rest sees it: open one, run it, time several in turns, profile one.

An engine is a frozen dataclass with these methods; :mod:`sepfactor.measure.onnxruntime_engine` is the first,
:mod:`sepfactor.measure.openvino_engine`, :mod:`sepfactor.measure.onnxruntime_web_engine` and
:mod:`sepfactor.measure.ncnn_engine` are others, and
:mod:`sepfactor.measure.engines` lists them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict

from numpy.typing import NDArray
from typing_extensions import Unpack

from sepfactor.measure.rounds import Rounds
from sepfactor.measure.timing import Call, Meter
from sepfactor.results import Clock, Environment

Feed = Mapping[str, NDArray[Any]]
"""Inputs of one run, by name."""

Level = Literal["all", "basic", "none"]
"""How much an engine may rewrite a graph: whatever it can; what keeps nodes apart; nothing."""

Use = Literal["values", "times", "shapes"]
"""What a network is opened for."""

Watch = Callable[[float], None]
"""Told which share of the work is done."""


class ValueInfo(Protocol):
    """An input or an output, described as onnxruntime describes it.

    Attributes:
        name: in the graph.
        type: such as ``tensor(float)``.
        shape: a number, a symbolic name or None per axis.
    """

    name: str
    type: str
    shape: Sequence[Any]


@dataclass
class PortInfo:
    """An input or an output, as onnxruntime would describe it."""

    name: str
    type: str
    shape: Sequence[Any]


class Session(Protocol):
    """A network, opened to be run."""

    def get_inputs(self) -> Sequence[ValueInfo]:
        """What it takes, in the order of the graph."""

    def get_outputs(self) -> Sequence[ValueInfo]:
        """What it gives, in the order of the graph."""

    def run(self, feed: Feed) -> list[NDArray[Any]]:
        """Every output of one run, in the order of the graph.

        Raises:
            ModelError: the feed does not fit, or the run fails or takes too long.
        """


@dataclass(frozen=True)
class NodeTime:
    """Time of one node of the optimised graph: the work of the one thread, or what passes if there are more.

    Attributes:
        name: of the node as the engine names it; onnxruntime calls a blocked Conv after its output value
            (``<value>_nchwc``), and a node without a name ``<op>_<index>``.
        op_type: operator type.
        node_index: in the optimised graph.
        median_ms: median over the runs, milliseconds; in OpenVINO their lower quartile. Of a node with bodies
            (If, Loop, Scan) only what the nodes in them leave of it, so that times add up.
    """

    name: str
    op_type: str
    node_index: int
    median_ms: float


class HowToTime(TypedDict, total=False):
    """How long and how exactly sessions are timed, see :func:`sepfactor.measure.timing.time_in_turns`.

    Attributes:
        seconds: at most so long, but not before ``min_rounds``; 5.
        min_rounds: at least so many rounds; 9.
        precision: stop sooner, when the 95 % interval of every ratio to the first is within ± this share.
        seed: of the order, and of the intervals by which it stops; 0.
        as_in_use: short runs follow an untimed one of the same session.
        watch: told now and then how far it is.
    """

    seconds: float
    min_rounds: int
    precision: float | None
    seed: int
    as_in_use: bool
    watch: Watch | None


class Engine(Protocol):
    """What runs networks.

    Attributes:
        name: as users call it.
        threads: threads within one operator; 0 leaves the number to the engine.
        provider: what runs the operators, such as ``cpu``.
        clock: what its times are of: the processor's work (``cpu``), or all that passes (``wall``).
        environment: this machine, as it is now, and the software on it.
        exact: an engine that answers in the type a network is written in, and shows all values in it: what
            factors are fitted to, and what results are compared to. It may be this one.
        block: widths of factors are fast at multiples of so many channels.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 — the class says it
    @property
    def threads(self) -> int: ...  # noqa: D102
    @property
    def provider(self) -> str: ...  # noqa: D102
    @property
    def clock(self) -> Clock: ...  # noqa: D102
    @property
    def environment(self) -> Environment: ...  # noqa: D102
    @property
    def exact(self) -> Engine: ...  # noqa: D102
    @property
    def block(self) -> int: ...  # noqa: D102

    def with_threads(self, threads: int) -> Engine:
        """The same with another number of threads within one operator."""

    def open(
        self,
        model: Path | bytes,
        *,
        level: Level = "all",
        optimised_path: Path | None = None,
        use: Use = "values",
    ) -> Session:
        """Open a network.

        Args:
            model: path, or a serialised ModelProto; its tensors lie within, or in files of the folder that
                :class:`~sepfactor.serialized.Serialized` bytes name.
            level: how much of the graph may be rewritten.
            optimised_path: write the optimised graph there, if this engine can.
            use: ``values`` takes little memory; ``times`` runs as users do; ``shapes``, for networks whose
                outputs are shapes of values, forgets these values as soon as it can.

        Raises:
            ModelError: the engine cannot load the network.
            OptionError: the provider is unknown, or does not start on this machine.
            OutputError: the folder of ``optimised_path`` is missing.
        """

    def time(self, runs: Sequence[tuple[Session, Sequence[Feed]]], **how: Unpack[HowToTime]) -> Rounds:
        """Time sessions of this engine in turns, each on its feeds; the first is what others are compared to.

        Round after round takes the next feed, and begins again behind the last one.

        Args:
            runs: what to time. Each was run on the first of its feeds before.
            **how: how long and how exactly.

        Raises:
            ModelError: a session cannot be run on one of its feeds.
        """

    def call(self, session: Session, feeds: Sequence[Feed]) -> Call:
        """A run of a session of this engine, timed: by the calling thread, on the feed of a round."""

    def meter(self) -> Meter:
        """What its runs are timed with."""

    def failures(self) -> tuple[type[Exception], ...]:
        """What such a run raises where it fails."""

    def profile(
        self, model: Path | bytes, feed: Feed, *, runs: int = 10, watch: Watch | None = None
    ) -> list[NodeTime]:
        """Time of every node of the optimised graph, in the order of execution.

        Profiling slows a network down: it says which nodes weigh what, and :meth:`time` says how long the
        network takes.

        Args:
            model: as in :meth:`open`.
            feed: inputs by name.
            runs: how many runs the medians are over.
            watch: told which share of them is done.

        Raises:
            ModelError: the network cannot be loaded or run.
            OutputError: there is no room for the profile.
            ValueError: there is nothing to take a median of.
        """
