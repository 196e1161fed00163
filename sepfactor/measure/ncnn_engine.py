"""ncnn as an engine, run as its users get it: converted by pnnx, with the options that are its default."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sepfactor.errors import OptionError
from sepfactor.measure.engine import Feed, Level, NodeTime, Session, Use, Watch
from sepfactor.measure.in_turns import TimesInTurns
from sepfactor.measure.machine import this_machine
from sepfactor.measure.ncnn_session import (
    PRECISION,
    NcnnSession,
    device_name,
    failures,
    ncnn_module,
    profiled,
    run_once,
)
from sepfactor.measure.onnxruntime_engine import OnnxRuntime
from sepfactor.measure.timing import Call, Meter, SeveralThreads, WorkOfThisThread, has_fine_thread_clock
from sepfactor.results import Clock, Environment


@dataclass(frozen=True)
class Ncnn(TimesInTurns):
    """ncnn with so many threads.

    Attributes:
        threads: threads of one run; 0 leaves the number to ncnn.
        provider: what runs networks; there is ``cpu``.
    """

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise OptionError(f"{self.threads} threads cannot be: give 1 or more, or 0 for ncnn's default.")

    @property
    def name(self) -> str:
        """As users call it."""
        return "ncnn"

    @property
    def exact(self) -> OnnxRuntime:
        """onnxruntime: it answers in float32 with the weights as they are, and shows every value within."""
        return OnnxRuntime(self.threads)

    @property
    def block(self) -> int:
        """Channels by which widths are worth trying.

        ncnn packs sixteens, eights or fours of them, whichever their number is a multiple of. Measured of 3×3
        on AVX-512, 8 channels take as long as 4, 16 less than 14, and 18 or 22 twice as long as 20 or 24.
        """
        return 8

    @property
    def clock(self) -> Clock:
        """The processor's work, where the calling thread does all of it: so it does if it is the only one."""
        return "cpu" if self.threads == 1 and has_fine_thread_clock() else "wall"

    @property
    def environment(self) -> Environment:
        """This machine, as it is now, and the software on it."""
        return this_machine(
            engine=self.name,
            engine_version=str(ncnn_module().__version__),
            precision=PRECISION,
            threads=self.threads,
            provider=device_name(self.provider),
            clock=self.clock,
        )

    def open(
        self,
        model: Path | bytes,
        *,
        level: Level = "all",
        optimised_path: Path | None = None,
        use: Use = "values",
    ) -> NcnnSession:
        """Open a network; see :meth:`sepfactor.measure.engine.Engine.open`.

        pnnx rewrites all graphs alike, whatever the ``level``, and none is written as ONNX.
        """
        device_name(self.provider)
        ncnn_module()
        return NcnnSession.of(model, self.threads)

    def failures(self) -> tuple[type[Exception], ...]:
        """What a run raises where it fails."""
        return failures()

    def profile(
        self, model: Path | bytes, feed: Feed, *, runs: int = 10, watch: Watch | None = None
    ) -> list[NodeTime]:
        """Time of every layer; see :meth:`sepfactor.measure.engine.Engine.profile`."""
        clock = time.thread_time if self.clock == "cpu" else time.perf_counter
        return profiled(self.open(model), feed, clock=clock, runs=runs, watch=watch)

    def call(self, session: Session, feeds: Sequence[Feed]) -> Call:
        """A run by the calling thread itself, of every sample of a feed; arrays are ncnn's before."""
        if not isinstance(session, NcnnSession):
            raise TypeError(f"ncnn times its own sessions, not a {type(session).__name__}")
        inputs = [session.prepared(feed) for feed in feeds]
        count = len(inputs)

        def call(number: int) -> None:
            loaded, samples = inputs[number % count]
            for sample in samples:
                run_once(loaded, sample)

        return call

    def meter(self) -> Meter:
        """What its runs are timed with."""
        return WorkOfThisThread() if self.clock == "cpu" else SeveralThreads()
