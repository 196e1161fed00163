"""Timing sessions in turns, each by the engine that opened it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from typing_extensions import Self, Unpack

from sepfactor.measure.engine import Engine, Feed, HowToTime, Session
from sepfactor.measure.rounds import Rounds
from sepfactor.measure.timing import Meter, WallClock, time_in_turns


class Runs(NamedTuple):
    """A session to time.

    Attributes:
        engine: that opened it.
        session: was run on the first of the feeds before.
        feeds: inputs; round after round takes the next one.
    """

    engine: Engine
    session: Session
    feeds: Sequence[Feed]


@dataclass(frozen=True)
class TimesInTurns:
    """What engines have in common that time their own sessions in turns.

    Attributes:
        threads: threads of one run; 0 leaves the number to the engine.
        provider: what runs the operators, in the engine's own words.
    """

    threads: int = 1
    provider: str = "cpu"

    def with_threads(self, threads: int) -> Self:
        """The same with another number of threads."""
        return replace(self, threads=threads)

    def time(
        self: Engine, runs: Sequence[tuple[Session, Sequence[Feed]]], **how: Unpack[HowToTime]
    ) -> Rounds:
        """Time sessions in turns; see :meth:`sepfactor.measure.engine.Engine.time`."""
        return time_sessions([Runs(self, *one) for one in runs], **how)


def time_sessions(runs: Sequence[Runs], **how: Unpack[HowToTime]) -> Rounds:
    """Time sessions in turns; the first is what others are compared to.

    By the clock of their engines, or by the one on the wall where none of these reads what all of them do.

    Args:
        runs: what to time.
        **how: how long and how exactly.

    Raises:
        ModelError: a session cannot be run on one of its feeds.
    """
    engines = [one.engine for one in runs]
    meter = _for_all([engine.meter() for engine in engines])
    try:
        calls = [one.engine.call(one.session, one.feeds) for one in runs]
        return time_in_turns(calls, meter, **how)
    except tuple({kind for engine in engines for kind in engine.failures()}):
        for one in runs:
            for feed in one.feeds:
                one.session.run(feed)  # says in words what cannot be run
        raise


def _for_all(meters: Sequence[Meter]) -> Meter:
    """The one that reads what all others do, and perhaps more; or else the clock on the wall."""
    for meter in meters:
        if all(isinstance(meter, type(other)) for other in meters):
            return meter
    return WallClock()
