"""Gather the search space: time the network, its layers and their candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sepfactor.codes import Reason
from sepfactor.factor.stage import Array
from sepfactor.fit.evidence import Evidence
from sepfactor.graph.instrument import read_by, serialized
from sepfactor.graph.int8 import int8_units
from sepfactor.measure.engine import NodeTime
from sepfactor.measure.engines import open_and_time
from sepfactor.plans.document import KEEP
from sepfactor.progress import in_shares
from sepfactor.search.beside import Beside, gather_beside
from sepfactor.search.candidate import Candidate, Factorized
from sepfactor.search.dense_layer import PlainLayer
from sepfactor.search.layer_timing import LayerTime, LayerTimer, Place, is_faster, no_gain
from sepfactor.search.proposals import Proposed, propose_all
from sepfactor.search.settings import SearchSettings
from sepfactor.search.space import LayerChoices, SearchSpace
from sepfactor.search.stored import StoredFactorization
from sepfactor.study.profiling import profile_layers
from sepfactor.study.study import Study

_NOT_IN_PROFILE = Reason("no-times", "the profile of the other machine does not hold its times")


def gather_space(
    study: Study,
    evidence: Sequence[Evidence],
    settings: SearchSettings,
    timer: LayerTimer,
    *,
    by_size: bool = False,
) -> SearchSpace:
    """Propose candidates for every site, time them, and keep those that are faster than their layer.

    Args:
        study: the run.
        evidence: of its sites.
        settings: of the search.
        timer: times candidates.
        by_size: whether size is to be saved and not time: then slower candidates are kept as well.
    """
    network = network_times(study, settings)
    proposals = propose_all(study, evidence, settings, fine=by_size)
    followed = read_by(study.prepared, [site.output for site in study.sites])
    in_int8 = _with_int8_form(study)
    layers = []
    for number, (seen, proposed, ms) in enumerate(zip(evidence, proposals, network.layers, strict=True)):
        study.progress("time", number, len(evidence), seen.site.name)
        may_be_int8 = seen.site.output in in_int8
        found = _choices(seen, proposed, timer, ms or 0.0, by_size=by_size, may_be_int8=may_be_int8)
        itemsize = study.network.written_dtype(seen.site).itemsize
        layers.append(replace(found, is_followed=seen.site.output in followed, bytes_each=itemsize))
    study.progress("time", len(evidence), len(evidence), "")
    fixed = network.prepared_ms - sum(layer.ms for layer in layers)
    beside = Beside()
    if any(layer.dense_int8 for layer in layers):
        beside = gather_beside(study, network.nodes)
        dense = {} if beside.times is None else beside.times.layers
        layers = [layer.seen_in_eight_bits(dense.get(layer.evidence.site.output)) for layer in layers]
    whole = (network.original_ms, network.prepared_ms, (max(fixed, 0.0),))
    return SearchSpace(tuple(layers), *whole, beside)


@dataclass(frozen=True, eq=False)
class NetworkTimes:
    """Milliseconds of one run.

    Attributes:
        layers: of each site of the prepared network; None where it is not known.
        original_ms: of the network as loaded.
        prepared_ms: of the same made plain.
        nodes: of that, each with its time.
        is_disturbed: whether other programs took cores away while it was timed.
    """

    layers: tuple[float | None, ...]
    original_ms: float
    prepared_ms: float
    nodes: tuple[NodeTime, ...] = ()
    is_disturbed: bool = False


def network_times(study: Study, settings: SearchSettings) -> NetworkTimes:
    """Of the machine that is planned for: measured, or read from its profile."""
    machine = study.machine
    if machine is not None:
        layers = tuple(machine.layers.get(site.output) for site in study.sites)
        return NetworkTimes(layers, machine.original_ms, machine.prepared_ms)
    return study.journal.remember(
        "the whole network",
        NetworkTimes,
        lambda: _measured_times(study, settings),
        unless=lambda found: found.is_disturbed,
    )


def _measured_times(study: Study, settings: SearchSettings) -> NetworkTimes:
    feeds = study.splits.judged_on
    rounds = open_and_time(
        study.engine,
        [("the original", study.loaded.runnable), ("the same made plain", serialized(study.prepared))],
        feeds,
        seconds=timed_seconds(study, settings),
        min_rounds=settings.fewest_rounds,
        seed=study.options.seed,
        watch=in_shares(study.progress, "time", "the whole network"),
    )
    original_ms, prepared_ms = rounds.median_ms(0), rounds.median_ms(1)
    watch = in_shares(study.progress, "profile", "the network, layer by layer")
    runs = profile_runs(prepared_ms, settings.profiled_runs, settings)
    times = profile_layers(study.prepared, feeds[0], study.engine, runs, watch, whole_ms=prepared_ms)
    layers = times.of_sites(study.sites)
    return NetworkTimes(layers, original_ms, prepared_ms, tuple(times.nodes), rounds.is_disturbed)


def timed_seconds(study: Study, settings: SearchSettings) -> float:
    """For timing whole networks while plans are made: less than the final measurement takes."""
    return min(settings.timed_seconds, study.options.bench_seconds / 3)


def profile_runs(ms: float, most: int, settings: SearchSettings) -> int:
    """Runs to profile a network of ``ms`` milliseconds: ``most``, or as many as there is time for."""
    return max(2, min(most, int(1e3 * settings.timed_seconds / max(ms, 1e-3))))


def _with_int8_form(study: Study) -> set[str]:
    """Outputs of the layers that may be in eight bits, if that was asked for."""
    if not study.options.int8 or study.network.is_stand_in:  # of which only the factors are written
        return set()
    return {str(unit.node.outputs[0].name) for unit in int8_units(study.prepared).values()}


def _in_eight_bits(layer: PlainLayer, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates in eight bits: the layer itself, and what it may become in float."""
    dense = Factorized(
        scheme=KEEP,
        form="",
        rank=(),
        macs=layer.macs,
        weight_error=0.0,
        output_error=0.0,
        weighted_error=0.0,
        exact=False,
        precision="int8",
        stored=StoredFactorization(layer.dense),
    )
    return [dense, *(replace(one, precision="int8", exact=False) for one in candidates)]


