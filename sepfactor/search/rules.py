"""Decide each site on its own, by the rank or the error its user allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sepfactor.codes import Reason
from sepfactor.fit.evidence import Evidence
from sepfactor.fit.settings import FitMethod, fit_method
from sepfactor.options import DEFAULT_MAX_ERROR
from sepfactor.search.averaging import lossless_or_all, propose_averages
from sepfactor.search.candidates import propose
from sepfactor.search.layer_timing import LayerTimer, Place, is_faster, no_gain
from sepfactor.search.proposals import dense_layer, schemes_of
from sepfactor.search.settings import SearchSettings
from sepfactor.search.space import LayerChoices
from sepfactor.study.study import Study
from sepfactor.threads import one_blas_thread


def by_rule(
    study: Study, evidence: Sequence[Evidence], settings: SearchSettings, timer: LayerTimer
) -> list[LayerChoices]:
    """The candidate that each site takes, or why it takes none, in the order of the graph."""
    method, found = fit_method(study), []
    for number, seen in enumerate(evidence):
        site = seen.site
        study.progress("factor", number, len(evidence), site.name)
        with one_blas_thread():
            found.append(_decide(study, method, seen, settings, timer))
    study.progress("factor", len(evidence), len(evidence), "")
    return found


def _decide(
    study: Study, method: FitMethod, seen: Evidence, settings: SearchSettings, timer: LayerTimer
) -> LayerChoices:
    """Its only candidate is the one to take: one that measures faster than the layer, lossless ones first."""
    asked = study.options.for_layer(seen.site.name, seen.site.output)
    layer = dense_layer(study, method, seen, weighed=False)  # a rule speaks of the plain error
    if isinstance(layer, Reason):
        return LayerChoices(seen, reason=layer)
    usual = DEFAULT_MAX_ERROR if study.trusts_data else 0.0  # nothing says what a loss would come to
    max_error = usual if asked.max_error is None else asked.max_error
    proposal = propose(layer, schemes_of(asked), rank=asked.rank, max_error=max_error)
    averages = propose_averages(study, seen, layer, settings, 0.0 if asked.rank is not None else max_error)
    tried = lossless_or_all([*averages.candidates[-1:], *proposal.candidates])  # large blocks first
    tried = tried[: settings.rule_tries]
    kept = LayerChoices(seen, spectra=proposal.spectra)
    if not tried:
        return replace(kept, reason=proposal.reason or averages.reason)
    times = timer.times(layer.dense, [c.to_time for c in tried], Place.of(seen))
    timed = [(c, t) for c, t in zip(tried, times, strict=True) if t is not None]
    faster = [(c, t) for c, t in timed if is_faster(t)]
    if not faster:
        nearest, time = max(timed, key=lambda pair: pair[1].speedup)
        return replace(kept, reason=no_gain(nearest, time), nearest=time)
    lossless = [pair for pair in faster if pair[0].exact] or faster
    best = min(lossless, key=lambda pair: pair[1].ms) if asked.rank is None else lossless[0]
    return replace(kept, candidates=best[:1], times=best[1:])
