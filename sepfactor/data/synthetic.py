"""Made-up inputs for a model that comes without data.

An input of rank 4 with 1, 3 or 4 channels gets *dead leaves*: opaque discs one over the other,
radii drawn from ``p(r) ∝ r⁻³``, colours that share most of their variance between the channels,
plus 1/f noise and a slight blur. Such pictures have the power spectrum, the edges and the
occlusions of photographs (Lee, Mumford and Huang, IJCV 41, 2001), which matters
because a low-rank factor is fitted to what its layer sees, and white noise is nothing it will see.

Other floating-point inputs of three or more axes get 1/f noise of zero mean and unit variance:
along the longest axis of rank 3, along the last two of more; and so does a second axis that is open,
as of sound. Fewer axes get standard normal numbers. Whole numbers and booleans are drawn from {0, 1}.

Open dimensions become 1, except height and width, or the length of the noise: 224, a second of sound:
16,000, and the channels of an image: 3. A name that any input has as its first dimension is that of the
batch wherever it stands. Run ``i`` is seeded by ``(seed, i)`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sepfactor.data.feeds import Feed, Source
from sepfactor.data.inputs import InputSpec, conform
from sepfactor.data.preprocessing import CHANNELS, Preprocessing
from sepfactor.errors import DataError

Floats = NDArray[np.float32]

_SIDE = 224
_SECOND = 16_000
_MOST = 2**27  # numbers of one input made up: half a gigabyte
_COVERS = 4.0  # times the discs would tile the picture: e⁻⁴ = 2 % stays background


def open_synthetic(
    inputs: Sequence[InputSpec], preprocessing: Preprocessing, samples: int, seed: int
) -> Source:
    """As many runs as ``samples``, each of the model's fixed batch or of one.

    Raises:
        DataError: the rank of an input is unknown.
        OptionError: the preprocessing does not go with the input.
    """
    batches = {spec.shape[0] for spec in inputs if spec.shape and isinstance(spec.shape[0], str)}
    inputs = [_with_batch_of_one(spec, batches) for spec in inputs]
    layouts = {spec.name: _layout(spec, preprocessing) for spec in inputs}
    makers = {spec.name: _maker(spec, layouts[spec.name]) for spec in inputs}
    images = [layout for layout in layouts.values() if layout is not None]
    batch = inputs[0].batch if inputs else 1
    origin = f"synthetic {'images' if images else 'noise'}, seed {seed}"

    def make(run: int) -> Feed:
        random = np.random.default_rng([seed, run])
        return {s.name: conform(makers[s.name](random), s, origin) for s in inputs}

    return Source(
        make,
        np.arange(samples * batch).reshape(samples, batch),
        samples * batch,
        origin,
        preprocessing=images[0] if images else None,
        synthetic=True,
    )


def _with_batch_of_one(spec: InputSpec, names: Collection[int | str | None]) -> InputSpec:
    return (
        spec if spec.shape is None else replace(spec, shape=tuple(1 if d in names else d for d in spec.shape))
    )


def _layout(spec: InputSpec, preprocessing: Preprocessing) -> Preprocessing | None:
    """The preprocessing of an image input, in the layout its shape shows; ``None`` for other inputs."""
    if spec.shape is None or len(spec.shape) != 4:
        return None
    if not (spec.dtype.kind == "f" or spec.dtype == np.uint8):
        return None
    settings = preprocessing.laid_out(spec)
    channels = spec.shape[settings.axes[0]]
    if channels in CHANNELS:
        return settings.fitted(spec, int(channels))
    if not isinstance(spec.shape[preprocessing.axes[0]], int):
        return preprocessing.fitted(spec, 3)
    return None


def _maker(spec: InputSpec, image: Preprocessing | None) -> Callable[[Generator], np.ndarray]:
    if spec.shape is None:
        raise DataError(
            f"The model does not say how many axes the input {spec.name!r} has, so none can be "
            f"made up for it: give --input-shape {spec.name}:1,3,224,224, or data."
        )
    if image is not None:
        channel, height, width = image.axes
        open_sizes = {channel: 3, height: _SIDE, width: _SIDE}
        shape = _filled(spec, open_sizes)
        size = shape[height], shape[width], shape[channel]

        def pictures(random: Generator) -> np.ndarray:
            batch = np.stack([dead_leaves(*size, random) for _ in range(shape[0])])
            return image.apply(batch * 255, spec.dtype)

        return pictures
    axes = _noise_axes(spec.shape)
    is_sound = len(spec.shape) == 2 and spec.dtype.kind == "f"
    shape = _filled(spec, dict.fromkeys(axes, _SECOND if is_sound else _SIDE if len(spec.shape) > 2 else 1))
    if spec.dtype.kind != "f":
        return lambda random: random.integers(0, 2, shape).astype(spec.dtype)
    return lambda random: pink_noise(shape, axes, random)


def _noise_axes(shape: Sequence[int | str | None]) -> tuple[int, ...]:
    if len(shape) < 3:
        return (1,) if len(shape) == 2 and not isinstance(shape[1], int) else ()
    if len(shape) > 3:
        return (len(shape) - 2, len(shape) - 1)
    lengths = [_SIDE if not isinstance(d, int) else d for d in shape[1:]]
    return (2,) if lengths[1] >= lengths[0] else (1,)


def _filled(spec: InputSpec, sizes: dict[int, int]) -> tuple[int, ...]:
    """The shape of an input, open dimensions filled in; refused where no one would want to make it up."""
    declared = spec.shape or ()
    shape = tuple(d if isinstance(d, int) else sizes.get(axis, 1) for axis, d in enumerate(declared))
    if math.prod(shape) > _MOST:
        raise DataError(
            f"The input {spec} takes {math.prod(shape):,} numbers a run, too many to make up: give data, or "
            "a smaller --input-shape where the model leaves it open."
        )
    return shape


def dead_leaves(height: int, width: int, channels: int, random: Generator) -> Floats:
    """``(height, width, channels)`` in [0, 1]: discs of radii ``p(r) ∝ r⁻³``, 1/f noise, slight blur."""
    side = min(height, width)
    low = max(1.5, side / 64)
    high = max(2 * low, side / 2)
    mean_area = 2 * np.pi * np.log(high / low) / (low**-2 - high**-2)
    count = int(np.ceil(_COVERS * height * width / mean_area))
    radii = (low**-2 - random.random(count) * (low**-2 - high**-2)) ** -0.5
    tops, lefts = random.uniform(0, height, count), random.uniform(0, width, count)
    shade = random.uniform(0, 1, (count + 1, 1)) + random.normal(0, 0.15, (count + 1, channels))
    picture = shade[_topmost(height, width, radii, tops, lefts)]
    noise = pink_noise((channels + 1, height, width), (1, 2), random)
    picture += 0.04 * noise[0, :, :, None] + 0.03 * np.moveaxis(noise[1:], 0, -1)
    return np.asarray(np.clip(_blurred(picture), 0, 1), np.float32)


def _topmost(
    height: int, width: int, radii: np.ndarray, tops: np.ndarray, lefts: np.ndarray
) -> NDArray[np.int32]:
    """``(height, width)``: number of the last disc over each pixel, counted from 1; 0 where none is."""
    leaf = np.zeros((height, width), np.int32)
    ys, xs = np.arange(height)[:, None], np.arange(width)
    discs = zip(radii.tolist(), tops.tolist(), lefts.tolist(), strict=True)
    for number, (r, y, x) in enumerate(discs, start=1):
        rows = slice(max(0, int(y - r)), int(y + r) + 2)
        columns = slice(max(0, int(x - r)), int(x + r) + 2)
        inside = (ys[rows] - y) ** 2 + (xs[columns] - x) ** 2 <= r * r
        leaf[rows, columns][inside] = number
    return leaf


def _blurred(picture: np.ndarray) -> np.ndarray:
    """Binomial blur ``[1, 2, 1] / 4`` along height and width, borders repeated."""
    for axis in (0, 1):
        size = picture.shape[axis]
        before = np.take(picture, np.maximum(np.arange(size) - 1, 0), axis)
        after = np.take(picture, np.minimum(np.arange(size) + 1, size - 1), axis)
        picture = (before + 2 * picture + after) / 4
    return picture


def pink_noise(shape: Sequence[int], axes: Sequence[int], random: Generator) -> Floats:
    """Noise of amplitude ``1/f`` along ``axes``, of zero mean and unit variance over them.

    Without axes, or along axes of length 1, it is standard normal.
    """
    white = random.standard_normal(tuple(shape))
    axes = [axis for axis in axes if shape[axis] > 1]
    if not axes:
        return white.astype(np.float32)
    squared = np.zeros([1] * len(shape))
    for axis in axes:
        last = axis == axes[-1]
        steps = np.fft.rfftfreq(shape[axis]) if last else np.fft.fftfreq(shape[axis])
        squared = squared + np.expand_dims(steps**2, [a for a in range(len(shape)) if a != axis])
    amplitude = np.divide(1, np.sqrt(squared), out=np.zeros_like(squared), where=squared > 0)
    spectrum = np.fft.rfftn(white, axes=axes) * amplitude
    noise = np.fft.irfftn(spectrum, s=[shape[axis] for axis in axes], axes=axes)
    return np.asarray(noise / noise.std(axis=tuple(axes), keepdims=True), np.float32)
