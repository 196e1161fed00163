"""Figures as people read them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any


def count(number: float | None) -> str:
    """``1.23 G``, ``45.6 M``, ``789``."""
    if number is None:
        return "–"
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * factor:  # what three digits round up to the next unit
            digits = ".3g" if number < 999.5 * factor else ".0f"
            return f"{number / factor:{digits}} {unit}"
    return f"{number:.0f}"


def plural(number: int, what: str, many: str | None = None) -> str:
    """``1 run``, ``3 runs``; ``3 boxes`` where ``many`` says so."""
    return f"{number} {what if number == 1 else many or what + 's'}"


def milliseconds(value: float | None) -> str:
    """Three digits."""
    return "–" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def error(value: float | None, exact: bool) -> str:
    """A relative error in percent, or *lossless*."""
    return "–" if value is None else "lossless" if exact else percent(value)


def signed(value: float, digits: int) -> str:
    """So many digits behind the point, a minus sign before what is below 0, and none before 0 itself.

    >>> signed(-1.5, 2), signed(-0.001, 2)
    ('−1.50', '0.00')
    """
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")  # −0 + 0 is 0


def percent(share: Any) -> str:
    """Two or three digits, and never a bare 0 for what is not."""
    value = 100 * float(share)
    if value == 0 or not math.isfinite(value):
        return f"{value:g} %"
    if abs(value) < 0.01:
        return f"{value:.1e} %"
    return f"{signed(value, 2)} %" if value < 99.995 else "100 %"


def points(share: float) -> str:
    """A difference of two shares in points of a hundred: ``2.50 points``."""
    return f"{signed(100 * share, 2)} points"


def decibel(value: Any) -> str:
    """One digit behind the point; equal outputs have no noise."""
    number = math.inf if value is None else float(value)
    return "∞ dB" if math.isinf(number) and number > 0 else f"{signed(number, 1)} dB"


def file_size(number: int) -> str:
    """``1.23 MB``, ``45.6 kB``."""
    return f"{number / 1e6:.2f} MB" if number >= 1e5 else f"{number / 1e3:.1f} kB"


def change(before: Any, after: Any, text: Callable[[Any], str]) -> str:
    """``12.3 M → 4.5 M``, or one of the two where they are equal, look it, or one is unknown."""
    if before is None or after is None or text(before) == text(after):
        return text(before if after is None else after)
    return f"{text(before)} → {text(after)}"


def saved(before: int, after: int, where: str = "") -> str:
    """``12.3 M → 4.5 M (2.73× fewer)``; ``where`` follows the figures."""
    if count(before) == count(after):
        return f"{count(before)}{where}, unchanged"
    ratio = f" ({before / after:.2f}× fewer)" if after and before > after else ""
    return f"{count(before)} → {count(after)}{where}{ratio}"


def kernel_text(shape: Sequence[int], group: int, strides: Sequence[int]) -> str:
    """``64→64 3×3 depthwise /2``, of a weight ``(out, in/group, *kernel)``."""
    if not shape:
        return "?"
    out, ins, *sides = shape
    text = f"{ins * group}→{out} {by(sides)}".rstrip()
    if group > 1:
        text += " depthwise" if ins == 1 and out == group else f" g{group}"
    if any(s > 1 for s in strides):
        text += f" /{strides[0] if len(set(strides)) == 1 else by(strides)}"
    return text


def sort_of(shapes: Iterable[Sequence[int]]) -> str:
    """What layers with weights of these shapes are called: *convolutions*, unless one is a matrix."""
    return "layers" if any(len(shape) == 2 for shape in shapes) else "convolutions"


def by(numbers: Sequence[int | str]) -> str:
    """``3×3``."""
    return "×".join(map(str, numbers))
