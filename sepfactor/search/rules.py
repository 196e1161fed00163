"""Decide each site on its own, by the rank or the error its user allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sepfactor.factor import Scheme, select_schemes
from sepfactor.fit.averaging import lossless_or_all, propose_averages
from sepfactor.fit.settings import has_room, moment_bytes
from sepfactor.graph.survey import Site
from sepfactor.options import DEFAULT_MAX_ERROR, LayerOptions
from sepfactor.search.candidates import propose
from sepfactor.search.choice import Choice, choose
from sepfactor.search.layer_timing import LayerTime, Place, Stopwatch
from sepfactor.search.subject import Candidate, Subject
from sepfactor.study.study import Decision, Job
from sepfactor.threads import blas_threads


def decide(job: Job) -> list[Decision]:
    """One decision per site, in the order of the graph."""
    stopwatch = Stopwatch(job.runtime, job.options.seed, job.timing_cache)
    decisions = []
    for number, site in enumerate(job.sites):
        job.progress("factor", number, len(job.sites), site.name)
        with blas_threads(0 if site.stage is None else site.stage.weight[0].size):
            choice = _decide(job, site, stopwatch)
        decisions.append(Decision(site, job.observed.get(site.output), choice))
    job.progress("factor", len(job.sites), len(job.sites), "")
    return decisions


def _decide(job: Job, site: Site, stopwatch: Stopwatch) -> Choice:
    wish = job.options.for_layer(site.name, site.output)
    subject = subject_of(job, site, weighed=False)  # a rule speaks of the plain error
    if isinstance(subject, str):
        return Choice(reason=subject)
    max_error = DEFAULT_MAX_ERROR if wish.max_error is None else wish.max_error
    proposal = propose(subject, schemes_of(wish), rank=wish.rank, max_error=max_error)
    job.spectra[site.output] = proposal.spectra
    averages = propose_averages(job, site, subject, 0.0 if wish.rank is not None else max_error)
    tried = lossless_or_all([*averages.candidates[-1:], *proposal.candidates])  # large blocks cost least
    proposal = replace(proposal, candidates=tuple(tried), reason=proposal.reason or averages.reason)

    def times(tried: Sequence[Candidate]) -> list[LayerTime]:
        found = stopwatch.times(subject.dense, [c.to_time for c in tried], place_of(job, site))
        return [time for time in found if time is not None]  # none is: this machine's times count here

    return choose(proposal, times, fastest=wish.rank is None)


def subject_of(job: Job, site: Site, *, weighed: bool = True) -> Subject | str:
    """What candidates are looked for, or why the site is kept without looking.

    Args:
        job: the run.
        site: one of its sites.
        weighed: whether errors count as the layers have it that read the answer. So they do only
            where fitting follows: factors made here are then never written, and a plan need not say.
    """
    if job.options.for_layer(site.name, site.output).keep:
        return "left alone as asked"
    if site.stage is None or site.skipped is not None:
        return site.skipped or ""
    if job.method.ridge is not None and not has_room(site.stage, job.options):
        takes = f"{site.stage.weight[0].size:,} entries, {moment_bytes(site.stage) / 1e9:.1f} GB"
        return f"the moments of its patches ({takes}) do not fit into --memory"
    seen = job.observed.get(site.output)
    if seen is None or seen.statistics is None:
        stacked = ", or not in turns of one size" if site.nested else ""
        return f"it did not run on the data{stacked}: its map is unknown"
    one = np.ones((), job.written_as(site))
    weighed = weighed and job.method.settings is not None
    epsilon = float(np.nextafter(one, one + one) - one)  # numpy's finfo does not know bfloat16
    return Subject(
        site.stage,
        site.bias,
        seen.size,
        seen.statistics,
        epsilon,
        job.method.ridge,
        metric=job.metrics.get(site.output) if weighed else None,
        rectified=weighed and site.output in job.rectified,
        offset=job.offsets.get(site.output) if weighed else None,
    )


def schemes_of(wish: LayerOptions) -> tuple[Scheme, ...]:
    """The schemes a layer may take."""
    return select_schemes(wish.scheme)


def place_of(job: Job, site: Site) -> Place:
    """Where the site runs."""
    seen = job.observed[site.output]
    return Place(seen.size, seen.batch, site.dtype, site.kind)
