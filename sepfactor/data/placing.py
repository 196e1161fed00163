"""How an image is brought to the size of an input: the centre crop, or a letterbox.

The crop resizes the shorter side to ``resize`` or, by default, to what it needs, the other side in
proportion; then the centre is cut out, as ImageNet evaluation does. Where the model leaves height or width
open there is no crop on that axis, and the image keeps its size unless ``resize`` is given.

The letterbox resizes an image so that all of it fits, and puts a border around it, an odd row or column of it
below or on the right, as YOLO does.

Sizes are ``(height, width)``, in pixels.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np

from sepfactor.data.preprocessing import Preprocessing

Size = tuple[int, int]
View = tuple[int | None, int | None]
"""The size of an input, None where the model leaves it open."""


class Placed(NamedTuple):
    """Where an image lies in what is seen of it, ``(height, width)`` each.

    Attributes:
        size: that it is resized to, pixels.
        start: first row and column that are seen; below 0 of borders.
        seen: rows and columns.
    """

    size: Size
    start: Size
    seen: Size

    def cut(self, pixels: np.ndarray, border: int) -> np.ndarray:
        """Of the resized image, ``(height, width, channels)``, what is seen; ``border`` around it."""
        first = [max(start, 0) for start in self.start]
        part = pixels[tuple(slice(a, a + n) for a, n in zip(first, self.seen, strict=True))]
        before = [max(-start, 0) for start in self.start]
        after = [n - b - m for n, b, m in zip(self.seen, before, part.shape[:2], strict=True)]
        if not any((*before, *after)):
            return part
        return np.pad(part, (*zip(before, after, strict=True), (0, 0)), constant_values=border)


def place(size: Size, view: View, settings: Preprocessing) -> Placed:
    """Where an image of ``size`` comes to lie in a ``view``, which a letterbox needs both sides of."""
    new = fitted(size, view) if settings.letterbox else resized(size, settings.resize, view)
    seen = new[0] if view[0] is None else view[0], new[1] if view[1] is None else view[1]
    rest = new[0] - seen[0], new[1] - seen[1]
    if settings.letterbox:
        return Placed(new, (-(-rest[0] // 2), -(-rest[1] // 2)), seen)
    return Placed(new, (round(rest[0] / 2), round(rest[1] / 2)), seen)


def fitted(size: Size, view: View) -> Size:
    """``(height, width)`` an image of ``size`` is resized to: proportional, and never beyond ``view``."""
    factor = min(Fraction(v, s) for v, s in zip(view, size, strict=True) if v is not None)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def resized(size: Size, shorter: int | None, crop: View) -> Size:
    """``(height, width)`` an image of ``size`` is resized to: proportional, and never below ``crop``."""
    needed = [Fraction(c, s) for c, s in zip(crop, size, strict=True) if c is not None]
    if shorter is not None:
        needed.append(Fraction(shorter, min(size)))
    factor = max(needed, default=Fraction(1))
    return max(1, int(size[0] * factor)), max(1, int(size[1] * factor))
