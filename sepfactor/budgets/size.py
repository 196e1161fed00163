"""Size: ``--max-macs`` and ``--max-params``, as a number or a share of the original's."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from sepfactor.amounts import Amount
from sepfactor.budgets.base import Cost, CostLimit, How
from sepfactor.words import count


@dataclass(frozen=True)
class _SizeLimit(CostLimit):
    """At most an amount of something that is counted.

    Attributes:
        amount: a number, or a share of the original's.
    """

    amount: Amount

    unit: ClassVar[str]

    @property
    def text(self) -> str:
        """``50% of the parameters``."""
        return f"{self.amount} of the {self.unit}"

    @abstractmethod
    def quantity(self, cost: Cost) -> float:
        """What is counted."""

    def most(self, original: Cost) -> float:
        """The amount, or that share of the original's."""
        return self.amount.of(self.quantity(original))

    @property
    def asked(self) -> float:
        """The number, or the share."""
        return self.amount.value

    def reached(self, original: Cost, cost: Cost) -> float:
        """The number, or the share."""
        part, whole = self.quantity(cost), self.quantity(original)
        return part / max(whole, 1) if self.amount.is_share else part

    def reached_text(self, original: Cost, cost: Cost, how: How) -> str:
        """``1.23 M, which is 49.8%``."""
        part, whole = self.quantity(cost), self.quantity(original)
        return f"{count(part)}, which is {100 * part / max(whole, 1):.1f}%"


@dataclass(frozen=True)
class MaxMacs(_SizeLimit):
    """At most so many multiply-accumulates in all convolutions."""

    option: ClassVar[str] = "max_macs"
    unit: ClassVar[str] = "multiply-accumulates"

    def quantity(self, cost: Cost) -> float:
        """Multiply-accumulates."""
        return cost.macs


@dataclass(frozen=True)
class MaxParams(_SizeLimit):
    """At most so many weights and biases in all convolutions."""

    option: ClassVar[str] = "max_params"
    unit: ClassVar[str] = "parameters"

    def quantity(self, cost: Cost) -> float:
        """Weights and biases."""
        return cost.parameters
