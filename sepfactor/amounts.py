"""Amounts as people write them: ``1%``, ``300M``, ``2GB``."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any, NamedTuple


class Amount(NamedTuple):
    """A number, or a share of the original's.

    Attributes:
        value: the number, or the share (0.01 for ``1%``).
        is_share: which of the two.
    """

    value: float
    is_share: bool

    def of(self, whole: float) -> float:
        """The number, where ``whole`` is the original's."""
        return self.value * whole if self.is_share else self.value

    def __str__(self) -> str:
        return f"{100 * self.value:g}%" if self.is_share else f"{self.value:g}"

    def exact(self) -> str:
        """As text that is read back to the same number.

        >>> Amount(0.01, True).exact(), Amount(3e8, False).exact()
        ('1%', '300000000.0')
        """
        if self.is_share:
            return f"{(100 * Decimal(repr(self.value))).normalize():f}%"
        return repr(self.value)


_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}


def to_amount(value: Any) -> Any:
    """``1%``, ``0.01``, ``300M``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = repr(value)
    if isinstance(value, str):
        found = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([kMG%]?)\s*", value, re.IGNORECASE)
        if found is None or not _is_number(found[1]):
            raise ValueError(f"{value!r} is neither a number nor a share such as 1%")
        if found[2] == "%":
            return Amount(float(Decimal(found[1]) / 100), True)
        return Amount(float(found[1]) * _UNITS[found[2].lower()], False)
    return value


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def to_bytes(value: Any) -> Any:
    """``2GB`` as a number."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*([0-9.]+)\s*([kMG]?)i?B?\s*", value, re.IGNORECASE)
    if found is None:
        raise ValueError(f"{value!r} is not an amount of memory such as 2GB or 500MB")
    return int(min(float(found[1]), 1e18) * {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}[found[2].lower()])
