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

        >>> Amount(0.01, True).exact(), Amount(3e8, False).exact(), Amount(50, False).exact()
        ('1%', '300000000.0', '0.05k')
        """
        if self.is_share:
            return f"{(100 * Decimal(repr(self.value))).normalize():f}%"
        return f"{Decimal(repr(self.value)) / 1000:f}k" if self.value <= _UNCLEAR else repr(self.value)


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_UNCLEAR = 100
"""A number without a unit up to this one may be a percentage."""

_UNCLEAR_BYTES = 1000
"""Nobody means fewer bytes than that, unless they say B."""


def to_amount(value: Any) -> Any:
    """``1%``, ``0.01``, ``300M``."""
    found = _read(value)
    if found is None:
        return value
    number, unit = found
    if unit == "%":
        return Amount(float(number / 100), True)
    return Amount(float(number * _UNITS[unit]), False)


def to_count(value: Any) -> Any:
    """``50%``, ``300M``, ``4992``; what may be a share or a number is asked back.

    Raises:
        ValueError: it is no amount, or one of two.
    """
    found = _read(value)
    if found is not None and not found[1] and 0 < found[0] <= _UNCLEAR:
        said = float(found[0])
        raise ValueError(f"{said:g} is {100 * said if said < 1 else said:g}% or {said:g}M? Say which")
    return to_amount(value)


def _read(value: Any) -> tuple[Decimal, str] | None:
    """The number and its unit in small letters; None for what is neither text nor a number.

    Raises:
        ValueError: the text is no amount.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = repr(value)
    if not isinstance(value, str):
        return None
    found = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([kMG%]?)\s*", value, re.IGNORECASE)
    if found is None or not _is_number(found[1]):
        raise ValueError(f"{value!r} is neither a number nor a share such as 1%")
    return Decimal(found[1]), found[2].lower()


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def to_bytes(value: Any) -> Any:
    """``2GB`` as a number; one too small to be meant is asked back.

    Raises:
        ValueError: it is no amount of memory, or its unit is missing.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        return value
    found = re.fullmatch(r"\s*([0-9.]+)\s*([kMG]?)(i?B?)\s*", str(value), re.IGNORECASE)
    if found is None or not _is_number(found[1]):
        raise ValueError(f"{value!r} is not an amount of memory such as 2GB or 500MB")
    number, unit = min(float(found[1]), 1e18), found[2].lower()
    if not unit and not found[3] and 0 < number < _UNCLEAR_BYTES:
        raise ValueError(f"{number:g} is {number:g}GB or {number:g}MB? Say which")
    return int(number * _UNITS[unit])


def exact_bytes(value: int) -> int | str:
    """As :func:`to_bytes` reads it back."""
    return value if value >= _UNCLEAR_BYTES else f"{value}B"
