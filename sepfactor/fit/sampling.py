"""Read the rows of one site out of the original and the network compressed so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.data.patches import gather_patches, sample_positions
from sepfactor.factor.moment_sums import BATCH
from sepfactor.fit.propagation import Propagation
from sepfactor.fit.samples import Rows, Single, fits_into
from sepfactor.graph.survey import Site
from sepfactor.resources import Resources

Pair = tuple[NDArray[Any], NDArray[Any]]


def read_rows(
    site: Site,
    original: Propagation,
    compressed: Propagation,
    held: set[int],
    seed: int,
    *,
    entries: float,
    residual: bool,
    rectified: bool,
    spread: bool = False,
    resources: Resources | None = None,
) -> tuple[Rows, Rows] | None:
    """Rows to fit to, and rows to judge on: the same ones where nothing is held out; None if it never ran.

    Args:
        site: what it reads is at hand in ``compressed``, what it answers in ``original``.
        original: tells what to answer.
        compressed: tells what is read by now, on the same images.
        held: images to judge on.
        seed: of the sampled positions.
        entries: bound on patches × entries. Rows that are kept are as many float32 again at most.
        residual: where the answer goes into a sum, aim at the original's.
        rectified: keep the rows if this answer, or the sum it goes into, is only seen behind a ReLU.
        spread: whether their moments are to hold the covariance of the answers.
        resources: for rows, and products of them.
    """
    stage = site.stage
    assert stage is not None
    maps, images = site.kind.maps, range(len(compressed))
    counts, shapes = np.zeros(len(images), int), set()
    for i in images:
        for x, y in _pairs(i, site, original, compressed):
            counts[i] += maps(x).shape[0]
            shapes.add(y.shape)
    if not counts[[i for i in images if i not in held]].any():
        return None
    judged_apart = bool(counts[[*held]].any())
    keep = rectified and compressed.partition.is_rectified(site.output)
    partner = compressed.partition.partner(site.output) if residual or keep else None
    if partner is not None and not _is_alike(partner, site.output, original, compressed):
        partner, keep = None, False
    offset = compressed.partition.offset(site.output) if keep else None
    if offset is not None and not all(fits_into(offset, shape) for shape in shapes):
        offset, keep = None, False
    parts = tuple(Rows(stage, keep, precise, spread, resources) for precise in (not judged_apart, True))
    width = stage.in_channels * math.prod(stage.kernel_shape)
    if keep:
        width = max(width, stage.out_channels * (1 if partner is None and offset is None else 2))
    per_sample = max(1, int(entries / (width * int(counts.sum()))))
    for i, number, read, answer in _each(images, site, original, compressed):
        x, y = maps(read), maps(answer)
        beside = None if partner is None else maps(compressed.value(i, partner))
        wanted = None if partner is None or not residual else maps(original.value(i, partner))
        if offset is not None:
            beside = maps(np.broadcast_to(offset.astype(np.float32), answer.shape))
        for b in range(x.shape[0]):
            rng = np.random.default_rng((seed, i, number + b))
            positions = sample_positions(tuple(y.shape[2:]), per_sample, rng)
            for where in np.split(positions, range(BATCH, len(positions), BATCH)):
                answers = _at(y, b, where)
                added = None if beside is None else _at(beside, b, where)
                if wanted is not None and added is not None:
                    answers = answers + _shortfall(_at(wanted, b, where), added)
                parts[i in held].add(gather_patches(x, stage, b, where), answers, added if keep else None)
    return parts[0], (parts[1] if judged_apart else parts[0])


def _pairs(image: int, site: Site, original: Propagation, compressed: Propagation) -> list[Pair]:
    """What the site reads by now, and what it answered; nothing where the one is not of the other any more.

    Where values decide, such as which boxes are looked at, or how often a Loop turns, that happens.
    """
    read, answers = compressed.reads(image, site), original.answers(image, site)
    if read.keys() != answers.keys():
        return []
    return [(read[turn], answers[turn]) for turn in read if _belongs(site, read[turn], answers[turn])]


def _belongs(site: Site, read: NDArray[Any], answer: NDArray[Any]) -> bool:
    """Whether the site answers such a map with such a one."""
    stage, x, y = site.stage, site.kind.maps(read), site.kind.maps(answer)
    assert stage is not None
    return len(x) == len(y) and stage.output_size(tuple(x.shape[2:])) == tuple(y.shape[2:])


def _each(
    images: Iterable[int], site: Site, original: Propagation, compressed: Propagation
) -> Iterator[tuple[int, int, NDArray[Any], NDArray[Any]]]:
    """Image, how many samples of it came before, what is read and what is to be answered."""
    for image in images:
        before = 0
        for read, answer in _pairs(image, site, original, compressed):
            yield image, before, read, answer
            before += len(read)


def _is_alike(partner: str, output: str, original: Propagation, compressed: Propagation) -> bool:
    """Whether the other summand is at hand and of the same shape: a sum may be wider than a summand."""
    if not (original.has(partner) and compressed.has(partner)):
        return False
    images = range(len(compressed))
    return all(original.shape(i, output) == compressed.shape(i, partner) for i in images)


def _shortfall(original: Single, compressed: Single) -> Single:
    with np.errstate(invalid="ignore"):  # of infinities; such rows are left out
        return original - compressed


def _at(value: NDArray[np.floating], b: int, where: NDArray[np.int64]) -> Single:
    """``(n, channels)``: one map at some positions."""
    return np.ascontiguousarray(value[b][(slice(None), *where.T)].T, np.float32)
