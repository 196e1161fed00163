"""Samples on which two networks differ, as small pictures for the report.

Of a classifier: the images whose best class changed. Of networks that put out images: the samples that are
furthest off, of each the part with most of its error, from both networks, and the difference of the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.metrics import Noise, looks_like_class_scores
from sepfactor.report.png import data_uri
from sepfactor.results import ImageSettings, Picture

Array = NDArray[Any]

_MOST_CHANGED = 12
_MOST_OFF = 4
_THUMB, _PART = 96, 160
"""Longer side of an image that went in, and side of the part shown of one that came out, in pixels."""

_MOST_BYTES = 500_000
"""Of all pictures of a report together."""

_LEAST_SIDE = 8
"""Of what counts as an image, in pixels."""

_BRIGHT = 0.5
"""Differences are made strong enough that the largest of them are so bright, white being 1."""

_SCALES = ((0.0, 1.0, 0.0), (-1.0, 1.0, -1.0), (0.0, 255.0, 16.0))
"""Ends of what images are in, and the least that the brightest pixel has: few normalised ones reach 16."""

_GAINS = tuple(m * 10**k for k in range(7) for m in (1, 2, 5))


@dataclass
class PictureBook:
    """Fed with every sample as it is compared, keeps those worth showing.

    Attributes:
        preprocessing: how the images became inputs; None where none were.
        labels: true classes by sample, or None.
    """

    preprocessing: ImageSettings | None = None
    labels: Array | None = None
    _samples: int = 0
    _kept: list[tuple[float, Picture]] = field(default_factory=list)

    def look(
        self, feed: Mapping[str, Array], before: Mapping[str, Array], after: Mapping[str, Array]
    ) -> None:
        """One run: what went in, and what came out of both networks."""
        scores = _first(before, looks_like_class_scores)
        dense = _first(before, lambda o: _channels_last(o) is not None)
        name = scores or dense
        if name is None or before[name].shape != after[name].shape:
            return
        rows = before[name].shape[0]
        for row in range(rows):
            at = self._samples + row
            a, b = before[name][row], after[name][row]
            if not (np.isfinite(a).all() and np.isfinite(b).all()):
                continue
            shown = _input(feed, row, rows, self.preprocessing)
            if scores is not None:
                self._changed(at, name, a.ravel(), b.ravel(), shown)
            else:
                self._off(at, name, a, b, shown)
        self._samples += rows

    def pages(self) -> tuple[Picture, ...]:
        """The pictures kept, the most telling first, as many as there is room for."""
        room, chosen = _MOST_BYTES, []
        for _, picture in sorted(self._kept, key=lambda kept: -kept[0]):
            size = sum(
                len(s or "") for s in (picture.input, picture.original, picture.result, picture.difference)
            )
            if size <= room:
                room -= size
                chosen.append(picture)
        return tuple(chosen)

    def _changed(self, at: int, name: str, a: Array, b: Array, shown: Array | None) -> None:
        was, now = int(a.argmax()), int(b.argmax())
        if was == now or shown is None:
            return
        label = None if self.labels is None else int(np.asarray(self.labels).reshape(-1)[at])
        lead = float(a[was]) - float(a[now])  # the surer the original was, the more telling
        self._keep(
            lead,
            _MOST_CHANGED,
            lambda: Picture(
                sample=at,
                output=name,
                input=data_uri(shown),
                classes=(was, now),
                label=None if label is None or label < 0 else label,
            ),
        )

    def _off(self, at: int, name: str, a: Array, b: Array, shown: Array | None) -> None:
        noise = Noise()
        noise.update(a, b)
        snr = noise.snr_db
        if snr == math.inf:
            return
        self._keep(-snr, _MOST_OFF, lambda: _page(at, name, a, b, shown, snr))

    def _keep(self, weight: float, most: int, make: Any) -> None:
        if len(self._kept) == most:
            least = min(range(most), key=lambda i: self._kept[i][0])
            if self._kept[least][0] >= weight:
                return
            del self._kept[least]
        self._kept.append((weight, make()))


def _page(at: int, name: str, a: Array, b: Array, shown: Array | None, snr: float) -> Picture:
    before, after = _channels_last(a[None]), _channels_last(b[None])
    assert before is not None and after is not None  # it was chosen for being an image
    before, after = before.astype(np.float64), after.astype(np.float64)
    here = _worst_part(np.square(before - after).sum(axis=2))
    low, span = _range(before)
    original, result = (_pixels((side[here] - low) / span) for side in (before, after))
    error = np.abs(before[here] - after[here]) / span
    level = max(float(np.quantile(error, 0.995)), float(error.max()) / 2)
    gain = next((g for g in _GAINS if g * level >= _BRIGHT), _GAINS[-1])
    return Picture(
        sample=at,
        output=name,
        input=None if shown is None else data_uri(shown),
        original=data_uri(original),
        result=data_uri(result),
        difference=data_uri(_pixels(gain * error)),
        gain=gain,
        snr_db=snr,
    )


def _worst_part(error: Array) -> tuple[slice, slice]:
    """The part of ``(height, width)`` with most of the error, that in its middle counting most.

    Not around the largest error of all, which is often a single pixel at the border.
    """
    dense = error
    for axis in (0, 1):
        dense = np.apply_along_axis(np.convolve, axis, dense, np.bartlett(_PART + 1), "same")
    centre = np.unravel_index(int(dense.argmax()), dense.shape)
    starts = (
        min(max(int(c) - _PART // 2, 0), max(side - _PART, 0))
        for c, side in zip(centre, error.shape, strict=True)
    )
    first, second = (slice(start, start + _PART) for start in starts)
    return first, second


def _input(
    feed: Mapping[str, Array], row: int, rows: int, preprocessing: ImageSettings | None
) -> Array | None:
    """The image that went in, small, in its own colours as far as they are known."""
    name = _first(feed, lambda x: _channels_last(x) is not None and len(x) == rows)
    image = None if name is None else _channels_last(feed[name][row : row + 1])
    if image is None:
        return None
    plain = image.astype(np.float64)
    if preprocessing is not None:
        plain = plain * np.asarray(preprocessing.std or 1.0) + np.asarray(preprocessing.mean or 0.0)
        plain = plain / (255.0 * preprocessing.scale)
        if preprocessing.color == "bgr":
            plain = plain[..., ::-1]
    else:
        low, span = _range(plain)
        plain = (plain - low) / span
    step = -(-max(plain.shape[:2]) // _THUMB)
    height, width = (side // step * step for side in plain.shape[:2])
    blocks = plain[:height, :width].reshape(height // step, step, width // step, step, -1)
    return _pixels(blocks.mean(axis=(1, 3)))


def _channels_last(values: Array) -> Array | None:
    """``(height, width, 1 or 3)`` of the first of a batch of images; None if these are none."""
    if values.ndim != 4 or values.dtype.kind not in "fu" or not len(values):
        return None
    image = values[0]
    if image.shape[0] in (1, 3):
        image = np.moveaxis(image, 0, -1)
    elif image.shape[-1] not in (1, 3):
        return None
    return image if min(image.shape[:2]) >= _LEAST_SIDE else None


def _range(image: Array) -> tuple[float, float]:
    """Lowest value and span of what seems to be the scale of an image: 0–1, 0–255, −1–1, or its own."""
    low, high = float(np.quantile(image, 0.001)), float(np.quantile(image, 0.999))
    for least, most, brightest in _SCALES:
        near = 0.1 * (most - least)
        if low >= least - near and brightest <= high <= most + near:
            return least, most - least
    return low, max(high - low, 1e-12)


def _pixels(values: Array) -> NDArray[np.uint8]:
    """Values from 0 to 1 as gray ``(height, width)`` or RGB pixels."""
    pixels = np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _first(arrays: Mapping[str, Array], fits: Any) -> str | None:
    return next((name for name, array in arrays.items() if fits(array)), None)


__all__: Sequence[str] = ["PictureBook"]
