"""Read the rows of one site out of the original and the network compressed so far."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sepfactor.graph.survey import Site
from sepfactor.observe.patches import gather_patches, sample_positions
from sepfactor.steps.rows import Rows, Single, fits_into
from sepfactor.steps.walk import Walk


def read_rows(
    site: Site,
    original: Walk,
    compressed: Walk,
    held: set[int],
    seed: int,
    *,
    entries: float,
    residual: bool,
    rectified: bool,
    spread: bool = False,
) -> tuple[Rows, Rows]:
    """Rows to fit to, and rows to judge on: the same ones where nothing is held out.

    Args:
        site: its input is at hand in ``compressed``, its output in ``original``.
        original: tells what to answer.
        compressed: tells what is read by now, on the same images.
        held: images to judge on.
        seed: of the sampled positions.
        entries: bound on patches × entries. Rows that are kept hold as many float32 again at most.
        residual: where the answer goes into a sum, aim at the original's.
        rectified: keep the rows if this answer, or the sum it goes into, is only seen behind a ReLU.
        spread: whether their moments are to hold the covariance of the answers.
    """
    stage = site.stage
    assert stage is not None
    keep = rectified and compressed.cutter.is_rectified(site.output)
    partner = compressed.cutter.partner(site.output) if residual or keep else None
    if partner is not None and not _is_alike(partner, site.output, original, compressed):
        partner, keep = None, False
    offset = compressed.cutter.offset(site.output) if keep else None
    if offset is not None and not fits_into(offset, original.value(0, site.output).shape):
        offset, keep = None, False
    parts = Rows(stage, keep, not held, spread), Rows(stage, keep, True, spread)
    maps = site.kind.maps
    samples = sum(maps(compressed.value(i, site.input)).shape[0] for i in range(len(compressed)))
    width = stage.in_channels * math.prod(stage.kernel_shape)
    if keep:
        width = max(width, stage.out_channels * (1 if partner is None and offset is None else 2))
    per_sample = max(1, int(entries / (width * max(samples, 1))))
    for i in range(len(compressed)):
        x, y = maps(compressed.value(i, site.input)), maps(original.value(i, site.output)).astype(np.float32)
        beside = None if partner is None else maps(compressed.value(i, partner)).astype(np.float32)
        if partner is not None and beside is not None and residual:
            y = y + _shortfall(maps(original.value(i, partner)), beside)
        if offset is not None:
            beside = maps(np.broadcast_to(offset.astype(np.float32), original.value(i, site.output).shape))
        for b in range(x.shape[0]):
            rng = np.random.default_rng((seed, i, b))
            where = sample_positions(tuple(y.shape[2:]), per_sample, rng)
            added = _at(beside, b, where) if keep and beside is not None else None
            parts[i in held].add(gather_patches(x, stage, b, where), _at(y, b, where), added)
    return parts[0], (parts[1] if held else parts[0])


def _is_alike(partner: str, output: str, original: Walk, compressed: Walk) -> bool:
    """Whether the other summand is at hand and of the same shape: a sum may be wider than a summand."""
    if not (original.has(partner) and compressed.has(partner)):
        return False
    images = range(len(compressed))
    return all(original.value(i, output).shape == compressed.value(i, partner).shape for i in images)


def _shortfall(original: NDArray[np.floating], compressed: Single) -> Single:
    with np.errstate(invalid="ignore"):  # of infinities; such rows are left out
        return original.astype(np.float32) - compressed


def _at(value: Single, b: int, where: NDArray[np.int64]) -> Single:
    """``(n, channels)``: one map at some positions."""
    return np.ascontiguousarray(value[b][:, *where.T].T)
