"""What each layer may become, before anything is timed: found for several layers at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sepfactor.factor import Factorization
from sepfactor.fit.averaging import lossless_or_all, propose_averages
from sepfactor.graph.survey import Site
from sepfactor.search.candidates import PER_SCHEME, Proposal, spread
from sepfactor.search.choice import Choice
from sepfactor.search.rules import schemes_of, subject_of
from sepfactor.search.subject import Candidate, Subject
from sepfactor.study.study import Job
from sepfactor.threads import blas_threads, cores, is_worth_threads, side_by_side

_FEWEST_RANKS, _ALL_RANKS = 4, 260
"""Of each scheme, for a layer and for all: where there are many layers, each is looked at less closely."""

_FINE = 4
"""Widths are multiples of it where time does not count."""

_AT_ONCE = 4
"""Layers looked at side by side, at most."""


@dataclass(frozen=True, eq=False)
class Offer:
    """Candidates of a site, the layer itself in their form, and its multiply-accumulates."""

    candidates: tuple[Candidate, ...]
    dense: Factorization
    macs: int


def gather_offers(job: Job) -> Mapping[str, Offer | Choice]:
    """Candidates of every site, or why it has none, by the name of its output."""
    for known in ("observed", "metrics", "rectified"):
        getattr(job, known)  # before threads ask for them
    wide = [site for site in job.sites if is_worth_threads(_entries(site))]
    others = [site for site in job.sites if not is_worth_threads(_entries(site))]
    found: dict[str, Offer | Choice] = {}
    with blas_threads(0):
        for site, seen in side_by_side(lambda site: _propose(job, site), others, min(cores(), _AT_ONCE)):
            job.progress("propose", len(found), len(job.sites), site.name)
            found[site.output] = _offer(job, site, seen)
    for site in wide:
        job.progress("propose", len(found), len(job.sites), site.name)
        with blas_threads(_entries(site)):
            found[site.output] = _offer(job, site, _propose(job, site))
    job.progress("propose", len(job.sites), len(job.sites), "")
    return found


def times_count(job: Job) -> bool:
    """Whether time is what is to be saved: so it is unless only operations or parameters are bounded."""
    asked = job.options
    sizes = asked.max_macs is not None or asked.max_params is not None
    return not sizes or asked.speedup is not None or asked.latency_ms is not None


def _entries(site: Site) -> int:
    return 0 if site.stage is None else site.stage.weight[0].size


def _propose(job: Job, site: Site) -> tuple[Subject, Proposal] | Choice:
    """The part that is numbers alone, and so may run on any thread."""
    subject = subject_of(job, site)
    if isinstance(subject, str):
        return Choice(reason=subject)
    wish = job.options.for_layer(site.name, site.output)
    if not times_count(job):
        subject = replace(subject, block=_FINE)
    count = max(_FEWEST_RANKS, min(PER_SCHEME, _ALL_RANKS // len(job.sites)))
    return subject, spread(subject, schemes_of(wish), max_error=wish.max_error, per_scheme=count)


def _offer(job: Job, site: Site, seen: tuple[Subject, Proposal] | Choice) -> Offer | Choice:
    if isinstance(seen, Choice):
        return seen
    subject, proposal = seen
    job.spectra[site.output] = proposal.spectra
    most = job.options.for_layer(site.name, site.output).max_error
    averages = propose_averages(job, site, subject, most)
    candidates = lossless_or_all([*proposal.candidates, *averages.candidates])
    if not candidates:
        return Choice(reason=proposal.reason or averages.reason)
    return Offer(tuple(candidates), subject.dense, subject.macs)
