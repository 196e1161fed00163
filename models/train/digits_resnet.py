"""Train a small residual classifier of handwritten digits: `models/digits_resnet.onnx`.

The digits are scikit-learn's 8x8 ones, enlarged to 32x32 and then warped, cluttered and dimmed so
that the task is hard enough for a loss of accuracy to show. Whole original images are held out for
evaluation before anything is augmented. BatchNormalization stays unfolded in the ONNX file, as in
most networks that people bring.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from common import quantise, run_model, save_arrays
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional
from torch_export import export, make_deterministic

NAME = "digits_resnet"
SEED = 2024
SIZE = 32
EPOCHS = 16
BATCH = 100
BATCHES_PER_EPOCH = 64
CALIBRATION_SAMPLES = 256
EVALUATION_SAMPLES = 1000
GREY_LEVELS = 16


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where shapes change."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = Shortcut(inputs, outputs, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, inputs, height, width)."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu2(y + self.shortcut(x))


class Shortcut(nn.Module):
    """A strided 1x1 convolution with BatchNormalization."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, inputs, height, width)."""
        return self.bn(self.conv(x))


class DigitsResNet(nn.Module):
    """Stem, three stages of 32, 64 and 128 channels, mean over the map, linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(Block(32, 32))
        self.layer2 = nn.Sequential(Block(32, 64, stride=2), Block(64, 64))
        self.layer3 = nn.Sequential(Block(64, 128, stride=2))
        self.fc = nn.Linear(128, 10)

    def forward(self, image: Tensor) -> Tensor:
        """image: (batch, 1, 32, 32) in [0, 1] -> logits: (batch, 10)."""
        x = self.relu(self.bn1(self.conv1(image)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def uniform(samples: int, low: float, high: float) -> Tensor:
    """One random number a sample, shaped to broadcast over images: (samples, 1, 1, 1)."""
    return torch.empty(samples, 1, 1, 1).uniform_(low, high)


def warp(images: Tensor) -> Tensor:
    """Rotate, shear, scale, shift and bend each image at random."""
    n = len(images)
    angle, shear = uniform(n, -0.6, 0.6).flatten(), uniform(n, -0.35, 0.35).flatten()
    zoom = torch.empty(n, 2).uniform_(0.85, 1.5)
    cos, sin = angle.cos(), angle.sin()
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = zoom[:, 0] * cos
    theta[:, 0, 1] = zoom[:, 0] * (shear * cos - sin)
    theta[:, 1, 0] = zoom[:, 1] * sin
    theta[:, 1, 1] = zoom[:, 1] * (shear * sin + cos)
    theta[:, :, 2] = torch.empty(n, 2).uniform_(-0.3, 0.3)
    grid = functional.affine_grid(theta, [n, 1, SIZE, SIZE], align_corners=False)
    bend = torch.randn(n, 2, 5, 5) * 0.07
    bend = functional.interpolate(bend, (SIZE, SIZE), mode="bicubic", align_corners=True)
    return functional.grid_sample(images, grid + bend.movedim(1, 3), align_corners=False)


def strokes(samples: int, count: int) -> Tensor:
    """Random straight pen strokes, anti-aliased: (samples, 1, 32, 32) in [0, 1]."""
    axis = torch.linspace(-1, 1, SIZE)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    start = torch.empty(samples, count, 1, 1, 2).uniform_(-1.1, 1.1)
    along = torch.randn(samples, count, 1, 1, 2) * 0.5
    offset = points - start
    place = (offset * along).sum(-1) / along.square().sum(-1).clamp(min=1e-4)
    distance = (offset - place.clamp(0, 1)[..., None] * along).norm(dim=-1)
    width = torch.empty(samples, count, 1, 1).uniform_(0.02, 0.07)
    ink = torch.sigmoid((width - distance) * 40)
    ink = ink * torch.empty(samples, count, 1, 1).uniform_(0.2, 0.9)
    return ink.amax(1, keepdim=True)


def augment(images: Tensor) -> Tensor:
    """Make hard 32x32 pictures from clean 8x8 digits: (n, 1, 8, 8) -> (n, 1, 32, 32)."""
    n = len(images)
    large = functional.interpolate(images, (SIZE, SIZE), mode="bicubic").clamp(0, 1)
    picture = torch.maximum(warp(large), strokes(n, 4))
    slope = torch.randn(n, 1, 2, 2) * 0.12
    slope = functional.interpolate(slope, (SIZE, SIZE), mode="bilinear", align_corners=True)
    picture = uniform(n, 0.05, 0.4) + uniform(n, 0.28, 0.7) * picture + slope
    negative = uniform(n, 0, 1) < 0.3
    picture = torch.where(negative, 1 - picture, picture)
    noisy = picture + uniform(n, 0.02, 0.11) * torch.randn_like(picture)
    return torch.from_numpy(quantise(noisy.numpy(), GREY_LEVELS))


def load_split() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, then evaluation images and labels, of different originals."""
    digits = load_digits()
    images = torch.from_numpy(digits.images.astype(np.float32) / 16)[:, None]
    labels = torch.from_numpy(digits.target.astype(np.int64))
    train, held_out = train_test_split(
        np.arange(len(labels)), test_size=0.2, stratify=digits.target, random_state=SEED
    )
    return images[train], labels[train], images[held_out], labels[held_out]


def draw(images: Tensor, labels: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """A batch of augmented pictures and their labels."""
    chosen = torch.randint(len(images), (samples,))
    return augment(images[chosen]), labels[chosen]


def train(images: Tensor, labels: Tensor) -> DigitsResNet:
    """AdamW, one cycle, every picture augmented afresh."""
    model = DigitsResNet()
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, EPOCHS * BATCHES_PER_EPOCH)
    started = time.perf_counter()
    for epoch in range(EPOCHS):
        total = 0.0
        for _ in range(BATCHES_PER_EPOCH):
            pictures, targets = draw(images, labels, BATCH)
            loss = functional.cross_entropy(model(pictures), targets, label_smoothing=0.02)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() / BATCHES_PER_EPOCH
        seconds = time.perf_counter() - started
        print(f"epoch {epoch + 1}: loss {total:.3f}, {seconds:.0f} s", flush=True)
    return model


def main() -> None:
    """Train, export, write the data files, and measure the written network."""
    make_deterministic(SEED)
    train_images, train_labels, held_out_images, held_out_labels = load_split()
    model = train(train_images, train_labels)
    path = export(NAME, model, torch.zeros(2, 1, SIZE, SIZE), "image", "logits", {0: "batch"})

    torch.manual_seed(SEED + 1)
    calibration, _ = draw(train_images, train_labels, CALIBRATION_SAMPLES)
    save_arrays("digits_calibration", {"image": calibration.numpy()})
    pictures, labels = draw(held_out_images, held_out_labels, EVALUATION_SAMPLES)
    evaluation = {"image": pictures.numpy(), "labels": labels.numpy()}
    save_arrays("digits_evaluation", evaluation)

    (logits,) = run_model(path, {"image": evaluation["image"]})
    accuracy = float(np.mean(logits.argmax(1) == evaluation["labels"]))
    print(f"evaluation accuracy: {accuracy:.2%}")


if __name__ == "__main__":
    main()
