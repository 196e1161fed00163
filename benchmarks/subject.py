"""A network to compress, as the baselines see it: its convolutions, and moments of what they read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.data import Feed
from sepfactor.data.patches import gather_patches, sample_positions, usable
from sepfactor.factor import Decomposition, Factorization, Stage
from sepfactor.factor.moment_sums import MomentSums
from sepfactor.factor.moments import Moments
from sepfactor.factor.stage import Ints
from sepfactor.fit.propagation import Propagation
from sepfactor.graph.lower import lower
from sepfactor.graph.rebuild import Replacement
from sepfactor.graph.survey import Site
from sepfactor.layout import BLOCK
from sepfactor.measure import Engine

_ENTRIES = 4e7
"""Numbers read per layer at most, as many as sepfactor's own fit reads."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution of the original network, and the moments of what it reads and answers.

    Attributes:
        site: where. stage: the convolution. size: its input map.
        moments: over all calibration inputs.
    """

    site: Site
    stage: Stage
    size: Ints
    moments: Moments

    @property
    def macs(self) -> int:
        """Multiply-accumulates on one map."""
        return self.stage.macs(self.size)

    def macs_per_rank(self, decomposition: Decomposition) -> int:
        """Of a scheme of one width, whose cost is proportional to it."""
        return sum(chain.macs(self.size) for chain in decomposition.build((1,)))

    def replaced(self, factorization: Factorization) -> list[Replacement]:
        """By these factors, or by nothing where they cost no less."""
        cheaper = factorization.macs(self.size) < self.macs
        return [Replacement(self.site, factorization, {})] if cheaper else []


@dataclass(frozen=True, eq=False)
class Subject:
    """A network to compress, and what for.

    Attributes:
        file: as published. prepared: as sepfactor factors it.
        sites: its convolutions, in the order of the graph.
        feeds: calibration inputs.
        engine: what runs it.
        blocks: whether ranks are taken from the grid of onnxruntime's blocks.
    """

    file: Path
    prepared: ir.Model
    sites: Sequence[Site]
    feeds: Sequence[Feed]
    engine: Engine
    blocks: bool = True

    @cached_property
    def layers(self) -> list[Layer]:
        """Every convolution that can be factored, with its moments: one walk through the network."""
        walk, found = self.walk(), []
        for site in self.sites:
            if site.stage is not None:
                walk.advance_for_input(site)
                size = tuple(walk.value(0, site.input).shape[2:])
                found.append(Layer(site, site.stage, size, moments(site, site.stage, walk, walk)))
        return found

    def walk(self) -> Propagation:
        """All calibration inputs at the beginning of the prepared network."""
        return Propagation(self.prepared, self.feeds, self.engine)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all convolutions."""
        return sum(layer.macs for layer in self.layers)

    def ranks(self, decomposition: Decomposition, layer: Layer) -> list[int]:
        """The ranks to choose from for a scheme of one width, the full one included, in rising order."""
        (full,) = decomposition.full_rank
        wide = min(full, layer.stage.weight.shape[1], layer.stage.out_channels // layer.stage.group) >= BLOCK
        step = BLOCK if self.blocks and wide else 1
        return sorted({*range(step, full + 1, step), full})


def moments(site: Site, stage: Stage, reads: Propagation, original: Propagation) -> Moments:
    """Of what a layer reads in one network, and what it answers in the original.

    Args:
        site: the layer.
        stage: the same as numbers.
        reads: stands before it, in the original or in a network that is compressed so far.
        original: stands before it in the original.
    """
    sums = MomentSums((stage.in_channels, *stage.kernel_shape), stage.group, stage.out_channels)
    samples = sum(reads.value(i, site.input).shape[0] for i in range(len(reads)))
    wanted = max(1, int(_ENTRIES / (stage.in_channels * math.prod(stage.kernel_shape) * samples)))
    bias = np.zeros(stage.out_channels) if site.bias is None else site.bias
    for i in range(len(reads)):
        x, true = reads.value(i, site.input), original.value(i, site.input)
        for b in range(x.shape[0]):
            rng = np.random.default_rng((i, b))
            where = sample_positions(stage.output_size(tuple(x.shape[2:])), wanted, rng)
            patches = gather_patches(x, stage, b, where)
            answers = _answers(stage, gather_patches(true, stage, b, where) if true is not x else patches)
            sums.add(*usable(patches, answers + bias.astype(np.float32)))
    return sums.moments()


def _answers(stage: Stage, patches: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(n, out)``, without bias."""
    blocks = patches.reshape(len(patches), stage.group, -1).transpose(1, 0, 2)
    kernels = stage.weight.reshape(stage.group, -1, blocks.shape[-1]).astype(np.float32)
    answers: NDArray[np.float32] = (blocks @ kernels.transpose(0, 2, 1)).transpose(1, 0, 2)
    return answers.reshape(len(patches), -1)


def put(walk: Propagation, replacement: Replacement) -> None:
    """Let a walk that has not yet passed the site go on through its replacement."""
    site = replacement.site
    ends = ir.val(site.input), ir.val(site.output)
    lowered = lower(
        replacement.factorization,
        *ends,
        kind=site.kind,
        prefix=f"{site.output}/fitted",
        dtype=site.dtype,
        opset=walk.partition.opset,
    )
    walk.partition.replace(site.output, lowered.nodes, lowered.initializers)
