"""What a convolution may become: scheme and rank, with cost and error."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sepfactor.factor import Rank, Scheme
from sepfactor.search.ranks import Search, Spectrum, spectrum
from sepfactor.search.subject import Candidate, Subject

PER_SCHEME = 10
"""Ranks looked at per scheme, evenly spaced in the logarithm of their cost."""

_CHEAPEST, _DEAREST = 0.06, 0.85
"""Between these shares of the layer's multiply-accumulates; less was never worth its error, more its time."""

_WORSE_BEFORE, _WORSE_AFTER = 2.5, 1.25
"""A candidate is dropped if a cheaper one is so many times more accurate, before and after fitting.

Not at once: multiply-accumulates are not time, and fitting mends some schemes more than others."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """Candidates of one site, cheapest first, or why there is none.

    Attributes:
        spectra: scheme → error by rank, candidates or not.
    """

    candidates: tuple[Candidate, ...]
    reason: str = ""
    spectra: Mapping[str, Spectrum] = field(default_factory=dict)


def propose(
    subject: Subject,
    schemes: Sequence[Scheme],
    *,
    rank: int | None,
    max_error: float | None,
) -> Proposal:
    """The best candidate of every scheme that offers one, cheapest first.

    With ``rank``: each scheme at that rank, widths rounded up to the block grid, ordered by output
    error. With ``max_error``: each scheme at the cheapest rank whose output error stays within it.
    A candidate must cost fewer multiply-accumulates than the layer. Lossless ones always qualify,
    and come first: errors multiply on their way through a network, so none is taken on needlessly.
    """
    found: list[Candidate] = []
    closest: Candidate | None = None
    refusals: list[str] = []
    searches = []
    for scheme in schemes:
        if refusal := scheme.refuses(subject.stage):
            refusals.append(refusal)
            continue
        search = Search(subject, scheme)
        searches.append(search)
        best, near = search.at_rank(rank) if rank is not None else search.within(max_error or 0.0)
        if best is not None:
            found.append(best)
        if near is not None and (closest is None or near.output_error < closest.output_error):
            closest = near
    reason = "" if found else _reason(refusals, schemes, closest, rank, max_error)
    order = sorted(found, key=lambda c: (not c.exact, c.macs if rank is None else c.output_error))
    return Proposal(tuple(order), reason, spectra(searches))


def spectra(searches: Sequence[Search]) -> dict[str, Spectrum]:
    """Scheme → error by rank; schemes without ranks left out."""
    found = {search.scheme.name: spectrum(search.decomposition) for search in searches}
    return {scheme: points for scheme, points in found.items() if points}


def _reason(
    refusals: list[str],
    schemes: Sequence[Scheme],
    closest: Candidate | None,
    rank: int | None,
    max_error: float | None,
) -> str:
    if not schemes:  # average-first alone was asked for, which says itself why not
        return ""
    if len(refusals) == len(schemes):
        return refusals[0] if len(schemes) == 1 else max(refusals, key=refusals.count)
    if rank is not None:
        return f"no scheme of rank {rank} costs fewer multiplications"
    if closest is None:
        return "no scheme costs fewer multiplications at any rank"
    return (
        f"nothing cheaper stays within {max_error:.3g} of its output "
        f"(closest: {closest.label}, off by {closest.output_error:.3g})"
    )


def spread(
    subject: Subject,
    schemes: Sequence[Scheme],
    *,
    max_error: float | None = None,
    per_scheme: int = PER_SCHEME,
) -> Proposal:
    """Candidates over the whole range of costs, of every scheme that may be best somewhere; cheapest first.

    Args:
        subject: the convolution.
        schemes: to try.
        max_error: leave out what is less accurate.
        per_scheme: ranks to look at, at most.
    """
    searches, refusals = [], []
    for scheme in schemes:
        refusal = scheme.refuses(subject.stage)
        if refusal:
            refusals.append(refusal)
        else:
            searches.append(Search(subject, scheme))
    lossless = [search.lossless for search in searches if search.lossless is not None]
    if lossless:
        return Proposal((min(lossless, key=lambda c: c.macs),), "", spectra(searches))
    drawn = [(search, rank) for search in searches for rank in _drawn(search, per_scheme)]
    errors = [(search.macs(rank), search.decomposition.error(rank)) for search, rank in drawn]
    drawn = [drawn[i] for i in _worthwhile(errors, _WORSE_BEFORE)]
    found = [search.candidate(rank) for search, rank in drawn]
    closest = min(found, key=lambda c: c.output_error, default=None)
    found = [found[i] for i in _worthwhile([(c.macs, c.weighted_error) for c in found], _WORSE_AFTER)]
    if max_error is not None:
        found = [c for c in found if c.output_error <= max_error]
    reason = "" if found else _reason(refusals, schemes, closest, None, max_error)
    return Proposal(tuple(sorted(found, key=lambda c: c.macs)), reason, spectra(searches))


def _drawn(search: Search, count: int) -> Iterator[Rank]:
    """A few ranks of the front, the first of each step of the cost."""
    dense = search.subject.macs
    steps = set()
    for rank in search.front():
        share = search.macs(rank) / dense
        if not _CHEAPEST <= share <= _DEAREST:
            continue
        at = round((count - 1) * math.log(share / _CHEAPEST) / math.log(_DEAREST / _CHEAPEST))
        if at not in steps:
            steps.add(at)
            yield rank


def _worthwhile(points: Sequence[tuple[float, float]], factor: float) -> list[int]:
    """Which of ``(cost, error)`` no cheaper point beats by ``factor`` in error."""
    kept, least = [], math.inf
    for i in sorted(range(len(points)), key=lambda i: points[i]):
        if points[i][1] <= least * factor:
            kept.append(i)
        least = min(least, points[i][1])
    return kept
