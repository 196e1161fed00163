"""The photographs of ``../shared``, as the networks that are measured take them.

Parts are ``calibration``, which networks may be fitted to, and ``evaluation``, which they are judged on.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Feed = dict[str, NDArray[np.float32]]

SHARED = Path(__file__).resolve().parents[2] / "shared"
IMAGENET = SHARED / "data" / "imagenet1000"
BGR_MEAN = (103.94, 116.78, 123.68)


def paths_of(part: str, count: int | None = None) -> list[Path]:
    """Evenly spaced over the folder: its files are sorted by class, and the first hundred are animals."""
    paths = sorted((IMAGENET / part).iterdir())
    return [paths[i * len(paths) // count] for i in range(count)] if count else paths


def classes_of(paths: Sequence[Path]) -> list[int]:
    """The true classes of photographs."""
    with (IMAGENET / "labels.csv").open(newline="") as file:
        label_of = {row["filename"]: int(row["label"]) for row in csv.DictReader(file)}
    return [label_of[f"{path.parent.name}/{path.name}"] for path in paths]


def centred(path: Path) -> Feed:
    """What SqueezeNet takes: 224 pixels from the centre, BGR without the mean."""
    pixels = np.asarray(Image.open(path).convert("RGB").crop((16, 16, 240, 240)), np.float32)
    without = pixels[:, :, ::-1] - np.array(BGR_MEAN, np.float32)
    return {"data_0": np.ascontiguousarray(without.transpose(2, 0, 1)[None])}


def luma_pair(path: Path, upsampling: Image.Resampling) -> tuple[Feed, NDArray[np.float32]]:
    """What ESPCN takes, ``[1, 1, 224, 224]``, and the ``(672, 672)`` picture it is to find."""
    luma = Image.open(path).convert("RGB").convert("YCbCr").getchannel(0)
    high = luma.resize((672, 672), upsampling)
    low = high.resize((224, 224), Image.Resampling.BICUBIC)
    feed = {"input": np.asarray(low, np.float32)[None, None] / 255}
    return feed, np.asarray(high, np.float32) / 255
