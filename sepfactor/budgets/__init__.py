"""What may be asked of a whole network: parsed once, it knows what it limits, and judges what was built.

Search, report and exit code go by it. A new kind of limit is one file here and one line in a registry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sepfactor.budgets.base import LOSSLESS, Cost, CostLimit, How, QualityLimit
from sepfactor.budgets.drop import MaxDrop, MaxEstimatedDrop
from sepfactor.budgets.noise import MinPsnr, MinSnr
from sepfactor.budgets.scores import KeptScores
from sepfactor.budgets.size import MaxMacs, MaxParams
from sepfactor.budgets.time import LatencyMs, Speedup
from sepfactor.budgets.together import QualityLimits
from sepfactor.codes import BudgetVerdict
from sepfactor.errors import DataError
from sepfactor.measure.tasks import Unit
from sepfactor.options import Options
from sepfactor.results import OF_LABELLED_BOXES, LimitResult, Quality, QualityKind

COST_LIMITS: Sequence[tuple[str, Callable[[Any], CostLimit]]] = (
    (Speedup.option, Speedup),
    (LatencyMs.option, LatencyMs),
    (MaxMacs.option, MaxMacs),
    (MaxParams.option, MaxParams),
)
"""Option and what makes a limit of its value."""


QUALITY_LIMITS: Sequence[type[QualityLimit]] = (MaxDrop, MaxEstimatedDrop, MinSnr, MinPsnr)
"""Limits on what is lost; where none is asked for, the first that has a default for the kind of outputs."""

FLOORS: Sequence[type[QualityLimit]] = (KeptScores,)
"""Limits that nobody asks for, which count beside those."""


@dataclass(frozen=True)
class Budget:
    """Everything that was asked of the whole network.

    Attributes:
        costs: limits on time and size.
        quality: which loss is limited; None where nothing is said of it.
        asked: the value given for that.
    """

    costs: tuple[CostLimit, ...] = ()
    quality: type[QualityLimit] | None = None
    asked: Any = None

    @classmethod
    def of(cls, options: Options) -> Budget:
        """What the options ask for."""
        given = [(name, make, getattr(options, name)) for name, make in COST_LIMITS]
        costs = tuple(make(value) for _, make, value in given if value is not None)
        for kind in QUALITY_LIMITS:
            asked = getattr(options, kind.option)
            if asked is not None:
                return cls(costs, kind, asked)
        return cls(costs)

    @property
    def dense(self) -> Unit:
        """Whether outputs are judged by their noise even where they look like class scores."""
        return None if self.quality is None else self.quality.dense

    @property
    def estimates(self) -> bool:
        """Whether accuracy is estimated without labels."""
        return self.quality is not None and self.quality.estimates

    @property
    def limits_time(self) -> bool:
        """Whether time is limited."""
        return any(limit.of_time for limit in self.costs)

    @property
    def is_of_size_alone(self) -> bool:
        """Whether size is limited, and time is not."""
        return bool(self.costs) and not self.limits_time

    @property
    def by_class(self) -> bool:
        """Whether outputs are judged by classes wherever they have the shape of class scores."""
        return self.quality is not None and self.quality.of_classes

    def quality_limit(self, kinds: Sequence[QualityKind], original_score: float) -> QualityLimits | None:
        """The limits on what is lost: as asked, the default of each kind, or none where cost alone counts.

        Args:
            kinds: of quality, as the outputs and the data allow them, the main one first.
            original_score: of a user's metric.

        Raises:
            DataError: there is nothing to judge.
            OptionError: what was asked for does not fit the outputs.
        """
        if self.quality is None and self.costs:
            return None
        if not kinds:
            raise DataError("The network has no output that could be judged: give a --metric.")
        limits = [self._usual(kind, original_score) for kind in kinds]
        if self.quality is not None:
            for number, kind in enumerate(kinds):
                if kind == kinds[0] or {kind, kinds[0]} <= {*OF_LABELLED_BOXES}:
                    limits[number] = self.quality.of(self.asked, kind, original_score)
        return QualityLimits(limits[0], tuple(limits[1:]))

    def _usual(self, kind: QualityKind, original_score: float) -> QualityLimit:
        usual = ((limit, limit.default(kind)) for limit in (*QUALITY_LIMITS, *FLOORS))
        limit, asked = next((limit, asked) for limit, asked in usual if asked is not None)
        return limit.of(asked, kind, original_score)

    def bounds(self, original: Cost) -> dict[str, float]:
        """The most of each limited quantity, by option.

        Args:
            original: what the network as handed in costs.
        """
        return {limit.option: limit.most(original) for limit in self.costs}

    def excess(self, original: Cost, cost: Cost) -> float:
        """How often over its tightest limit a network is; up to 1 keeps them all."""
        return max((limit.excess(original, cost) for limit in self.costs), default=0.0)

    def keeps_costs(self, original: Cost, cost: Cost) -> bool:
        """Whether a network is within all limits on cost."""
        return all(limit.is_kept(original, cost) for limit in self.costs)

    @property
    def costs_text(self) -> str:
        """The limits of cost as people say them."""
        return ", ".join(limit.text for limit in self.costs)

    def results(
        self,
        original: Cost,
        cost: Cost,
        how: How,
        limit: QualityLimits | None = None,
        quality: Quality | None = None,
    ) -> tuple[LimitResult, ...]:
        """Whether a network keeps each of its limits.

        Args:
            original: what the network as handed in costs.
            cost: what the network does.
            how: its time is known.
            limit: on what is lost.
            quality: of the network.
        """
        found = [one.result(original, cost, how) for one in self.costs]
        if limit is not None and quality is not None:
            found += limit.results(quality)
        return tuple(found)


def verdict_of(results: Sequence[LimitResult]) -> BudgetVerdict:
    """Whether all limits are kept."""
    is_met = all(one.is_met for one in results)
    return BudgetVerdict("kept" if is_met else "not-kept", is_met, "; ".join(one.text for one in results))


__all__ = ["LOSSLESS", "Budget", "Cost", "CostLimit", "How", "QualityLimit", "QualityLimits", "verdict_of"]
