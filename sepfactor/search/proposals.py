"""What each layer may become, before anything is timed: found for several layers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sepfactor.codes import Reason
from sepfactor.factor import Scheme, select_schemes
from sepfactor.factor.subspace import remembered
from sepfactor.fit.eligibility import obstacle
from sepfactor.fit.evidence import Evidence
from sepfactor.fit.lossless import epsilon
from sepfactor.fit.settings import FitMethod, fit_method, working_bytes
from sepfactor.options import LayerOptions
from sepfactor.search.averaging import lossless_or_all, propose_averages
from sepfactor.search.candidates import Proposal, propose, spread
from sepfactor.search.dense_layer import DenseLayer, PlainLayer
from sepfactor.search.settings import SearchSettings
from sepfactor.study.study import Study
from sepfactor.threads import one_blas_thread


@dataclass(frozen=True, eq=False)
class Proposed:
    """Candidates of a layer, and the layer itself as numbers, without what it sees."""

    layer: PlainLayer
    proposal: Proposal


def propose_all(
    study: Study, evidence: Sequence[Evidence], settings: SearchSettings, *, fine: bool
) -> list[Proposed | Reason]:
    """Candidates of every site over the whole range of costs, or why it has none, in the order of the graph.

    Args:
        study: the run.
        evidence: of its sites.
        settings: of the search.
        fine: whether widths may lie on a finer grid than that which is fast, since time does not count.
    """
    method = fit_method(study)
    least, most = settings.ranks_per_scheme
    count = max(least, min(most, settings.ranks_in_all // len(evidence)))

    def look(seen: Evidence) -> Proposed | Reason:
        layer = dense_layer(study, method, seen)
        if isinstance(layer, Reason):
            return layer
        if fine:
            layer = replace(layer, block=settings.fine_grid)
        asked = study.options.for_layer(seen.site.name, seen.site.output)
        schemes = schemes_of(asked)
        if asked.rank is not None:
            return Proposed(layer.plain, propose(layer, schemes, rank=asked.rank, max_error=None))
        return Proposed(
            layer.plain, spread(layer, schemes, settings, max_error=asked.max_error, per_scheme=count)
        )

    def look_within(number: int) -> Proposed | Reason:
        stage = evidence[number].site.stage
        with remembered(), study.pool.at_work(0 if stage is None else working_bytes(stage)):
            return look(evidence[number])

    found: dict[int, Proposed | Reason] = {}
    with one_blas_thread():
        numbers = range(len(evidence))
        for i, proposed in study.executor.map_unordered(look_within, numbers):
            study.progress("propose", len(found), len(evidence), evidence[i].site.name)
            found[i] = _with_averages(study, evidence[i], proposed, settings)
    study.progress("propose", len(evidence), len(evidence), "")
    return [found[i] for i in range(len(evidence))]


def dense_layer(
    study: Study, method: FitMethod, seen: Evidence, *, weighed: bool = True
) -> DenseLayer | Reason:
    """A site as numbers, or why it is kept without looking for candidates.

    Args:
        study: the run.
        method: how factors are made.
        seen: of the site.
        weighed: whether errors count as the layers have it that read the answer. So they do only
            where fitting follows: factors made here are then never written, and a plan need not say.
    """
    reason = obstacle(seen, study.options, method)
    if reason is not None:
        return reason
    site = seen.site
    assert site.stage is not None
    weighed = weighed and method.is_fitted
    return DenseLayer(
        site.stage,
        site.bias,
        seen.size,
        seen.statistics(),
        epsilon(study.network.written_dtype(site)),
        method.ridge,
        metric=seen.metric if weighed else None,
        block=study.engine.block,
        rectified=weighed and seen.rectified,
        offset=seen.offset if weighed else None,
        pool=study.pool,
    )


def schemes_of(asked: LayerOptions) -> tuple[Scheme, ...]:
    """The schemes a layer may take."""
    return select_schemes(asked.scheme)


def _with_averages(
    study: Study, seen: Evidence, proposed: Proposed | Reason, settings: SearchSettings
) -> Proposed | Reason:
    """The same with averages that come first; those run the network, so not side by side."""
    if isinstance(proposed, Reason):
        return proposed
    asked = study.options.for_layer(seen.site.name, seen.site.output)
    most = 0.0 if asked.rank is not None else asked.max_error
    averages = propose_averages(study, seen, proposed.layer, settings, most)
    own = proposed.proposal
    candidates = lossless_or_all([*own.candidates, *averages.candidates])
    reason = None if candidates else own.reason or averages.reason
    return replace(proposed, proposal=Proposal(tuple(candidates), reason, own.spectra))
