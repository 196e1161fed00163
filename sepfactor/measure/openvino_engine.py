"""OpenVINO as an engine, run as its users get it: at the precision it takes by itself, perhaps bfloat16."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sepfactor.errors import OptionError
from sepfactor.measure.engine import Feed, Level, NodeTime, Session, Use, ValueInfo, Watch
from sepfactor.measure.in_turns import TimesInTurns
from sepfactor.measure.machine import this_machine
from sepfactor.measure.onnxruntime_engine import OnnxRuntime
from sepfactor.measure.openvino_session import (
    CPU,
    as_they_are,
    compiled,
    device_name,
    failures,
    openvino_module,
    precision_of,
    profiled,
    run_request,
    value_info,
)
from sepfactor.measure.timing import (
    Call,
    Meter,
    SeveralThreads,
    WallClock,
    WorkOfThisThread,
    has_fine_thread_clock,
)
from sepfactor.results import Clock, Environment


@dataclass(frozen=True, eq=False)
class OpenVinoSession:
    """A network that OpenVINO runs.

    Attributes:
        model: as OpenVINO compiled it.
        request: that it is run by.
    """

    model: Any
    request: Any

    def get_inputs(self) -> Sequence[ValueInfo]:
        """What it takes, in the order of the graph."""
        return [value_info(port) for port in self.model.inputs]

    def get_outputs(self) -> Sequence[ValueInfo]:
        """What it gives, in the order of the graph."""
        return [value_info(port) for port in self.model.outputs]

    def run(self, feed: Feed) -> list[NDArray[Any]]:
        """Every output of one run, in the order of the graph.

        Raises:
            ModelError: the feed does not fit, the run fails or takes longer than
                :func:`~sepfactor.measure.time_limit.run_seconds` allows.
        """
        return run_request(self.request, feed)


@dataclass(frozen=True)
class OpenVino(TimesInTurns):
    """OpenVINO with so many threads, on this device.

    Attributes:
        threads: threads of one run; 0 leaves the number to OpenVINO.
        provider: device, such as ``cpu``.
    """

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise OptionError(
                f"{self.threads} threads cannot be: give 1 or more, or 0 for OpenVINO's default."
            )

    @property
    def name(self) -> str:
        """As users call it."""
        return "openvino"

    @property
    def exact(self) -> OnnxRuntime:
        """onnxruntime: it answers in float32, and shows every value within."""
        return OnnxRuntime(self.threads)

    @property
    def block(self) -> int:
        """Channels by which widths are worth trying.

        Measured of layers with 64 and 128 channels on AVX-512 and AMX: in float32 channel forms take as long
        as they have fours of channels, spatial ones as they have sixteens; in bfloat16 there are steps behind
        8, 16 and 32.
        """
        return 8

    @property
    def clock(self) -> Clock:
        """The processor's work, where the calling thread does all of it: so it does if it is the only one."""
        alone = self.threads == 1 and device_name(self.provider) == CPU
        return "cpu" if alone and has_fine_thread_clock() else "wall"

    @property
    def environment(self) -> Environment:
        """This machine, as it is now, and the software on it."""
        device = device_name(self.provider)
        return this_machine(
            engine=self.name,
            engine_version=str(openvino_module().__version__).split("-", 1)[0],
            precision=precision_of(device),
            threads=self.threads,
            provider=device,
            clock=self.clock,
        )

    def open(
        self,
        model: Path | bytes,
        *,
        level: Level = "all",
        optimised_path: Path | None = None,
        use: Use = "values",
    ) -> OpenVinoSession:
        """Open a network; see :meth:`sepfactor.measure.engine.Engine.open`.

        OpenVINO rewrites all graphs alike, whatever the ``level``, and writes none of them.
        """
        found = compiled(model, threads=self.threads, device=device_name(self.provider))
        return OpenVinoSession(found, found.create_infer_request())

    def failures(self) -> tuple[type[Exception], ...]:
        """What a run raises where it fails."""
        return failures()

    def profile(
        self, model: Path | bytes, feed: Feed, *, runs: int = 10, watch: Watch | None = None
    ) -> list[NodeTime]:
        """Time of every node; see :meth:`sepfactor.measure.engine.Engine.profile`."""
        device = device_name(self.provider)
        return profiled(model, feed, threads=self.threads, device=device, runs=runs, watch=watch)

    def call(self, session: Session, feeds: Sequence[Feed]) -> Call:
        """A run by the calling thread itself, whose clock is read; arrays are handed over as they are."""
        if not isinstance(session, OpenVinoSession):
            raise TypeError(f"OpenVINO times its own sessions, not a {type(session).__name__}")
        infer = session.request.infer
        inputs = [as_they_are(feed) for feed in feeds]
        count = len(inputs)
        return lambda number: infer(inputs[number % count], share_inputs=True, share_outputs=True)

    def meter(self) -> Meter:
        """What its runs are timed with."""
        if self.clock == "cpu":
            return WorkOfThisThread()
        return SeveralThreads() if device_name(self.provider) == CPU else WallClock()
