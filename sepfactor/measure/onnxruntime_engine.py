"""onnxruntime as an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from sepfactor.errors import OptionError
from sepfactor.layout import BLOCK
from sepfactor.measure.engine import Feed, Level, NodeTime, Session, Use, ValueInfo, Watch
from sepfactor.measure.in_turns import TimesInTurns
from sepfactor.measure.machine import this_machine
from sepfactor.measure.onnxruntime_session import (
    CPU,
    failures,
    onnxruntime_module,
    open_inference_session,
    provider_name,
    run_session,
)
from sepfactor.measure.profile import profile_nodes
from sepfactor.measure.timing import (
    Call,
    Meter,
    SeveralThreads,
    WallClock,
    WorkOfThisThread,
    has_fine_thread_clock,
)
from sepfactor.results import Clock, Environment

if TYPE_CHECKING:
    from onnxruntime.capi.onnxruntime_inference_collection import InferenceSession


@dataclass(frozen=True, eq=False)
class OnnxSession:
    """A network that onnxruntime runs.

    Attributes:
        inference: onnxruntime's own session.
    """

    inference: InferenceSession

    def get_inputs(self) -> Sequence[ValueInfo]:
        """What it takes, in the order of the graph."""
        inputs: Sequence[ValueInfo] = self.inference.get_inputs()
        return inputs

    def get_outputs(self) -> Sequence[ValueInfo]:
        """What it gives, in the order of the graph."""
        outputs: Sequence[ValueInfo] = self.inference.get_outputs()
        return outputs

    def run(self, feed: Feed) -> list[NDArray[Any]]:
        """Every output of one run, in the order of the graph.

        Raises:
            ModelError: the feed does not fit, the run fails or takes longer than
                :func:`~sepfactor.measure.time_limit.run_seconds` allows, or an output is not a tensor.
        """
        return run_session(self.inference, feed)


@dataclass(frozen=True)
class OnnxRuntime(TimesInTurns):
    """onnxruntime with so many threads and this execution provider.

    Attributes:
        threads: threads within one operator; 0 leaves the number to onnxruntime.
        provider: execution provider, short (``cpu``, ``cuda``) or in full (``CPUExecutionProvider``).
    """

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise OptionError(
                f"{self.threads} threads cannot be: give 1 or more, or 0 for onnxruntime's default."
            )

    def provider_name(self) -> str:
        """The full name of the provider.

        Raises:
            OptionError: this onnxruntime has no such provider.
        """
        return provider_name(self.provider)

    @property
    def name(self) -> str:
        """As users call it."""
        return "onnxruntime"

    @property
    def exact(self) -> OnnxRuntime:
        """Itself: it computes in the type that a network is written in."""
        return self

    @property
    def block(self) -> int:
        """Channels in a block of its layout."""
        return BLOCK

    @property
    def clock(self) -> Clock:
        """The processor's work, where the calling thread does all of it: a thread has a clock of its own."""
        alone = self.threads == 1 and self.provider_name() == CPU
        return "cpu" if alone and has_fine_thread_clock() else "wall"

    @property
    def environment(self) -> Environment:
        """This machine, as it is now, and the software on it."""
        return this_machine(
            engine=self.name,
            engine_version=str(onnxruntime_module().__version__),
            threads=self.threads,
            provider=self.provider_name(),
            clock=self.clock,
        )

    def open(
        self,
        model: Path | bytes,
        *,
        level: Level = "all",
        optimised_path: Path | None = None,
        use: Use = "values",
    ) -> OnnxSession:
        """Open a network; see :meth:`sepfactor.measure.engine.Engine.open`."""
        return OnnxSession(
            open_inference_session(
                model,
                threads=self.threads,
                provider=self.provider,
                level=level,
                optimised_path=optimised_path,
                use=use,
            )
        )

    def failures(self) -> tuple[type[Exception], ...]:
        """What a run raises where it fails."""
        return failures()

    def profile(
        self, model: Path | bytes, feed: Feed, *, runs: int = 10, watch: Watch | None = None
    ) -> list[NodeTime]:
        """Time of every node; see :meth:`sepfactor.measure.engine.Engine.profile`."""
        return profile_nodes(
            model,
            feed,
            threads=self.threads,
            provider=self.provider,
            alone=self.clock == "cpu",
            runs=runs,
            watch=watch,
        )

    def call(self, session: Session, feeds: Sequence[Feed]) -> Call:
        """A run by the calling thread itself, whose clock is read, and without anything around it."""
        if not isinstance(session, OnnxSession):
            raise TypeError(f"onnxruntime times its own sessions, not a {type(session).__name__}")
        run, inputs = session.inference.run, [dict(feed) for feed in feeds]
        count = len(inputs)
        return lambda number: run(None, inputs[number % count])

    def meter(self) -> Meter:
        """What its runs are timed with."""
        if self.clock == "cpu":
            return WorkOfThisThread()
        return SeveralThreads() if self.provider_name() == CPU else WallClock()
