"""``inspect``: where the time goes, and how separable each layer is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from sepfactor import __version__
from sepfactor.deliver.describe import describe_data
from sepfactor.errors import NothingToReplace, within_means
from sepfactor.factor import Decomposition, Scheme, Stage, select_schemes
from sepfactor.factor.moments import Moments
from sepfactor.factor.stage import Ints
from sepfactor.fit.evidence import Observed, observe
from sepfactor.graph.load import ModelSource, load
from sepfactor.graph.survey import Site
from sepfactor.measure.session import Runtime, environment
from sepfactor.options import make_options
from sepfactor.progress import Progress, in_shares, silent
from sepfactor.report.model import Inspection, LayerInspection
from sepfactor.search.ranks import MacsByRank, energy_ranks, ranks
from sepfactor.study.network import open_network
from sepfactor.study.profiling import profile_layers, times_before
from sepfactor.study.splits import gather
from sepfactor.threads import blas_threads

ENERGY_SHARES = (0.9, 0.99, 0.999)

_ENOUGH = 0.99
"""Share of the energy of its answers that a layer should keep: a tenth off is mostly made up for."""

_RIDGE = 1e-3
"""Ridge on what was seen of the activations, as while candidates are compared."""


@within_means()
def inspect(model: ModelSource, *, progress: Progress = silent, **options: Any) -> Inspection:
    """Every Conv with its cost, its share of the measured time, and the ranks its energy needs.

    Args:
        model: path, bytes, ModelProto or ir.Model.
        progress: called as the work goes on.
        **options: ``scheme``, ``data``, ``input_shape``, ``threads``, ``provider``, ``seed``, …

    Raises:
        SepfactorError: the model cannot be read or run on the data, or holds no Conv.
    """
    asked = make_options({**options, "refit": False})
    runtime = Runtime(asked.threads, asked.provider)
    network = open_network(
        load(model), runtime, dequantize=asked.dequantize, linear_layers=asked.linear_layers
    )
    loaded, prepared, sites = network.loaded, network.prepared, network.sites
    if not sites:
        raise NothingToReplace(f"{loaded.name} has no Conv at all.")
    schemes = select_schemes(asked.scheme)
    data = gather(loaded, asked, runtime)
    feeds = data.judged_on
    observed = observe(prepared, sites, feeds, runtime, asked.seed, progress)
    watch = in_shares(progress, "profile", "layer by layer")
    times = profile_layers(loaded.model, feeds[0], runtime, watch=watch)
    found = times_before(loaded.model, times, [site.output for site in sites])
    whole = sum(times.operators.values()) or 1.0
    layers = []
    for number, site in enumerate(sites):
        progress("decompose", number, len(sites), site.name)
        with blas_threads(0 if site.stage is None else site.stage.weight[0].size):
            layers.append(_layer(site, observed.get(site.output), schemes, found.get(site.output), whole))
    progress("decompose", len(sites), len(sites), "")
    return Inspection(
        sepfactor_version=__version__,
        model=loaded.name,
        environment=environment(runtime).as_dict(),
        data=describe_data(data, asked),
        energy_shares=ENERGY_SHARES,
        layers=tuple(layers),
        operators=dict(sorted(times.operators.items(), key=lambda item: -item[1])),
        notes=(*(network.original.notes if network.original else ()), *_notes(loaded.model, prepared)),
    )


def _notes(original: ir.Model, prepared: ir.Model) -> tuple[str, ...]:
    if len(original.graph.inputs) == len(prepared.graph.inputs):
        return ()
    return (
        "The file lists its weights as inputs, which keeps onnxruntime from optimising it: compress mends "
        "that as well, and says what that alone is worth.",
    )


def _layer(
    site: Site,
    seen: Observed | None,
    schemes: Sequence[Scheme],
    milliseconds: float | None,
    whole: float,
) -> LayerInspection:
    stage = site.stage
    row: dict[str, Any] = {
        "name": site.name,
        "output": site.output,
        "weight_shape": site.weight_shape,
        "reason": site.skipped or ("" if seen is not None else "it did not run on the data"),
        "milliseconds": milliseconds,
        "share": None if milliseconds is None else milliseconds / whole,
    }
    if stage is not None:
        bias = 0 if site.bias is None else site.bias.size
        row |= {"group": stage.group, "strides": site.kind.own(stage.strides)}
        row["parameters"] = stage.parameters + bias
        row |= _ranks(site, schemes)
    if stage is not None and seen is not None:
        row |= {"map_size": site.kind.own(seen.size), "macs": stage.macs(seen.size)}
        if seen.statistics is not None:
            row |= _seen(stage, seen.size, seen.statistics.moments(stage, site.bias), schemes)
    return LayerInspection.model_validate(row)


def _seen(stage: Stage, size: Ints, moments: Moments, schemes: Sequence[Scheme]) -> Mapping[str, Any]:
    """How correlated the input is, and the ranks that matter for what it makes the layer answer."""
    pulled = moments.ridged(stage.weight, _RIDGE)
    found = {s.name: s.decompose(stage, pulled) for s in schemes if s.refuses(stage) is None}
    return {
        "neighbour_correlation": moments.neighbour_correlation(),
        "channel_correlation": moments.channel_correlation(),
        "seen_ranks": {name: energy_ranks(one, ENERGY_SHARES) for name, one in found.items()},
        **_least(stage, size, found),
    }


def _least(stage: Stage, size: Ints, found: Mapping[str, Decomposition]) -> Mapping[str, Any]:
    """The scheme and rank of fewest multiplications that keep enough, if they are fewer than the layer's."""
    best: Mapping[str, Any] = {}
    fewest = stage.macs(size)
    for name, decomposition in found.items():
        macs = MacsByRank(decomposition, size)
        for rank in ranks(decomposition, stage):
            if decomposition.squared_error[rank] <= 1 - _ENOUGH and macs(rank) < fewest:
                fewest = macs(rank)
                best = {"least_scheme": name, "least_rank": rank, "least_macs": fewest}
    return best


def _ranks(site: Site, schemes: Sequence[Scheme]) -> Mapping[str, Any]:
    stage = site.stage
    assert stage is not None
    needed, full, refusals = {}, {}, {}
    for scheme in schemes:
        refusal = scheme.refuses(stage)
        if refusal is not None:
            refusals[scheme.name] = refusal
            continue
        decomposition = scheme.decompose(stage)
        needed[scheme.name] = energy_ranks(decomposition, ENERGY_SHARES)
        full[scheme.name] = decomposition.full_rank
    return {"ranks": needed, "full_ranks": full, "refusals": refusals}


__all__ = ["ENERGY_SHARES", "inspect"]
