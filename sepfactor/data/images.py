"""Images to inputs: decode, colour, bring to size, scale.

How they are brought to the size of the input, :mod:`sepfactor.data.placing` says. Pictures are turned upright
first, as their EXIF data says. Transparency is dropped. Pillow is imported only when an image is read.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sepfactor.data.feeds import Feed, Frame, Source
from sepfactor.data.inputs import InputSpec, brief, conform, listing, shape_text
from sepfactor.data.placing import place
from sepfactor.data.preprocessing import Preprocessing
from sepfactor.errors import DataError, OptionError
from sepfactor.extras import how_to_install

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})

_PIXELS = 2**28
"""An image is not made larger than this."""

_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)
"""Where EXIF says how a picture is turned, and that width and height change places."""

_READ_ERRORS = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError),
    *(AttributeError, SyntaxError, struct.error, zlib.error),
)
"""What Pillow raises over damaged files."""


@dataclass(frozen=True)
class _Reader:
    """Reads one image file for one input.

    Attributes:
        spec: the input, of rank 4.
        preprocessing: with ``color`` resolved.
        view: ``(height, width)`` of the input, ``None`` where the model leaves it open.
    """

    spec: InputSpec
    preprocessing: Preprocessing
    view: tuple[int | None, int | None]

    def check(self, path: Path) -> None:
        """Raise DataError unless the file starts like an image."""
        with _quiet(), _opened(path):
            pass

    def read(self, path: Path) -> np.ndarray:
        """``(channels, height, width)``, or channels last, in the units of the input."""
        try:
            with _quiet(), _opened(path) as image:
                pixels = self._pixels(image, path)
        except _READ_ERRORS as error:
            raise _unreadable(path, error) from error
        return self.preprocessing.apply(pixels, self.spec.dtype)

    def frame(self, path: Path) -> Frame:
        """What :meth:`read` leaves of it."""
        try:
            with _quiet(), _opened(path) as image:
                turned = image.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE
                width, height = image.size[::-1] if turned else image.size
        except _READ_ERRORS as error:
            raise _unreadable(path, error) from error
        placed = place((height, width), self.view, self.preprocessing)
        (tall, wide), (top, left), seen = placed
        return Frame((width, height), (wide / width, tall / height), (left, top), (seen[1], seen[0]))

    def _pixels(self, image: Image.Image, path: Path) -> np.ndarray:
        """``(height, width, channels)`` uint8, cropped, in the order fed."""
        from PIL import Image, ImageOps

        color = self.preprocessing.color
        upright = _eight_bits(ImageOps.exif_transpose(image), path)
        upright = upright.convert("L" if color == "gray" else "RGB")
        width, height = upright.size
        placed = place((height, width), self.view, self.preprocessing)
        most = [max(sides) for sides in zip(placed.size, placed.seen, strict=True)]
        if most[0] * most[1] > _PIXELS:
            raise DataError(
                f"{path}: the image of {width} by {height} would become {most[1]} by {most[0]}, more than "
                f"{_PIXELS:,} pixels: set a smaller resize or --input-shape, or leave it out."
            )
        if placed.size != (height, width):
            upright = upright.resize(placed.size[::-1], Image.Resampling.BILINEAR)
        pixels = np.atleast_3d(np.asarray(upright))
        pixels = placed.cut(pixels, self.preprocessing.border)
        return pixels[..., ::-1] if color == "bgr" else pixels


def _eight_bits(image: Image.Image, path: Path) -> Image.Image:
    """The image in a mode that converts to RGB or gray without clipping or warning."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DataError(
            f"{path}: pixels are of mode {image.mode} (32 bits), whose range is unknown: save the "
            "image with 8 or 16 bits a channel."
        )
    return image.convert("RGBA") if image.mode == "P" else image


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings, of large pictures and of damaged EXIF data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _opened(path: Path) -> Image.Image:
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(
            f"{path}: reading images needs the package pillow, which is not installed. Install it with: "
            f"{how_to_install('images')}, or give the inputs as a .npz file."
        ) from error
    try:
        return Image.open(path)
    except (*_READ_ERRORS, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: the image cannot be read ({brief(error)}): replace the file or take it out of the folder."
    )


