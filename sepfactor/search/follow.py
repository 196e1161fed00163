"""From decisions to a plan file, and from a plan file to decisions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sepfactor import __version__
from sepfactor.errors import PlanError
from sepfactor.factor import SCHEME_NAMES, select_schemes
from sepfactor.factor.average_first import NAME as AVERAGE_FIRST
from sepfactor.fit.averaging import average_candidate
from sepfactor.graph.survey import Site
from sepfactor.measure.session import environment
from sepfactor.options import Options
from sepfactor.plans.document import KEEP, Plan, PlannedLayer, read_plan
from sepfactor.search.candidates import spectra
from sepfactor.search.choice import Choice
from sepfactor.search.ranks import Search
from sepfactor.search.rules import subject_of
from sepfactor.search.subject import Candidate, Subject, rank_text
from sepfactor.search.to_budget import Outcome
from sepfactor.study.study import Decision, Job
from sepfactor.threads import blas_threads

_BUILDING = (
    *("data", "input-shape", "limit", "seed", "held-out", "refit", "memory", "ignore"),
    *("color", "scale", "mean", "std", "layout", "resize", "linear-layers", "dequantize"),
)
"""Options that what is built depends on beside the plan."""


def open_plan(source: Plan | str | os.PathLike[str]) -> Plan:
    """A plan, or the one in a file.

    Raises:
        PlanError: it cannot be read, or is no plan.
    """
    return source if isinstance(source, Plan) else read_plan(Path(source))


def building_options(plan: Plan) -> dict[str, Any]:
    """What the plan says of how to build it."""
    return {name: value for name, value in plan.options.items() if name in _BUILDING}


def expected_of(outcome: Outcome | None) -> tuple[dict[str, Any], dict[str, tuple[float, float]]]:
    """What was predicted of the whole, and milliseconds of each layer by its output, where it was chosen."""
    if outcome is None or outcome.point is None:
        return {}, {}
    point, menu = outcome.point, outcome.menu
    layers = {
        row.site.output: (row.ms, row.milliseconds(k))
        for row, k in zip(menu.rows, point.options, strict=True)
        if k
    }
    whole = {
        "verdict": outcome.verdict,
        "speedup": menu.original_ms / point.predicted_ms,
        "original_ms": menu.original_ms,
        "quality": point.quality.as_dict(),
    }
    return whole, layers


def plan_of(
    job: Job,
    decisions: Sequence[Decision],
    expected: Mapping[str, Any],
    milliseconds: Mapping[str, tuple[float, float]],
) -> Plan:
    """The plan that leads to these decisions.

    Args:
        job: the run.
        decisions: one per layer.
        expected: what was predicted or measured of the whole.
        milliseconds: output name of a site → expected before and after.
    """
    return Plan(
        sepfactor_version=__version__,
        model=job.loaded.name,
        fingerprint=fingerprint(job.sites),
        options=_building(job.options),
        layers=tuple(_layer(d, milliseconds.get(d.site.output)) for d in decisions),
        environment=environment(job.runtime).as_dict(),
        expected=dict(expected),
    )


def _layer(decision: Decision, milliseconds: tuple[float, float] | None) -> PlannedLayer:
    site, candidate = decision.site, decision.choice.candidate
    kept = PlannedLayer(
        name=site.name, output=site.output, weight_shape=site.weight_shape, reason=decision.choice.reason
    )
    if candidate is None:
        return kept
    return PlannedLayer(
        name=site.name,
        output=site.output,
        weight_shape=site.weight_shape,
        scheme=candidate.scheme,
        rank=candidate.rank,
        error=candidate.output_error,
        milliseconds=milliseconds,
    )


def _building(options: Options) -> dict[str, Any]:
    values = options.model_dump(by_alias=True, mode="python")
    found = {name: values[name] for name in _BUILDING}
    data = found["data"]
    if isinstance(data, Path):
        found["data"] = str(data)
    elif data is not None and not isinstance(data, str):
        found["data"] = None  # an object of the program that made the plan
    return found


def fingerprint(sites: Sequence[Site]) -> str:
    """SHA-256 over the convolution weights, in the order of the graph."""
    digest = hashlib.sha256()
    for site in sites:
        digest.update(repr((site.output, site.weight_shape)).encode())
        if site.stage is not None:
            digest.update(np.ascontiguousarray(site.stage.weight, "<f8").tobytes())
    return digest.hexdigest()


def follow(job: Job, plan: Plan) -> list[Decision]:
    """The decisions a plan asks for.

    Raises:
        PlanError: it names a layer, a scheme or a rank that this network does not have.
    """
    planned = {layer.output: layer for layer in plan.layers}
    by_output = {site.output: site for site in job.sites}
    for layer in plan.layers:
        site = by_output.get(layer.output)
        if site is None:
            raise PlanError(
                f"The plan speaks of a layer {layer.name!r} writing {layer.output!r}, which "
                f"{job.loaded.name} does not have. It was made for another network; make one for this."
            )
        if layer.scheme != KEEP and site.weight_shape != layer.weight_shape:
            raise PlanError(
                f"In the plan {layer.name!r} has weights of shape {layer.weight_shape}; here they are "
                f"{site.weight_shape}. Make a plan for this network."
            )
    decisions = []
    for number, site in enumerate(job.sites):
        job.progress("factor", number, len(job.sites), site.name)
        own = planned.get(site.output)
        with blas_threads(0 if site.stage is None else site.stage.weight[0].size):
            choice = Choice(reason="not in the plan") if own is None else _choice(job, site, own)
        decisions.append(Decision(site, job.observed.get(site.output), choice))
    job.progress("factor", len(job.sites), len(job.sites), "")
    return decisions


def _choice(job: Job, site: Site, layer: PlannedLayer) -> Choice:
    if layer.scheme == KEEP:
        return Choice(reason=layer.reason or "kept by the plan")
    subject = subject_of(job, site)
    if isinstance(subject, str):
        raise PlanError(
            f"The plan replaces {site.name!r}, which cannot be: {subject}. Set its scheme to keep."
        )
    if layer.scheme == AVERAGE_FIRST:
        return Choice(_averaged(job, site, subject, layer))
    if layer.scheme not in SCHEME_NAMES:
        names = ", ".join(SCHEME_NAMES)
        raise PlanError(
            f"The plan gives {site.name!r} the unknown scheme {layer.scheme!r}. Known are {names}."
        )
    (scheme,) = select_schemes((layer.scheme,))
    refusal = scheme.refuses(subject.stage)
    if refusal:
        raise PlanError(f"The plan gives {site.name!r} the scheme {layer.scheme}, but {refusal}.")
    search = Search(subject, scheme)
    job.spectra[site.output] = spectra([search])
    return Choice(_candidate(search, layer))


def _averaged(job: Job, site: Site, subject: Subject, layer: PlannedLayer) -> Candidate:
    found = average_candidate(job, site, subject, layer.rank)
    if found is not None:
        return found
    raise PlanError(
        f"The plan averages what {layer.name!r} reads, over {rank_text(layer.rank) or 'the whole map'}; here "
        "its answers are not averaged like that. Set its scheme to keep."
    )


def _candidate(search: Search, layer: PlannedLayer) -> Candidate:
    full = search.decomposition.full_rank
    if len(layer.rank) != len(full) or any(r > most for r, most in zip(layer.rank, full, strict=False)):
        most = "×".join(map(str, full)) or "none"
        raise PlanError(
            f"The plan gives {layer.name!r} the rank {'×'.join(map(str, layer.rank)) or 'none'}; "
            f"{layer.scheme} takes {most} at most there."
        )
    return search.exactly(layer.rank) or search.candidate(layer.rank)
