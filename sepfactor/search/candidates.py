"""What a convolution may become: scheme and rank, with cost and error."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sepfactor.codes import Reason
from sepfactor.factor import Rank, Scheme
from sepfactor.factor.scheme import Spectrum
from sepfactor.search.candidate import Candidate
from sepfactor.search.dense_layer import DenseLayer
from sepfactor.search.ranks import RankSearch
from sepfactor.search.settings import SearchSettings


@dataclass(frozen=True, eq=False)
class Proposal:
    """Candidates of one site, cheapest first, or why there is none.

    Attributes:
        candidates: none of them beaten by another in cost and error.
        reason: why there is none; None where there are some, or where the scheme asked for is no
            decomposition.
        spectra: scheme → error by rank, candidates or not.
    """

    candidates: tuple[Candidate, ...]
    reason: Reason | None = None
    spectra: Mapping[str, Spectrum] = field(default_factory=dict)


def propose(
    layer: DenseLayer,
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
    refusals: list[Reason] = []
    searches = []
    for scheme in schemes:
        if refusal := scheme.refuses(layer.stage):
            refusals.append(refusal)
            continue
        search = RankSearch(layer, scheme)
        searches.append(search)
        best, near = search.at_rank(rank) if rank is not None else search.within(max_error or 0.0)
        if best is not None:
            found.append(best)
        if near is not None and (closest is None or near.output_error < closest.output_error):
            closest = near
    reason = None if found else _reason(refusals, schemes, closest, rank, max_error)
    order = sorted(found, key=lambda c: (not c.exact, c.macs if rank is None else c.output_error))
    return Proposal(tuple(order), reason, spectra(searches))


def spectra(searches: Sequence[RankSearch]) -> dict[str, Spectrum]:
    """Scheme → error by rank; schemes without ranks left out."""
    found = {search.scheme.name: search.decomposition.spectrum() for search in searches}
    return {scheme: points for scheme, points in found.items() if points}


def _reason(
    refusals: Sequence[Reason],
    schemes: Sequence[Scheme],
    closest: Candidate | None,
    rank: int | None,
    max_error: float | None,
) -> Reason | None:
    if not schemes:  # average-first alone was asked for, which says itself why not
        return None
    if len(refusals) == len(schemes):
        return refusals[0] if len(schemes) == 1 else max(refusals, key=refusals.count)
    if rank is not None:
        return Reason(
            "no-cheaper-rank", "no scheme of the rank asked for costs fewer multiplications", f"rank {rank}"
        )
    if closest is None:
        return Reason("no-cheaper", "no scheme costs fewer multiplications at any rank")
    return Reason(
        "too-far-off",
        f"nothing cheaper stays within {max_error:.3g} of its output",
        f"closest: {closest.label}, off by {closest.output_error:.3g}",
    )


def spread(
    layer: DenseLayer,
    schemes: Sequence[Scheme],
    settings: SearchSettings,
    *,
    max_error: float | None = None,
    per_scheme: int,
) -> Proposal:
    """Candidates over the whole range of costs, of every scheme that may be best somewhere; cheapest first.

    Args:
        layer: the convolution.
        schemes: to try.
        settings: of the search.
        max_error: leave out what is less accurate.
        per_scheme: ranks to look at, at most.
    """
    searches, refusals = [], []
    for scheme in schemes:
        refusal = scheme.refuses(layer.stage)
        if refusal:
            refusals.append(refusal)
        else:
            searches.append(RankSearch(layer, scheme))
    lossless = [search.lossless for search in searches if search.lossless is not None]
    if lossless:
        return Proposal(tuple(sorted(lossless, key=lambda c: c.macs)), None, spectra(searches))
    drawn = [
        (search, rank) for search in searches for rank in _drawn(search, per_scheme, settings.cost_shares)
    ]
    errors = [(search.macs(rank), search.decomposition.error(rank)) for search, rank in drawn]
    drawn = [drawn[i] for i in _worthwhile(errors, settings.worse[0])]
    found = [search.candidate(rank) for search, rank in drawn]
    closest = min(found, key=lambda c: c.output_error, default=None)
    found = [found[i] for i in _worthwhile([(c.macs, c.weighted_error) for c in found], settings.worse[1])]
    if max_error is not None:
        found = [c for c in found if c.output_error <= max_error]
    reason = None if found else _reason(refusals, schemes, closest, None, max_error)
    return Proposal(tuple(sorted(found, key=lambda c: c.macs)), reason, spectra(searches))


def _drawn(search: RankSearch, count: int, shares: tuple[float, float]) -> Iterator[Rank]:
    """A few ranks of the front, the first of each step of the cost."""
    dense, (cheapest, dearest) = search.layer.macs, shares
    steps = set()
    for rank in search.front():
        share = search.macs(rank) / dense
        if not cheapest <= share <= dearest:
            continue
        at = round((count - 1) * math.log(share / cheapest) / math.log(dearest / cheapest))
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
