"""What averaging before a layer instead of behind it would do, as its averages tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.factor.average_first import FORM, NAME, average_first, blocks, grid
from sepfactor.factor.stage import Ints
from sepfactor.graph.averages import Averaged, move_averages
from sepfactor.graph.instrument import with_outputs
from sepfactor.graph.survey import Site
from sepfactor.measure.session import open_session, run
from sepfactor.search.candidates import Proposal
from sepfactor.search.subject import Candidate, Subject
from sepfactor.study.study import Job

_RUNS = 12
"""Of the network, that averages before and after are compared on."""


def propose_averages(job: Job, site: Site, subject: Subject, most: float | None = None) -> Proposal:
    """The site on averages over blocks, mildest first, or why there is nothing of the kind.

    Args:
        job: the run.
        site: one of its sites.
        subject: the same as numbers.
        most: error allowed; lossless ones always are.
    """
    averaged, asked = job.averaged.get(site.output), job.options.for_layer(site.name, site.output).scheme
    if asked and NAME not in asked:
        return Proposal(())
    if averaged is None:
        return Proposal((), reason="it is no 1×1 layer whose answers are only averaged")
    tried = _Trial(job, site, subject, averaged)
    found = [tried.candidate(block) for block in _worth_trying(averaged, subject.size)]
    cheaper = [c for c in found if c.macs < subject.macs and np.isfinite(c.output_error)]
    if not cheaper:
        return Proposal((), reason="averaging first saves nothing")
    allowed = [c for c in cheaper if c.exact or most is None or c.output_error <= most]
    if not allowed:
        least = min(c.output_error for c in cheaper)
        return Proposal((), reason=f"averaged first it is off by {least:.3g} at least")
    return Proposal(tuple(allowed))


def average_candidate(job: Job, site: Site, subject: Subject, block: Ints) -> Candidate | None:
    """The site on averages over this block; None where its answers are not averaged so."""
    averaged = job.averaged.get(site.output)
    if averaged is None or not _may_average(averaged, block):
        return None
    return _Trial(job, site, subject, averaged).candidate(block)


def lossless_or_all(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Only what loses nothing, if there is any of it: errors multiply on their way through a network."""
    return [c for c in candidates if c.exact] or [*candidates]


def relative_error(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Of answers ``(C, n)``, relative to how far they spread around the mean of each channel; ∞ of NaN."""
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is looked at below
        off, spread = np.sum((after - before) ** 2), np.sum((before - before.mean(1, keepdims=True)) ** 2)
    if not np.isfinite(off):
        return float(np.inf)
    if not spread > 0:  # a single answer
        spread = np.sum(before**2)
    return float(np.sqrt(off / spread)) if spread > 0 else float(off > 0)


class _Trial:
    """Runs of a network with one site on averages, against runs of it as it is."""

    def __init__(self, job: Job, site: Site, subject: Subject, averaged: Averaged) -> None:
        self._job, self._site, self._subject, self._averaged = job, site, subject, averaged
        self._feeds = [job.data.fit[i] for i in range(min(len(job.data.fit), _RUNS))]
        self._before = self._answers(job.prepared)

    def candidate(self, block: Ints) -> Candidate:
        """The site on averages over this block; its errors are those of the averages of what it answers."""
        job, site, subject = self._job, self._site, self._subject
        after = self._answers(move_averages(job.prepared, {site.output: block}).model)
        error = relative_error(self._before, after)
        whole = block or subject.size
        # What an AveragePool leaves over of the map, it leaves over before the layer as well.
        size = tuple(n - n % b for n, b in zip(subject.size, whole, strict=True))
        size = size if self._averaged.block else subject.size
        return Candidate(
            NAME,
            FORM,
            block,
            subject.dense,
            subject.stage.macs(grid(size, whole)),
            weight_error=0.0,
            output_error=error,
            weighted_error=error,
            exact=self._averaged.linear,
            block=block,
            timed=average_first(subject.stage, subject.bias, whole, size),
        )

    def _answers(self, model: ir.Model) -> NDArray[np.float64]:
        """The averages, ``(C, n)``, of all runs."""
        answer = self._averaged.answer
        session = open_session(with_outputs(model, [answer]), self._job.runtime)
        at = [output.name for output in session.get_outputs()].index(answer)
        found = [run(session, feed)[at] for feed in self._feeds]
        return np.concatenate([np.moveaxis(x, 1, 0).reshape(x.shape[1], -1) for x in found], axis=1).astype(
            np.float64
        )


def _may_average(averaged: Averaged, block: Ints) -> bool:
    if averaged.block or not block:
        return averaged.block == block
    return len(block) == len(averaged.size) and all(b <= n for b, n in zip(block, averaged.size, strict=True))


def _worth_trying(averaged: Averaged, size: Ints) -> list[Ints]:
    if averaged.block:
        return [averaged.block]
    if averaged.linear or averaged.size != size:  # nothing is lost, or maps have no size to make blocks of
        return [()]
    return [*blocks(size)[:-1], ()]
