"""The limits on what is lost, of the main kind of outputs and of every other kind beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sepfactor.budgets.base import QualityLimit
from sepfactor.results import LimitResult, Quality, QualityKind


@dataclass(frozen=True)
class QualityLimits:
    """Kept if each output keeps its own.

    Attributes:
        main: on what a network is mainly judged by; the search counts in its unit.
        others: on every other kind.
    """

    main: QualityLimit
    others: tuple[QualityLimit, ...] = ()

    @property
    def kind(self) -> QualityKind:
        """What is mainly judged."""
        return self.main.kind

    @property
    def text(self) -> str:
        """What is asked for, as people say it."""
        return self.main.text

    @property
    def most(self) -> float:
        """The largest :meth:`loss` that keeps all."""
        return self.main.most

    @property
    def exponent(self) -> float:
        """How the loss goes with divergence."""
        return self.main.exponent

    def loss(self, quality: Quality) -> float:
        """The largest loss, those of other kinds as if their limits were the main one."""
        lost = self.main.loss(quality)
        for limit, other in self._pairs(quality):
            if limit.most > 0 and self.most > 0:
                lost = max(lost, self.most * limit.loss(other) / limit.most)
            elif not limit.is_kept(other):
                lost = math.inf
        return lost

    def is_kept(self, quality: Quality) -> bool:
        """Whether all are within their limits, by the pessimistic end of what is known."""
        return self.main.is_kept(quality) and all(limit.is_kept(one) for limit, one in self._pairs(quality))

    def results(self, quality: Quality) -> tuple[LimitResult, ...]:
        """Whether a network of this quality keeps each, and it is shown."""
        found = [self.main.result(quality)]
        for limit, other in self._pairs(quality):
            result = limit.result(other)
            if limit.is_told or not result.is_met:
                found.append(result)
        return tuple(found)

    def _pairs(self, quality: Quality) -> list[tuple[QualityLimit, Quality]]:
        by_kind = {one.kind: one for one in quality.others}
        here = {"judged_on": quality.judged_on}
        return [
            (limit, by_kind[limit.kind].model_copy(update=here))
            for limit in self.others
            if limit.kind in by_kind
        ]
