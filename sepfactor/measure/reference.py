"""What a network puts out, and how far from that is still rounding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sepfactor.errors import ModelError
from sepfactor.measure.engine import Engine, Feed, Session
from sepfactor.measure.equality import EXACT_DB, Distance, Outputs, distance, is_rounding, nudged, worst
from sepfactor.results import Equality


@dataclass(frozen=True, eq=False)
class Reference:
    """The outputs of a network on a few inputs.

    Attributes:
        engine: what ran it.
        model: path, or a serialised ModelProto.
        names: of the outputs.
        feeds: what it was run on.
        outputs: of each run.
    """

    engine: Engine
    model: Path | bytes
    names: tuple[str, ...]
    feeds: tuple[Feed, ...]
    outputs: tuple[Outputs, ...]
    _rounding: list[tuple[Distance, ...]] = field(default_factory=list)

    @classmethod
    def of(cls, engine: Engine, model: Path | bytes, feeds: Sequence[Feed]) -> Reference:
        """Run a network.

        Args:
            engine: what runs it.
            model: path, or a serialised ModelProto.
            feeds: inputs of each run, at least one.

        Raises:
            ModelError: it cannot be loaded, or run on one of them.
        """
        session = engine.open(model)
        names = tuple(output.name for output in session.get_outputs())
        return cls(engine, model, names, tuple(feeds), tuple(session.run(feed) for feed in feeds))

    def rounding(self) -> tuple[Distance, ...]:
        """By output, how far rounding alone takes the network from itself; it is run for that, once.

        That is on inputs that are off in the last place, or where it is run as written, without
        optimisation, on the first of them.
        """
        if not self._rounding:
            session = self.engine.open(self.model)
            nudge = _farthest([session.run(nudged(feed)) for feed in self.feeds], self.outputs)
            try:
                plain = self.engine.open(self.model, level="none")
                as_written = _farthest([plain.run(self.feeds[0])], self.outputs[:1])  # that takes long
            except ModelError:  # some operators run only where they are fused into others
                as_written = nudge
            self._rounding.append(tuple(worst(pair) for pair in zip(nudge, as_written, strict=True)))
        return self._rounding[0]

    @property
    def constant(self) -> tuple[str, ...]:
        """Outputs of several values that were one number in all runs, so that they tell little."""
        by_output = zip(self.names, zip(*self.outputs, strict=True), strict=True)
        return tuple(name for name, runs in by_output if runs[0].size > 1 and _is_constant(runs))

    def is_equal(self, session: Session) -> bool:
        """Whether all outputs of another network are these, to rounding.

        Raises:
            ModelError: it cannot be run on the same inputs.
        """
        found = self._distances(session)
        if all(one.snr_db >= EXACT_DB for one in found):
            return True
        return all(is_rounding(*pair) for pair in zip(found, self.rounding(), strict=True))

    def compare(self, session: Session) -> tuple[Equality, ...]:
        """How far each output of another network is from these.

        Raises:
            ModelError: it cannot be run on the same inputs.
        """
        about = zip(self.names, self._distances(session), self.rounding(), strict=True)
        return tuple(
            Equality(
                name=name,
                snr_db=found.snr_db,
                rounding_snr_db=own.snr_db,
                max_abs=found.max_abs,
                max_ulps=found.max_ulps,
            )
            for name, found, own in about
        )

    def _distances(self, session: Session) -> tuple[Distance, ...]:
        return _farthest([session.run(feed) for feed in self.feeds], self.outputs)


def _is_constant(runs: Outputs) -> bool:
    return all(bool(np.all(run == runs[0].flat[0])) for run in runs)


def _farthest(found: Sequence[Outputs], wanted: Sequence[Outputs]) -> tuple[Distance, ...]:
    """By output, over the inputs."""
    nowhere = Distance(-math.inf, math.inf, math.inf)
    if any(len(a) != len(b) for a, b in zip(found, wanted, strict=True)):
        return (nowhere,) * len(wanted[0])
    runs = list(zip(found, wanted, strict=True))
    return tuple(worst([distance(a[i], b[i]) for a, b in runs]) for i in range(len(wanted[0])))
