"""Plans that were built and judged while the best one was looked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sepfactor.budgets import Cost, How, QualityLimits
from sepfactor.fit.build import Built
from sepfactor.fit.settings import Effort
from sepfactor.measure.quality import Judge
from sepfactor.plans.document import Plan, Tune
from sepfactor.results import Quality, Ratio


class Making:
    """Builds a network when it is first asked for, and again if it was forgotten: its weights take memory.

    Args:
        build: makes it, the same each time.
    """

    def __init__(self, build: Callable[[], Built]) -> None:
        self._build = build
        self._built: Built | None = None

    def __call__(self) -> Built:
        """The network."""
        if self._built is None:
            self._built = self._build()
        return self._built

    def forget(self) -> None:
        """Let go of it until it is asked for."""
        self._built = None


@dataclass(frozen=True, eq=False)
class Point:
    """A plan that was built and judged.

    Attributes:
        label: why it was built.
        options: by layer of the search space.
        effort: how carefully it was fitted.
        predicted: what it was expected to cost before building.
        predicted_loss: divergence at the output expected before building.
        make: builds the network.
        tune: how its weights are tuned; None where they are not.
        quality: on held-out data.
        speed: over the original file, where it was timed.
        cost: as it came out; its time as predicted where it was not timed.
    """

    label: str
    options: tuple[int, ...]
    effort: Effort
    predicted: Cost
    predicted_loss: float
    make: Making
    tune: Tune | None
    quality: Quality
    speed: Ratio | None
    cost: Cost

    @property
    def built(self) -> Built:
        """The network."""
        return self.make()

    @property
    def plan(self) -> Plan:
        """That was built."""
        return self.built.plan

    @property
    def is_tuned(self) -> bool:
        """Whether its weights were tuned."""
        return self.tune is not None

    @property
    def how(self) -> How:
        """Its time is known."""
        return "predicted" if self.speed is None else "measured"


@dataclass(frozen=True)
class Judged:
    """What a plan came to once it was built.

    Attributes:
        quality: on held-out data.
        speed: over the original file, where it was timed.
        cost: its time as predicted where it was not timed.
        layer_ms: milliseconds of what stands for each site; empty where the timing says nothing of layers.
    """

    quality: Quality
    speed: Ratio | None
    cost: Cost
    layer_ms: tuple[float | None, ...] = ()

    @property
    def is_disturbed(self) -> bool:
        """Whether other programs took cores away while it was timed."""
        return self.speed is not None and self.speed.is_disturbed


@dataclass(frozen=True, eq=False)
class LastWord:
    """Says whether a plan keeps the budget, on data that chose nothing.

    Attributes:
        judge: on them.
        limit: on what is lost there; None where cost alone counts.
    """

    judge: Judge
    limit: QualityLimits | None
