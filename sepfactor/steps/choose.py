"""Propose candidates for every site and choose by timing them where they will run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sepfactor.factor import Chain, Factorization, Stage, select_schemes, weight_error
from sepfactor.factor.stage import Ints
from sepfactor.graph.lower import bench_model
from sepfactor.graph.rebuild import Replacement
from sepfactor.graph.survey import Site
from sepfactor.measure.session import Runtime, open_session
from sepfactor.measure.timing import Ratio, interleave, ratio
from sepfactor.options import DEFAULT_MAX_ERROR, Options
from sepfactor.plan.candidates import Subject, propose
from sepfactor.plan.choose import Choice, choose
from sepfactor.progress import Progress
from sepfactor.steps.fit import Fitted, Wish
from sepfactor.steps.observe import Observed
from sepfactor.threads import blas_threads

_TRIAL_SECONDS = 0.5
"""At most so long is a candidate timed against its layer."""


@dataclass(frozen=True, eq=False)
class Decision:
    """A site, what was seen of it, and what is done with it."""

    site: Site
    observed: Observed | None
    choice: Choice


def decide(
    sites: Sequence[Site],
    observed: Mapping[str, Observed],
    options: Options,
    runtime: Runtime,
    progress: Progress,
    pull: float | None,
) -> list[Decision]:
    """One decision per site, in the order of the graph.

    Args:
        sites: of the prepared network.
        observed: what was seen of them.
        options: what is wished for.
        runtime: threads and provider.
        progress: called per site.
        pull: ridge towards the weights for fitting to the patches; None to factor the bare weights.
    """
    stopwatch = Stopwatch(runtime, options.seed)
    decisions = []
    for number, site in enumerate(sites):
        progress("factor", number, len(sites), site.name)
        seen = observed.get(site.output)
        with blas_threads(0 if site.stage is None else site.stage.weight[0].size):
            choice = _decide(site, seen, options, stopwatch, pull)
        decisions.append(Decision(site, seen, choice))
    progress("factor", len(sites), len(sites), "")
    return decisions


def _decide(
    site: Site, seen: Observed | None, options: Options, stopwatch: Stopwatch, pull: float | None
) -> Choice:
    wish = options.for_layer(site.name, site.output)
    if wish.keep:
        return Choice(reason="left alone as asked")
    if site.stage is None or site.skipped is not None:
        return Choice(reason=site.skipped or "")
    if seen is None or seen.statistics is None:
        return Choice(reason="it did not run on the data, so its map is unknown")
    subject = Subject(
        site.stage, site.bias, seen.size, seen.statistics, float(np.finfo(site.dtype).eps), pull
    )
    max_error = DEFAULT_MAX_ERROR if wish.max_error is None else wish.max_error
    proposal = propose(subject, select_schemes(wish.scheme), rank=wish.rank, max_error=max_error)
    dense = Factorization((Chain((site.stage,)),), site.bias)
    return choose(proposal, lambda c: stopwatch.compare(dense, c.factorization, seen.size, site.dtype))


def wishes(decisions: Sequence[Decision], options: Options) -> list[Wish]:
    """What is to be fitted: replaced layers, and layers that stay dense but may be corrected."""
    found = []
    for decision in decisions:
        site, candidate = decision.site, decision.choice.candidate
        if candidate is not None and candidate.exact:
            found.append(Wish(site, fixed=candidate.factorization))
        elif candidate is not None:
            found.append(Wish(site, (candidate.scheme,), candidate.rank))
        elif site.stage is not None and not options.for_layer(site.name, site.output).keep:
            found.append(Wish(site))
    return found


def replacements(decisions: Sequence[Decision], fitted: Mapping[str, Fitted]) -> list[Replacement]:
    """What goes into the graph, with the metadata of the new nodes: factors as fitted, and corrections."""
    found = []
    for decision in decisions:
        site, candidate = decision.site, decision.choice.candidate
        fit = fitted.get(site.output)
        if candidate is not None:
            built = candidate.factorization if fit is None else fit.factorization
            rank = "×".join(map(str, candidate.rank))
            found.append(Replacement(site, built, _metadata(site, built, candidate.scheme, rank, fit)))
        elif fit is not None:
            metadata = _metadata(site, fit.factorization, "corrected", "", fit)
            found.append(Replacement(site, fit.factorization, metadata))
    return found


def _metadata(site: Site, built: Factorization, scheme: str, rank: str, fit: Fitted | None) -> dict[str, str]:
    assert site.stage is not None  # it was replaced
    metadata = {
        "sepfactor.scheme": scheme,
        "sepfactor.rank": rank,
        "sepfactor.weight_error": f"{weight_error(site.stage, built):.3e}",
    }
    if fit is not None:
        metadata["sepfactor.output_error"] = f"{fit.after:.3e}"
    return metadata


class Stopwatch:
    """Times a factorization against the dense layer; what was timed once is remembered by its shapes."""

    def __init__(self, runtime: Runtime, seed: int) -> None:
        self._runtime, self._seed = runtime, seed
        self._known: dict[object, Ratio] = {}

    def compare(
        self, dense: Factorization, other: Factorization, size: Ints, dtype: np.dtype[np.floating]
    ) -> Ratio:
        """Interleaved A/B of the two on a map of ``size``, each between blocked neighbours."""
        key = (_shape_key(dense), _shape_key(other), size, dtype.str)
        if key not in self._known:
            self._known[key] = self._time((dense, other), size, dtype)
        return self._known[key]

    def _time(self, pair: Sequence[Factorization], size: Ints, dtype: np.dtype[np.floating]) -> Ratio:
        rng = np.random.default_rng(self._seed)
        calls = []
        for factorization in pair:
            session = open_session(bench_model(factorization, size, dtype), self._runtime)
            x = rng.standard_normal(session.get_inputs()[0].shape).astype(dtype)
            calls.append(lambda s=session, x=x: s.run(None, {"x": x}))
        samples = interleave(calls, budget_s=_TRIAL_SECONDS, min_rounds=7, precision=0.02, seed=self._seed)
        return ratio(samples[0], samples[1], seed=self._seed)


def _shape_key(factorization: Factorization) -> object:
    def stage_key(stage: Stage) -> object:
        return (stage.weight.shape, stage.strides, stage.pads, stage.dilations, stage.group)

    chains = tuple(tuple(map(stage_key, chain.stages)) for chain in factorization.chains)
    return chains, factorization.bias is not None
