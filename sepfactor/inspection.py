"""``inspect``: where the time goes, and how separable each layer is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from typing_extensions import Unpack

import sepfactor.report  # noqa: F401  # so that notebooks show results
from sepfactor import __version__
from sepfactor.codes import Reason
from sepfactor.deliver.describe import describe_data, describe_memory
from sepfactor.errors import ModelError, NothingToReplace, within_means
from sepfactor.factor import Decomposition, Scheme, Stage, select_schemes
from sepfactor.factor.moments import Moments
from sepfactor.factor.stage import Ints
from sepfactor.factor.subspace import remembered
from sepfactor.fit.evidence import Evidence, observe
from sepfactor.graph.instrument import serialized
from sepfactor.graph.load import ModelSource, load
from sepfactor.graph.survey import Site
from sepfactor.measure.engines import open_and_time
from sepfactor.options import make_options
from sepfactor.progress import Progress, in_shares, silent
from sepfactor.results import Inspection, LayerInspection, Ratio, RewriteRow
from sepfactor.search.dense_layer import WIDE
from sepfactor.search.ranks import MacsByRank, energy_ranks, ranks
from sepfactor.signatures import InspectOptions
from sepfactor.study.profiling import layout_times, profile_layers
from sepfactor.study.rewriting import look_for_rewrites, rows_of
from sepfactor.study.study import Study, open_study
from sepfactor.threads import one_blas_thread

ENERGY_SHARES = (0.9, 0.99, 0.999)

_ENOUGH = 0.99
"""Share of the energy of its answers that a layer should keep: a tenth off is mostly made up for."""

_RIDGE = 1e-3
"""Ridge on what was seen of the activations, as while candidates are compared."""


_REWRITTEN_S, _LONG_MS = 2.0, 2000.0
"""Seconds for timing what exact rewriting gains, and milliseconds of a run from which on it is left out."""

_TOLD = 0.1
"""Share of the time from which on it is said that operators were not looked at."""

_NOT_RUN = Reason("not-run", "it did not run on the data")


@within_means()
def inspect(
    model: ModelSource,
    *,
    config: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
    **options: Unpack[InspectOptions],
) -> Inspection:
    """Every Conv with its cost, its share of the measured time, and the ranks its energy needs.

    Args:
        model: path, bytes, ModelProto or ir.Model.
        config: TOML file of options.
        progress: called as the work goes on.
        **options: schemes and layers to show, data and how it is run, see
            :class:`sepfactor.options.Options`.

    Raises:
        OptionError: an option is none that looking uses, or does not fit.
        SepfactorError: the model cannot be read or run on the data, or holds no Conv.
    """
    asked = make_options(options, config, {"refit": False}, function="inspect")
    schemes = select_schemes(asked.scheme)
    study = open_study(load(model), asked, progress, rewrites=())
    loaded, sites = study.loaded, study.sites
    if not sites:
        raise NothingToReplace(f"{loaded.name} has no Conv at all.")
    evidence = observe(study, weighed=False)
    watch = in_shares(progress, "profile", "layer by layer")
    times = profile_layers(loaded.model, study.splits.judged_on[0], study.engine, watch=watch)
    found = times.of_original(loaded.model, sites)
    layers = []
    for number, (seen, ms) in enumerate(zip(evidence, found, strict=True)):
        site = seen.site
        progress("decompose", number, len(sites), site.name)
        with one_blas_thread(), remembered():
            layers.append(_layer(seen, schemes, ms, times.whole or 1.0))
    progress("decompose", len(sites), len(sites), "")
    rows, rewritten = _for_nothing(study, times.whole or 0.0)
    return Inspection(
        sepfactor_version=__version__,
        model=loaded.name,
        environment=study.environment,
        data=describe_data(study.splits, asked),
        energy_shares=ENERGY_SHARES,
        layers=tuple(layers),
        operators=dict(sorted(times.operators.items(), key=lambda item: -item[1])),
        layouts=layout_times(loaded.model, times, study.engine),
        rewrites=rows,
        rewritten=rewritten,
        notes=(
            *study.network.notes,
            *study.splits.notes,
            *_notes(study),
            *_not_looked_at(times.operators, layers),
        ),
        memory=describe_memory(study),
    )


def _for_nothing(study: Study, whole_ms: float) -> tuple[tuple[RewriteRow, ...], Ratio | None]:
    """Exact rewritings that find something, and what all of them together are worth."""
    network = study.network
    if not network.may_be_rewritten:
        return (), None
    found = look_for_rewrites(study.prepared)
    rows = rows_of(found, prepares=network.is_tidied)
    if not rows or whole_ms > _LONG_MS:
        return rows, None
    networks = [("the original", study.loaded.runnable), ("the same rewritten", serialized(found.model))]
    watch = in_shares(study.progress, "time", "what exact rewriting gains")
    try:
        rounds = open_and_time(
            study.engine,
            networks,
            study.splits.judged_on,
            seconds=_REWRITTEN_S,
            min_rounds=3,
            openings=1,
            precision=0.02,
            seed=study.options.seed,
            watch=watch,
        )
    except ModelError:  # tidy finds out which of them it is
        return rows, None
    return rows, rounds.ratio(1, seed=study.options.seed)


def _notes(study: Study) -> tuple[str, ...]:
    given, plain = (len(model.graph.inputs) for model in (study.loaded.model, study.prepared))
    if given == plain or study.engine.name != "onnxruntime":
        return ()
    return (
        "The file lists its weights as inputs, which keeps onnxruntime from optimising it: compress mends "
        "that as well, and says what that alone is worth.",
    )


def _not_looked_at(operators: Mapping[str, float], layers: Sequence[LayerInspection]) -> Iterator[str]:
    """What takes time and is no layer here, with the flag that changes that."""
    whole = sum(operators.values()) or 1.0
    matrices = matrices_left_out(operators, layers)
    if matrices >= _TOLD:
        yield (
            f"Gemm and MatMul take {100 * matrices:.0f} % of the time and were not looked at: "
            "--linear-layers looks at those with constant weights, and lets compress factor them."
        )
    quantised = sum(ms for name, ms in operators.items() if name.startswith(_QUANTISED))
    if quantised >= _TOLD * whole:
        yield (
            f"Operators in 8 bits take {100 * quantised / whole:.0f} % of the time and are left as they are: "
            "compress the float network with --int8, or quantise what comes of it. Of a network in QDQ form "
            "--dequantize makes a float one."
        )


def matrices_left_out(operators: Mapping[str, float], layers: Sequence[LayerInspection]) -> float:
    """Share of the time that Gemm and MatMul take where they were not looked at; else 0."""
    if any(len(layer.weight_shape) == 2 for layer in layers):
        return 0.0
    return sum(ms for name, ms in operators.items() if name in _MATRICES) / (sum(operators.values()) or 1.0)


_MATRICES = frozenset({"Gemm", "FusedGemm", "MatMul", "FusedMatMul", "TransposeMatMul"})
_QUANTISED = ("QLinear", "QGemm", "QAttention", "MatMulInteger", "ConvInteger", "DynamicQuantize", "NhwcQ")


def _layer(
    seen: Evidence, schemes: Sequence[Scheme], milliseconds: float | None, whole: float
) -> LayerInspection:
    site, stage = seen.site, seen.site.stage
    row: dict[str, Any] = {
        "name": site.name,
        "output": site.output,
        "weight_shape": site.weight_shape,
        "reason": site.skipped or (None if seen.ran else _NOT_RUN),
        "milliseconds": milliseconds,
        "share": None if milliseconds is None else milliseconds / whole,
    }
    if stage is not None:
        row |= {"group": stage.group, "strides": site.kind.own(stage.strides)}
        row["parameters"] = seen.parameters
        row |= _ranks(site, schemes)
    if stage is not None and seen.ran:
        row |= {"map_size": site.kind.own(seen.size), "macs": seen.macs}
        if seen.patches:
            row |= _seen(stage, seen.size, seen.statistics().moments(stage, site.bias), schemes)
    return LayerInspection.model_validate(row)


def _seen(stage: Stage, size: Ints, moments: Moments, schemes: Sequence[Scheme]) -> Mapping[str, Any]:
    """How correlated the input is, and the ranks that matter for what it makes the layer answer."""
    ridged = moments.ridged(stage.weight, _RIDGE)
    if stage.weight[0].size >= WIDE:
        ridged = ridged.single()
    looked_at = _in_single(stage)
    found = {s.name: s.decompose(looked_at, ridged) for s in schemes if s.refuses(stage) is None}
    return {
        "neighbour_correlation": moments.neighbour_correlation(),
        "channel_correlation": moments.channel_correlation(),
        "seen_ranks": {name: energy_ranks(one, ENERGY_SHARES) for name, one in found.items()},
        **_least(stage, size, found),
    }


def _in_single(stage: Stage) -> Stage:
    """A wide layer in single precision: shares of energy as coarse as those shown come out the same."""
    if stage.weight[0].size < WIDE:
        return stage
    weight: Any = stage.weight.astype(np.float32)
    return replace(stage, weight=weight)


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
        decomposition = scheme.decompose(_in_single(stage))
        needed[scheme.name] = energy_ranks(decomposition, ENERGY_SHARES)
        full[scheme.name] = decomposition.full_rank
    return {"ranks": needed, "full_ranks": full, "refusals": refusals}


__all__ = ["ENERGY_SHARES", "inspect"]
