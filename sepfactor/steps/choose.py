"""Propose candidates for every site and choose by timing them where they will run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sepfactor.factor import Chain, Factorization, Stage, select_schemes
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
from sepfactor.steps.observe import Observed

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
) -> list[Decision]:
    """One decision per site, in the order of the graph."""
    stopwatch = Stopwatch(runtime, options.seed)
    decisions = []
    for number, site in enumerate(sites):
        progress("factor", number, len(sites), site.name)
        seen = observed.get(site.output)
        decisions.append(Decision(site, seen, _decide(site, seen, options, stopwatch)))
    progress("factor", len(sites), len(sites), "")
    return decisions


def _decide(site: Site, seen: Observed | None, options: Options, stopwatch: Stopwatch) -> Choice:
    wish = options.for_layer(site.name, site.output)
    if wish.keep:
        return Choice(reason="left alone as asked")
    if site.stage is None or site.skipped is not None:
        return Choice(reason=site.skipped or "")
    if seen is None or seen.statistics is None:
        return Choice(reason="it did not run on the data, so its map is unknown")
    subject = Subject(site.stage, site.bias, seen.size, seen.statistics, float(np.finfo(site.dtype).eps))
    max_error = DEFAULT_MAX_ERROR if wish.max_error is None else wish.max_error
    proposal = propose(subject, select_schemes(wish.scheme), rank=wish.rank, max_error=max_error)
    dense = Factorization((Chain((site.stage,)),), site.bias)
    return choose(proposal, lambda c: stopwatch.compare(dense, c.factorization, seen.size, site.dtype))


def replacements(decisions: Sequence[Decision]) -> list[Replacement]:
    """What the decisions put into the graph, with the metadata of the new nodes."""
    return [
        Replacement(d.site, c.factorization, _metadata(c.scheme, c.rank, c.weight_error, c.output_error))
        for d in decisions
        if (c := d.choice.candidate) is not None
    ]


def _metadata(
    scheme: str, rank: tuple[int, ...], weight_error: float, output_error: float
) -> Mapping[str, str]:
    return {
        "sepfactor.scheme": scheme,
        "sepfactor.rank": "×".join(map(str, rank)),
        "sepfactor.weight_error": f"{weight_error:.3e}",
        "sepfactor.output_error": f"{output_error:.3e}",
    }


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
