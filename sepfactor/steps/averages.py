"""What averaging before a layer instead of behind it would do, as its averages tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.factor.average_first import FORM, NAME, average_first, blocks, grid
from sepfactor.factor.stage import Ints
from sepfactor.graph.averages import Averaged, move_averages
from sepfactor.graph.instrument import with_outputs
from sepfactor.graph.survey import Site
from sepfactor.measure.session import open_session, run
from sepfactor.plans.subject import Candidate, Subject
from sepfactor.steps.job import Job

_RUNS = 12
"""Of the network, that averages before and after are compared on."""


def average_candidates(
    job: Job,
    site: Site,
    subject: Subject,
    most: float | None = None,
    blocks: Sequence[Ints] | None = None,
) -> list[Candidate]:
    """The site on averages over blocks, mildest first; nothing where its answers are not averaged.

    Their errors are those of the averages, relative to how far they spread.

    Args:
        job: the run.
        site: one of its sites.
        subject: the same as numbers.
        most: error allowed.
        blocks: to try; else all worth it.
    """
    averaged, asked = job.averaged.get(site.output), job.options.for_layer(site.name, site.output).scheme
    if averaged is None or (asked and NAME not in asked):
        return []
    feeds = [job.data.fit[i] for i in range(min(len(job.data.fit), _RUNS))]

    def answers(model: ir.Model) -> NDArray[np.float64]:
        session = open_session(with_outputs(model, [averaged.answer]), job.runtime)
        at = [output.name for output in session.get_outputs()].index(averaged.answer)
        return np.concatenate([_by_channel(run(session, feed)[at]) for feed in feeds], axis=1)

    found, before = [], answers(job.prepared)
    for block in _worth_trying(averaged, subject.size) if blocks is None else blocks:
        after = answers(move_averages(job.prepared, {site.output: block}).model)
        found.append(_candidate(subject, averaged, block, relative_error(before, after)))
    allowed = np.finfo(np.float64).max if most is None else most
    return [c for c in found if c.exact or c.output_error <= allowed]  # not what is not finite


def may_average(averaged: Averaged | None, block: Ints) -> bool:
    """Whether a layer may work on averages over such blocks."""
    if averaged is None or averaged.block or not block:
        return averaged is not None and averaged.block == block
    return len(block) == len(averaged.size) and all(b <= n for b, n in zip(block, averaged.size, strict=True))


def lossless_or_all(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Only what loses nothing, if there is any of it: errors multiply on their way through a network."""
    return [c for c in candidates if c.exact] or [*candidates]


def relative_error(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Of answers ``(C, n)``, relative to how far they spread around the mean of each channel."""
    off, spread = np.sum((after - before) ** 2), np.sum((before - before.mean(1, keepdims=True)) ** 2)
    if not spread > 0:  # a single answer
        spread = np.sum(before**2)
    return float(np.sqrt(off / spread)) if spread > 0 else float(off > 0)


def _by_channel(answer: NDArray[Any]) -> NDArray[np.float64]:
    """``(N, C, …)`` as ``(C, n)``."""
    return np.moveaxis(answer, 1, 0).reshape(answer.shape[1], -1).astype(np.float64)


def _worth_trying(averaged: Averaged, size: Ints) -> list[Ints]:
    if averaged.block:
        return [averaged.block]
    if averaged.linear or averaged.size != size:  # nothing is lost, or maps have no size to make blocks of
        return [()]
    return [*blocks(size)[:-1], ()]


def _candidate(subject: Subject, averaged: Averaged, block: Ints, error: float) -> Candidate:
    whole = block or subject.size
    map_size = grid(subject.size, whole)
    return Candidate(
        NAME,
        FORM,
        block,
        average_first(subject.stage, subject.bias, whole, subject.size),
        subject.stage.macs(map_size),
        weight_error=0.0,
        output_error=error,
        felt_error=error,
        exact=averaged.linear,
    )
