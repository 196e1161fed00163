"""Train a small x2 super-resolution network of luma: `models/upscale2x.onnx`.

It learns from photographs that ship inside scikit-learn and scikit-image, and from synthesised dead
leaves; it is evaluated on other photographs. Low resolution is bicubic downscaling. The network
ends in four channels a pixel, which DepthToSpace lays out as 2x2; the input is added to each, so
that only the difference from nearest-neighbour enlargement has to be learnt.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from common import photo, quantise, run_model, save_arrays
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional
from torch_export import export, make_deterministic

NAME = "upscale2x"
SEED = 7
STEPS = 4000
BATCH = 16
PATCH = 32
BORDER = 4
TRAIN_PHOTOS = (
    "astronaut.png",
    "brick.png",
    "grass.png",
    "gravel.png",
    "rocket.jpg",
    "china.jpg",
    "flower.jpg",
)
CALIBRATION_PHOTOS = TRAIN_PHOTOS[:5]  # public domain and CC0
EVALUATION_PHOTOS = ("camera.png", "chelsea.png", "coffee.png")

Pair = tuple[np.ndarray, np.ndarray]


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width)."""
        return self.relu2(x + self.conv2(self.relu1(self.conv1(x))))


class Upscale2x(nn.Module):
    """5x5 head, two residual pairs, 3x3 tail into four channels, DepthToSpace."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.head = nn.Sequential()
        self.head.add_module("conv", nn.Conv2d(1, channels, 5, padding=2))
        self.head.add_module("relu", nn.ReLU())
        self.body = nn.Sequential(Residual(channels), Residual(channels))
        self.tail = nn.Sequential()
        self.tail.add_module("conv", nn.Conv2d(channels, 4, 3, padding=1))
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, luma: Tensor) -> Tensor:
        """luma: (batch, 1, height, width) in [0, 1] -> (batch, 1, 2 height, 2 width)."""
        return self.shuffle(self.tail(self.body(self.head(luma))) + luma)


def pair(image: Image.Image) -> Pair:
    """Low and high resolution of one image, each (height, width) in [0, 1]."""
    width, height = image.width // 2 * 2, image.height // 2 * 2
    high = image.crop((0, 0, width, height))
    low = high.resize((width // 2, height // 2), Image.Resampling.BICUBIC)
    return as_array(low), as_array(high)


def as_array(image: Image.Image) -> np.ndarray:
    """8-bit grey to float32 in [0, 1]."""
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def dead_leaves(rng: np.random.Generator, size: int = 256) -> Image.Image:
    """Overlapping discs and quadrilaterals of many sizes: edges as in photographs."""
    scale = 3
    image = Image.new("L", (size * scale, size * scale), 128)
    pen = ImageDraw.Draw(image)
    for _ in range(1500):
        radius = scale * 2.0 / np.sqrt(rng.uniform(0.0015, 1))
        centre = rng.uniform(0, size * scale, 2)
        corners = 30 if rng.random() < 0.5 else 4
        turns = np.sort(rng.uniform(0, 2 * np.pi, corners))
        points = centre + radius * np.stack([np.cos(turns), np.sin(turns)], 1)
        pen.polygon([tuple(point) for point in points], fill=int(rng.integers(0, 256)))
    return image.resize((size, size), Image.Resampling.BOX)


def training_pairs() -> list[Pair]:
    """Every training photograph at two sizes, and some dead leaves."""
    rng = np.random.default_rng(SEED)
    photos = [photo(name) for name in TRAIN_PHOTOS]
    smaller = [
        image.resize((image.width * 2 // 3, image.height * 2 // 3), Image.Resampling.LANCZOS)
        for image in photos
    ]
    return [pair(image) for image in [*photos, *smaller, *(dead_leaves(rng) for _ in range(4))]]


def crop(low: np.ndarray, high: np.ndarray, top: int, left: int, size: int) -> Pair:
    """The same place in both resolutions; `size` and position are those of the low one."""
    fine = high[2 * top : 2 * (top + size), 2 * left : 2 * (left + size)]
    return low[top : top + size, left : left + size], fine


def random_crop(rng: np.random.Generator, low: np.ndarray, high: np.ndarray, size: int) -> Pair:
    """A crop anywhere."""
    top = int(rng.integers(low.shape[0] - size + 1))
    left = int(rng.integers(low.shape[1] - size + 1))
    return crop(low, high, top, left, size)


def batch(rng: np.random.Generator, pairs: list[Pair]) -> tuple[Tensor, Tensor]:
    """Random crops, turned and mirrored; large images are chosen more often."""
    areas = np.array([low.size for low, _ in pairs], dtype=float)
    lows, highs = [], []
    for index in rng.choice(len(pairs), BATCH, p=areas / areas.sum()):
        turns, mirror = int(rng.integers(4)), 1 - 2 * int(rng.integers(2))
        low, high = random_crop(rng, *pairs[index], PATCH)
        lows.append(np.rot90(low, turns)[:, ::mirror])
        highs.append(np.rot90(high, turns)[:, ::mirror])
    return (
        torch.from_numpy(np.stack(lows)[:, None]),
        torch.from_numpy(np.stack(highs)[:, None]),
    )


def train(pairs: list[Pair]) -> Upscale2x:
    """Adam on the absolute error, one cycle."""
    rng = np.random.default_rng(SEED)
    model = Upscale2x()
    optimiser = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.2e-3, STEPS, pct_start=0.15)
    started, total = time.perf_counter(), 0.0
    for step in range(1, STEPS + 1):
        low, high = batch(rng, pairs)
        loss = functional.l1_loss(model(low), high)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimiser.step()
        schedule.step()
        total += loss.item()
        if step % 250 == 0:
            seconds = time.perf_counter() - started
            print(f"step {step}: loss {total / 250:.5f}, {seconds:.0f} s", flush=True)
            total = 0.0
    return model


def calibration_patches(count: int = 32, size: int = 64) -> np.ndarray:
    """luma: (count, 1, size, size), from freely licensed training photographs in turn."""
    rng = np.random.default_rng(SEED + 1)
    lows = [pair(photo(name)) for name in CALIBRATION_PHOTOS]
    chosen = [random_crop(rng, *lows[index % len(lows)], size)[0] for index in range(count)]
    return quantise(np.stack(chosen)[:, None])


def evaluation_patches(count: int = 24, size: int = 96) -> dict[str, np.ndarray]:
    """luma: (count, 1, size, size); target: (count, 1, 2 size, 2 size)."""
    rng = np.random.default_rng(SEED + 2)
    pairs = [pair(photo(name)) for name in EVALUATION_PHOTOS]
    chosen = [random_crop(rng, *pairs[index % len(pairs)], size) for index in range(count)]
    lows, highs = zip(*chosen, strict=True)
    return {"luma": quantise(np.stack(lows)[:, None]), "target": quantise(np.stack(highs)[:, None])}


def bicubic(luma: np.ndarray) -> np.ndarray:
    """Enlarge each (1, height, width) patch twice, in floating point."""
    size = (2 * luma.shape[3], 2 * luma.shape[2])
    images = [Image.fromarray(patch[0]) for patch in luma]
    enlarged = [np.asarray(image.resize(size, Image.Resampling.BICUBIC)) for image in images]
    return np.stack(enlarged)[:, None]


def psnr(result: np.ndarray, target: np.ndarray) -> float:
    """Mean over patches, in decibels, without the outermost pixels (as is usual for x2)."""
    inner = (..., slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    error = np.square(np.clip(result[inner], 0, 1).astype(np.float64) - target[inner])
    return float(np.mean(-10 * np.log10(error.mean(axis=(1, 2, 3)))))


def main() -> None:
    """Train, export, write the data files, and measure the written network."""
    make_deterministic(SEED)
    model = train(training_pairs())
    symbolic = {0: "batch", 2: "height", 3: "width"}
    path = export(NAME, model, torch.zeros(2, 1, 24, 20), "luma", "upscaled", symbolic)

    save_arrays("upscale2x_calibration", {"luma": calibration_patches()})
    evaluation = evaluation_patches()
    save_arrays("upscale2x_evaluation", evaluation)

    (upscaled,) = run_model(path, {"luma": evaluation["luma"]}, batch=4)
    target = evaluation["target"]
    print(f"PSNR of bicubic: {psnr(bicubic(evaluation['luma']), target):.2f} dB")
    print(f"PSNR of the network: {psnr(upscaled, target):.2f} dB")


if __name__ == "__main__":
    main()