def open_images(
    paths: Sequence[Path],
    names: Sequence[str],
    inputs: Sequence[InputSpec],
    preprocessing: Preprocessing,
    origin: str,
) -> Source:
    """One sample per image, as many to a run as the model's fixed batch.

    Raises:
        DataError: the model does not take images.
        OptionError: the preprocessing does not go with the input.
    """
    reader = _reader(inputs, preprocessing, origin)
    spec = reader.spec
    runs = len(paths) // spec.batch
    if not runs:
        raise DataError(
            f"{origin}: there are {len(paths)} images, fewer than the batch of {spec.batch} that "
            f"the input {spec.name!r} needs: add images."
        )
    rows = np.arange(runs * spec.batch).reshape(runs, spec.batch)
    notes: tuple[str, ...] = ()
    if (layout := reader.preprocessing.layout) != preprocessing.layout:
        notes = (f"Images are fed in layout {layout}, as the input {spec} shows.",)

    def make(run: int) -> Feed:
        chosen = [paths[row] for row in rows[run]]
        images = [reader.read(path) for path in chosen]
        for path, image in zip(chosen, images, strict=True):
            if image.shape != images[0].shape:
                raise DataError(
                    f"{path}: the image becomes {shape_text(image.shape)}, but {chosen[0].name} in "
                    f"the same run {shape_text(images[0].shape)}: fix the size with --input-shape."
                )
        return {spec.name: conform(np.stack(images), spec, str(chosen[0]))}

    def probe(run: int) -> None:
        for row in rows[run]:
            reader.check(paths[row])

    return Source(
        make,
        rows,
        len(paths),
        origin,
        probe,
        names=tuple(names),
        frame=lambda number: reader.frame(paths[number]),
        preprocessing=reader.preprocessing,
        notes=notes,
    )


def _reader(inputs: Sequence[InputSpec], preprocessing: Preprocessing, origin: str) -> _Reader:
    if len(inputs) != 1:
        raise DataError(
            f"{origin}: images can feed a model with one input, but this one has "
            f"{listing(spec.name for spec in inputs)}: give a .npz file or file.py:function."
        )
    spec = inputs[0]
    shape = (None,) * 4 if spec.shape is None else spec.shape
    if len(shape) != 4:
        raise DataError(
            f"{origin}: images need an input of four axes, but the input {spec} has {len(shape)}: "
            "give a .npz file or file.py:function."
        )
    preprocessing = preprocessing.laid_out(spec)
    channel, height, width = (shape[axis] for axis in preprocessing.axes)
    color = preprocessing.color
    if color == "auto":
        color = "gray" if channel == 1 else "rgb"
    channels = 1 if color == "gray" else 3
    if isinstance(channel, int) and channel != channels:
        swapped, other = ("nhwc", 3) if preprocessing.layout == "nchw" else ("nchw", 1)
        mend = f"set layout to {swapped}" if shape[other] in (1, 3) else "give a .npz file"
        raise DataError(
            f"{origin}: {color} images in layout {preprocessing.layout} have {channels} channels, "
            f"but the input {spec} has {channel}: "
            + ("set color to auto or gray." if channel in (1, 3) else f"{mend}.")
        )
    view = (
        height if isinstance(height, int) else None,
        width if isinstance(width, int) else None,
    )
    _check_view(view, preprocessing, spec)
    return _Reader(spec, replace(preprocessing, color=color).fitted(spec, channels), view)


def _check_view(view: tuple[int | None, int | None], settings: Preprocessing, spec: InputSpec) -> None:
    """Raise OptionError where images cannot be brought to the size of an input."""
    if settings.letterbox and None in view:
        raise OptionError(
            f"letterbox fits images into a size, and the input {spec} leaves height or width open: say with "
            "--input-shape what it runs on."
        )
    if settings.resize is not None and settings.resize < min((v for v in view if v is not None), default=1):
        raise OptionError(
            f"resize is {settings.resize}, but the input {spec} is cut from the centre of the "
            "resized image: give the shorter side of the input or more."
        )
