"""onnxruntime-web as an engine: the build for browsers, in WebAssembly, on one thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sepfactor.errors import OptionError
from sepfactor.layout import BLOCK
from sepfactor.measure.engine import Feed, Level, NodeTime, Session, Use, ValueInfo, Watch
from sepfactor.measure.in_turns import TimesInTurns
from sepfactor.measure.machine import this_machine
from sepfactor.measure.onnxruntime_engine import OnnxRuntime
from sepfactor.measure.onnxruntime_web_session import (
    PACKAGE,
    Fed,
    Opened,
    failures,
    node_program,
    node_version,
    opened,
    package_version,
    profiled,
    run_opened,
    time_of_run,
)
from sepfactor.measure.timing import (
    Call,
    Elsewhere,
    Meter,
    WallClock,
    WorkElsewhere,
    has_fine_thread_clock,
)
from sepfactor.results import Clock, Environment

_ELSEWHERE = Elsewhere()
"""What all runs of this engine took in the process that runs them."""


@dataclass(frozen=True, eq=False)
class OnnxWebSession:
    """A network that onnxruntime-web runs.

    Attributes:
        network: in the process that runs it.
    """

    network: Opened

    def get_inputs(self) -> Sequence[ValueInfo]:
        """What it takes, in the order of the graph."""
        return self.network.inputs

    def get_outputs(self) -> Sequence[ValueInfo]:
        """What it gives, in the order of the graph."""
        return self.network.outputs

    def run(self, feed: Feed) -> list[NDArray[Any]]:
        """Every output of one run, in the order of the graph.

        Raises:
            ModelError: the feed does not fit, the run fails or takes longer than
                :func:`~sepfactor.measure.time_limit.run_seconds` allows, or an output is not of numbers.
        """
        return run_opened(self.network, feed)


@dataclass(frozen=True)
class OnnxRuntimeWeb(TimesInTurns):
    """onnxruntime-web in Node.js.

    Attributes:
        threads: 1; or 0 for what it takes by itself, which is 1 as well on most pages.
        provider: ``cpu``, also called ``wasm``.
    """

    def __post_init__(self) -> None:
        if self.threads not in (0, 1):
            raise OptionError(
                f"{self.threads} threads cannot be: {PACKAGE} is run with one thread here, as browsers do on "
                "pages that do not ask for more. Leave --threads out."
            )
        if self.provider.lower() not in ("cpu", "wasm"):
            raise OptionError(
                f"{PACKAGE} is run on the provider wasm only, not {self.provider!r}: leave --provider out."
            )

    @property
    def name(self) -> str:
        """As users call it."""
        return PACKAGE

    @property
    def exact(self) -> OnnxRuntime:
        """onnxruntime: it computes the same in less time."""
        return OnnxRuntime(self.threads)

    @property
    def block(self) -> int:
        """Channels by which widths are worth trying: as in onnxruntime, though there are no steps.

        Layers with 8 to 32 channels take as long as they have channels. On a grid of 4 ESPCN's plan was 3.4
        times as fast as the file, and 4.9 times on this one: there, other forms were among its candidates.
        """
        return BLOCK

    @property
    def clock(self) -> Clock:
        """The processor's work: one thread does all of it."""
        return "cpu" if has_fine_thread_clock() else "wall"

    @property
    def environment(self) -> Environment:
        """This machine, as it is now, and the software on it."""
        return this_machine(
            engine=self.name,
            engine_version=package_version(),
            threads=self.threads,
            provider=f"WebAssembly in Node {node_version(node_program())}",
            clock=self.clock,
        )

    def open(
        self,
        model: Path | bytes,
        *,
        level: Level = "all",
        optimised_path: Path | None = None,
        use: Use = "values",
    ) -> OnnxWebSession:
        """Open a network; see :meth:`sepfactor.measure.engine.Engine.open`.

        Optimised graphs stay within: none is written.
        """
        return OnnxWebSession(opened(model, level=level, use=use))

    def failures(self) -> tuple[type[Exception], ...]:
        """What a run raises where it fails."""
        return failures()

    def profile(
        self, model: Path | bytes, feed: Feed, *, runs: int = 10, watch: Watch | None = None
    ) -> list[NodeTime]:
        """Time of every node; see :meth:`sepfactor.measure.engine.Engine.profile`."""
        return profiled(model, feed, clock=self.clock, runs=runs, watch=watch)

    def call(self, session: Session, feeds: Sequence[Feed]) -> Call:
        """A run in the other process, on inputs that are there already; asking it to is not counted."""
        if not isinstance(session, OnnxWebSession):
            raise TypeError(f"{PACKAGE} times its own sessions, not a {type(session).__name__}")
        network = session.network
        inputs = [Fed(network.process, feed) for feed in feeds]
        count = len(inputs)

        def run(number: int) -> None:
            passed, worked = time.perf_counter(), time.thread_time()
            took, work = time_of_run(network, inputs[number % count])
            _ELSEWHERE.passed += took - (time.perf_counter() - passed)
            _ELSEWHERE.worked += work - (time.thread_time() - worked)

        return run

    def meter(self) -> Meter:
        """What its runs are timed with."""
        return WorkElsewhere(_ELSEWHERE) if self.clock == "cpu" else WallClock()
