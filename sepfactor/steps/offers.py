"""What each layer may become, before anything is timed: found for several layers at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sepfactor.factor import Factorization
from sepfactor.graph.survey import Site
from sepfactor.plans.candidates import PER_SCHEME, spread
from sepfactor.plans.choose import Choice
from sepfactor.plans.subject import Candidate
from sepfactor.steps.averages import average_candidates, lossless_or_all
from sepfactor.steps.choose import dense_form, schemes_of, subject_of
from sepfactor.steps.job import Job
from sepfactor.threads import blas_threads, cores, side_by_side

_FEWEST_RANKS, _ALL_RANKS = 4, 260
"""Of each scheme, for a layer and for all: where there are many layers, each is looked at less closely."""

_FINE = 4
"""Widths are multiples of it where time does not count."""

_ALONE = 2500
"""Entries per patch from which a layer is looked at alone: it takes most of a gigabyte, and all threads."""

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
    for known in ("observed", "metrics", "rectified", "averaged"):
        getattr(job, known)  # before threads ask for them
    wide = [site for site in job.sites if _entries(site) >= _ALONE]
    others = [site for site in job.sites if _entries(site) < _ALONE]
    found: dict[str, Offer | Choice] = {}
    with blas_threads(0):
        for site, offer in side_by_side(lambda site: _offer(job, site), others, min(cores(), _AT_ONCE)):
            job.progress("propose", len(found), len(job.sites), site.name)
            found[site.output] = offer
    for site in wide:
        job.progress("propose", len(found), len(job.sites), site.name)
        with blas_threads(_entries(site)):
            found[site.output] = _offer(job, site)
    job.progress("propose", len(job.sites), len(job.sites), "")
    return found


def times_count(job: Job) -> bool:
    """Whether time is what is to be saved: so it is unless only operations or parameters are bounded."""
    asked = job.options
    sizes = asked.max_macs is not None or asked.max_params is not None
    return not sizes or asked.speedup is not None or asked.latency_ms is not None


def _entries(site: Site) -> int:
    return 0 if site.stage is None else site.stage.weight[0].size


def _offer(job: Job, site: Site) -> Offer | Choice:
    subject = subject_of(job, site)
    if isinstance(subject, str):
        return Choice(reason=subject)
    wish = job.options.for_layer(site.name, site.output)
    if not times_count(job):
        subject = replace(subject, block=_FINE)
    count = max(_FEWEST_RANKS, min(PER_SCHEME, _ALL_RANKS // len(job.sites)))
    proposal = spread(subject, schemes_of(wish), max_error=wish.max_error, per_scheme=count)
    job.spectra[site.output] = proposal.spectra
    averages = average_candidates(job, site, subject, wish.max_error)
    candidates = lossless_or_all([*proposal.candidates, *averages])
    if not candidates:
        return Choice(reason=proposal.reason)
    return Offer(tuple(candidates), dense_form(subject), subject.macs)
