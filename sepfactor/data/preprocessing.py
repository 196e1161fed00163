"""How an image becomes an input: the settings, checked against one another and against the input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sepfactor.data.inputs import InputSpec
from sepfactor.errors import OptionError
from sepfactor.results import ImageSettings

CHANNELS = (1, 3, 4)
"""What the channel axis of pictures may be long."""


@dataclass(frozen=True)
class Preprocessing(ImageSettings):
    """The settings, checked, and what they do."""

    def __post_init__(self) -> None:
        _one_of("color", self.color, ("auto", "rgb", "bgr", "gray"))
        _one_of("layout", self.layout, ("nchw", "nhwc"))
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise OptionError(f"scale is {self.scale}; give a number above 0, such as 1 or 1/255.")
        if not all(map(math.isfinite, (*self.mean, *self.std))) or any(s <= 0 for s in self.std):
            raise OptionError(
                f"mean is {self.mean} and std is {self.std}; both need finite numbers, and std "
                "numbers above 0."
            )
        self._check_units()
        if self.resize is not None and self.resize < 1:
            raise OptionError(f"resize is {self.resize}; give the shorter side in pixels.")
        self._check_borders()

    def _check_units(self) -> None:
        """Fail where mean or std are plainly of other units than the scaled pixels.

        Such inputs are nearly the same for every picture, or hundreds of times what the network knows.
        """
        top = 255 * self.scale
        sizes = [abs(value) for value in self.mean]
        says = (
            f"mean {_listed(self.mean)} and std {_listed(self.std)} do not go with the scale: multiplied by "
            f"{_scale_text(self.scale)}, pixels lie in 0..{top:.4g}"
        )
        if any(size > 2 * top for size in sizes) or any(value > 10 * top for value in self.std):
            mend = (
                "Say --scale 1 if they are for pixels in 0..255, or divide them by 255."
                if top < 100
                else "Give them for pixels in that range."
            )
            raise OptionError(f"{says}, and all pictures would come out nearly alike. {mend}")
        is_small = all(size <= 1 for size in sizes) and all(value <= 1 for value in self.std)
        if top > 100 and is_small and (any(sizes) or any(value < 1 for value in self.std)):
            raise OptionError(
                f"{says}. Leave --scale out if they are for pixels in 0..1, or multiply them by 255."
            )

    def _check_borders(self) -> None:
        if self.letterbox and self.resize is not None:
            raise OptionError(
                "resize is of the centre crop, and letterbox fits images whole into the input: leave one out."
            )
        if not 0 <= self.border <= 255:
            raise OptionError(f"border is {self.border}; give the value of a pixel, 0 to 255.")
        if self.border != ImageSettings.border and not self.letterbox:
            raise OptionError(
                f"border is {self.border}, but only a letterbox has borders: add letterbox, or leave it out."
            )

    @property
    def axes(self) -> tuple[int, int, int]:
        """Axes of a batch: ``(channel, height, width)``."""
        return (1, 2, 3) if self.layout == "nchw" else (3, 1, 2)

    def laid_out(self, spec: InputSpec) -> Preprocessing:
        """In the layout that the shape of an input shows, where it shows that it cannot be this one."""
        if spec.shape is None or len(spec.shape) != 4:
            return self
        other = replace(self, layout="nhwc" if self.layout == "nchw" else "nchw")
        own, others = (spec.shape[settings.axes[0]] for settings in (self, other))
        return other if own not in CHANNELS and others in CHANNELS else self

    def fitted(self, spec: InputSpec, channels: int) -> Preprocessing:
        """These settings as they apply to one input; an uint8 input takes plain pixels by default.

        Raises:
            OptionError: mean or std do not match the channels, or an integer input is to be scaled.
        """
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (0, 1, channels):
                raise OptionError(
                    f"{name} has {len(values)} values, but the input {spec} has {channels} "
                    f"channels: give one value, or {channels}."
                )
        if spec.dtype.kind == "f":
            return self
        plain = not (self.mean or self.std)
        if plain and spec.dtype == np.uint8 and self.scale == Preprocessing().scale:
            return replace(self, scale=1.0)
        if not plain or self.scale != 1:
            raise OptionError(
                f"The input {spec} takes whole numbers, so pixels cannot be scaled for it: set "
                "scale to 1 and leave out mean and std."
            )
        return self

    def apply(self, pixels: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
        """Pixels ``(..., height, width, channels)`` in 0..255 → the same in layout and units of an input."""
        values = pixels.astype(np.float32) * np.float32(self.scale)
        if self.mean:
            values -= np.asarray(self.mean, np.float32)
        if self.std:
            values /= np.asarray(self.std, np.float32)
        if dtype.kind != "f":
            values = np.rint(values).astype(np.int64)
        return np.moveaxis(values, -1, -3) if self.layout == "nchw" else values


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) or "not given"


def _scale_text(value: float) -> str:
    return "1/255, as they are by default" if value == 1 / 255 else f"{value:.4g}"


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise OptionError(f"There is no {name} {value!r}: use {', '.join(known)}.")
