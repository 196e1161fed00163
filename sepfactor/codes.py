"""Reasons and verdicts: a code that programs go by, and a sentence for people made from it.

Nothing reads a sentence back. A code is lower case with hyphens, and stays the same when its sentence is
worded better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["float", "int8"]
"""What a layer computes in."""


@dataclass(frozen=True)
class Reason:
    """Why something is not done, such as a layer that stays as it is.

    Attributes:
        code: what layers that stay for the same reason have in common, such as ``no-faster``.
        text: the reason, as far as it holds for all of them.
        detail: what differs from layer to layer; empty where nothing does.
    """

    code: str
    text: str
    detail: str = ""

    def __str__(self) -> str:
        """The whole sentence.

        >>> str(Reason("no-faster", "put back: the best candidate measured no faster", "trim, 0.80×"))
        'put back: the best candidate measured no faster (trim, 0.80×)'
        """
        return f"{self.text} ({self.detail})" if self.detail else self.text


@dataclass(frozen=True)
class Verdict:
    """What may be concluded from figures.

    Attributes:
        code: such as ``faster`` or ``by-chance``.
        text: the same with the figures.
    """

    code: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class BudgetVerdict:
    """Whether a budget is kept.

    Attributes:
        code: such as ``kept``, ``not-kept``, ``nothing-faster`` or ``no-plan``.
        is_met: whether the budget is kept.
        text: the same with the figures.
    """

    code: str
    is_met: bool
    text: str

    def __str__(self) -> str:
        return self.text


__all__ = ["BudgetVerdict", "Reason", "Verdict"]
