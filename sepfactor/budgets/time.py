"""Time: ``--speedup`` over the original file, ``--latency-ms`` of one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sepfactor.budgets.base import Cost, CostLimit, How


@dataclass(frozen=True)
class Speedup(CostLimit):
    """At most the original's time, divided by a number.

    Attributes:
        times: that number.
    """

    times: float

    option: ClassVar[str] = "speedup"
    of_time: ClassVar[bool] = True

    @property
    def text(self) -> str:
        """``2× faster``."""
        return f"{self.times:g}× faster"

    def quantity(self, cost: Cost) -> float:
        """Milliseconds."""
        return cost.ms

    def most(self, original: Cost) -> float:
        """A share of the original's."""
        return original.ms / self.times

    @property
    def asked(self) -> float:
        """Times as fast."""
        return self.times

    def reached(self, original: Cost, cost: Cost) -> float:
        """Times as fast."""
        return original.ms / max(cost.ms, 1e-9)

    def reached_text(self, original: Cost, cost: Cost, how: How) -> str:
        """``2.03× measured``."""
        return f"{self.reached(original, cost):.2f}× {how}"


@dataclass(frozen=True)
class LatencyMs(CostLimit):
    """At most so many milliseconds.

    Attributes:
        ms: of one run.
    """

    ms: float

    option: ClassVar[str] = "latency_ms"
    of_time: ClassVar[bool] = True

    @property
    def text(self) -> str:
        """``12 ms``."""
        return f"{self.ms:g} ms"

    def quantity(self, cost: Cost) -> float:
        """Milliseconds."""
        return cost.ms

    def most(self, original: Cost) -> float:
        """The same, whatever the original takes."""
        return self.ms

    @property
    def asked(self) -> float:
        """Milliseconds."""
        return self.ms

    def reached(self, original: Cost, cost: Cost) -> float:
        """Milliseconds."""
        return cost.ms

    def reached_text(self, original: Cost, cost: Cost, how: How) -> str:
        """``11.8 ms measured``."""
        return f"{cost.ms:.3g} ms {how}"
