"""What convolutions see and should answer, made at random: correlated patches, as of real feature maps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from sepfactor.factor import Factorization, Stage
from sepfactor.factor.covariance import Formed
from sepfactor.factor.moment_sums import MomentSums
from sepfactor.factor.moments import Moments
from sepfactor.factor.stage import Array
from sepfactor.factor.statistics import ReplacementErrors, Statistics
from tests.strategies import normal, seeds


@dataclass(frozen=True, eq=False, repr=False)
class Rows:
    """Patches ``(n, in, *kernel)`` and answers ``(n, out)`` of one convolution."""

    stage: Stage
    x: Array
    y: Array

    def __repr__(self) -> str:
        return f"<{len(self.x)} rows for {self.stage}>"

    @property
    def blocks(self) -> Array:
        """``(group, n, D)``."""
        return np.moveaxis(self.x.reshape(len(self.x), self.stage.group, -1), 0, 1)

    @property
    def answers(self) -> Array:
        """``(group, n, out/group)``."""
        return np.moveaxis(self.y.reshape(len(self.y), self.stage.group, -1), 0, 1)

    def run(self, weight: Array) -> Array:
        """``(n, out)`` of a kernel ``(out, in/group, *kernel)``."""
        kernels = weight.reshape(self.stage.group, -1, self.blocks.shape[-1])
        return np.concatenate([b @ k.T for b, k in zip(self.blocks, kernels, strict=True)], axis=1)

    def moments(self, spread: bool = False) -> Moments:
        sums = MomentSums(self.x.shape[1:], self.stage.group, self.stage.out_channels, spread=spread)
        sums.add(self.x, self.y)
        return sums.moments()


def rows_for(stage: Stage, seed: int, count: int = 200, mean: float = 1.0, wrong: float = 0.3) -> Rows:
    """Correlated along every mode, and with answers that the kernel of ``stage`` gives only roughly."""
    rng = np.random.default_rng(seed)
    shape = (stage.in_channels, *stage.kernel_shape)
    x = rng.standard_normal((count, *shape))
    for axis, length in enumerate(shape, start=1):
        mixing = rng.standard_normal((length, length)) * 0.6 ** np.arange(length) + 0.05 * np.eye(length)
        x = np.moveaxis(np.tensordot(x, mixing, axes=(axis, 1)), -1, axis)
    x += mean * rng.standard_normal(shape)
    own = Rows(stage, x, x[:, :0].reshape(count, 0))
    y = own.run(stage.weight + wrong * np.abs(stage.weight).mean() * normal(seed, *stage.weight.shape))
    y += 0.05 * y.std() * rng.standard_normal(y.shape) + rng.standard_normal(stage.out_channels)
    return replace(own, y=y)


@st.composite
def correlated(draw: st.DrawFn, stage: Stage, least: int = 60) -> Rows:
    return rows_for(stage, draw(seeds), draw(st.integers(least, 300)))


def exact_moments(stage: Stage, covariance: Array, target: Array) -> Moments:
    """Of inputs of this covariance, mean zero, that ``target`` answers without a miss."""
    flat = target.reshape(stage.group, -1, covariance.shape[-1])
    cross = flat @ covariance
    return Moments(
        (stage.weight.shape[1], *stage.kernel_shape),
        Formed(covariance),
        cross,
        float(np.sum(cross * flat)),
        np.zeros((stage.group, covariance.shape[-1])),
        np.zeros(stage.out_channels),
        1000,
    )


def shapes_of(factorization: Factorization) -> list[object]:
    """All of its stages but the numbers."""
    return [
        [(s.weight.shape, s.strides, s.pads, s.dilations, s.group) for s in chain.stages]
        for chain in factorization.chains
    ]


def output_error(seen: Statistics, stage: Stage, replacement: Factorization) -> float:
    """How far what a replacement answers is off, relatively."""
    return ReplacementErrors(seen, stage)(replacement).output
