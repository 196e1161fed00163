"""A floor under class scores: however rarely the best class changes, they must still say what they did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sepfactor.budgets.base import QualityLimit
from sepfactor.results import Quality, QualityKind

FLOOR = 0.5


@dataclass(frozen=True)
class KeptScores(QualityLimit):
    """At least so much of the variation of class scores is kept.

    A network that says the commonest class alone agrees often, but its error is as large as all that its
    scores vary by. It counts beside a limit on classes, and is not asked for.
    """

    option: ClassVar[str] = "scores"
    is_told: ClassVar[bool] = False

    @classmethod
    def of(cls, asked: float, kind: QualityKind, original_score: float) -> KeptScores:  # noqa: ARG003
        """The floor."""
        text = f"at least {100 * asked:g} % of the variation of class scores"
        return cls(kind, text, 1.0 - asked, 1.0)

    @classmethod
    def default(cls, kind: QualityKind) -> Any:
        """Half of the variation."""
        return FLOOR if kind == "scores" else None

    def loss(self, quality: Quality) -> float:
        """Squared error over variance."""
        return max(quality.drop, 0.0)

    @property
    def asked(self) -> float:
        """A share of 1."""
        return 1.0 - self.most

    def reached(self, quality: Quality) -> float:
        """The share that is kept."""
        return quality.result

    def reached_text(self, quality: Quality) -> str:
        """``12 % of 'logits' kept``."""
        return f"{100 * max(quality.result, 0.0):.0f} % of {quality.output!r} kept"