def _choices(
    seen: Evidence,
    proposed: Proposed | Reason,
    timer: LayerTimer,
    ms: float,
    *,
    by_size: bool,
    may_be_int8: bool,
) -> LayerChoices:
    if isinstance(proposed, Reason):
        return LayerChoices(seen, reason=proposed)
    candidates, spectra = list(proposed.proposal.candidates), proposed.proposal.spectra
    dense, place = proposed.layer.dense, Place.of(seen)
    found = timer.times(dense, [c.to_time for c in candidates], place)
    if may_be_int8:
        others = _in_eight_bits(proposed.layer, candidates)
        candidates += others
        found += timer.times(dense, [c.to_time for c in others], place, "int8")
    if not candidates:
        return LayerChoices(seen, reason=proposed.proposal.reason, spectra=spectra)
    timed = [(c, t) for c, t in zip(candidates, found, strict=True) if t is not None]
    if not timed:
        return LayerChoices(seen, reason=_NOT_IN_PROFILE, spectra=spectra)
    # In eight bits what counts is what a layer takes among others in eight bits, and what borders then cost.
    good = [(c, t) for c, t in timed if is_faster(t) or by_size or c.is_int8]
    if not good:
        candidate, nearest = max(timed, key=lambda pair: pair[1].speedup)
        return LayerChoices(seen, reason=no_gain(candidate, nearest), nearest=nearest, spectra=spectra)
    good = _front([p for p in good if not p[0].is_int8]) + _front([p for p in good if p[0].is_int8])
    good.sort(key=lambda pair: pair[1].ms)
    if not ms and not seen.site.nested:  # the profile lost sight of it; in a body it may not have run
        ms = good[0][1].dense_ms
    return LayerChoices(
        seen, tuple(c for c, _ in good), tuple(t for _, t in good), spectra=spectra, seen={0: (ms,)}
    )


def _front(pairs: Sequence[tuple[Candidate, LayerTime]]) -> list[tuple[Candidate, LayerTime]]:
    """Those that nothing beats in time, error, multiply-accumulates and parameters at once; fastest first."""
    table: Array = np.array([(t.ms, c.weighted_error, c.macs, c.parameters(None)) for c, t in pairs], float)
    kept = []
    for i, row in enumerate(table):
        beaten = (table <= row).all(axis=1) & (table < row).any(axis=1)
        if not beaten.any():
            kept.append(pairs[i])
    return sorted(kept, key=lambda pair: pair[1].ms)
