"""Plans of a study: their header, and whether a plan fits its network."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sepfactor import __version__
from sepfactor.codes import Reason
from sepfactor.data.making import unused_by
from sepfactor.data.sources import kind_of_data
from sepfactor.errors import PlanError
from sepfactor.graph.survey import Site
from sepfactor.options import Options
from sepfactor.plans.document import Int8, Plan, PlannedLayer, Tune, read_plan
from sepfactor.study.study import Study
from sepfactor.user_code import names_function

_BUILDING = (
    *("data", "input-shape", "sample-rate", "limit", "seed", "held-out", "refit", "memory", "ignore"),
    *("color", "scale", "mean", "std", "layout", "resize", "letterbox", "border"),
    *("linear-layers", "dequantize", "int8", "reduce-range"),
)
"""Options that what is built depends on beside the plan."""

_NOT_IN_PLAN = Reason("not-in-plan", "not in the plan")
_KEPT_BY_PLAN = Reason("by-plan", "kept by the plan")


def open_plan(source: Plan | str | os.PathLike[str]) -> Plan:
    """A plan, or the one in a file.

    Raises:
        PlanError: it cannot be read, or is no plan.
    """
    return source if isinstance(source, Plan) else read_plan(Path(source))


def building_options(plan: Plan) -> dict[str, Any]:
    """What the plan says of how to build it, but for data that are code: a file never chooses what is run."""
    said = {name: value for name, value in plan.options.items() if name in _BUILDING}
    return {name: value for name, value in said.items() if name != "data" or not names_function(value)}


def check_data(plan: Plan, options: Options) -> None:
    """Ask for data where those of a plan came from a function, which only the user may name.

    Raises:
        PlanError: they did, and none are given.
    """
    data = plan.options.get("data")
    if options.data is None and names_function(data):
        raise PlanError(
            f"The plan was made with data from the function {data!r}, and asks for --data: what is run is "
            "never named by a plan. If you trust that function, pass it as --data."
        )
    if options.data is None and plan.data:
        raise PlanError(
            f"The plan was made with data that a program handed over ({plan.data}), which no file can name. "
            "Give them again, or others like them, as data (--data)."
        )


def make_plan(study: Study, layers: Sequence[PlannedLayer], int8: Int8 | None = None) -> Plan:
    """The recipe of these choices.

    Args:
        study: the run.
        layers: one per site, in the order of the graph.
        int8: what is in eight bits beside them; None where nothing is in eight bits.
    """
    return Plan(
        sepfactor_version=__version__,
        model=study.loaded.name,
        fingerprint=fingerprint(study.sites),
        options=_building(study.options),
        data="" if _is_named(study.options.data) else study.splits.fit.description,
        rewrites=study.network.rewrites,
        layers=tuple(layers),
        int8=int8,
        environment=study.environment.model_dump(exclude={"load", "taken"}),
    )


def kept(site: Site, reason: Reason) -> PlannedLayer:
    """A layer that stays as it is."""
    return PlannedLayer(name=site.name, output=site.output, weight_shape=site.weight_shape, reason=reason)


def _building(options: Options) -> dict[str, Any]:
    values = _of_data(options).model_dump(by_alias=True, mode="python")
    found = {name: values[name] for name in _BUILDING}
    data = found["data"]
    if isinstance(data, Path):
        found["data"] = str(data)
    elif not _is_named(data):
        found["data"] = None  # an object of the program that made the plan
    return found


def _of_data(options: Options) -> Options:
    """Without what only --eval-data use, which a plan does not name."""
    if options.eval_data is None:
        return options  # what nothing uses was refused
    unused = unused_by(kind_of_data(options.data, (options.labels,)))
    return options.model_copy(update={name: Options.model_fields[name].default for name in unused})


def _is_named(data: object) -> bool:
    """Whether a file can say which data these are; made-up ones need no name."""
    return data is None or isinstance(data, str | Path)


def fingerprint(sites: Sequence[Site]) -> str:
    """SHA-256 over the convolution weights, in the order of the graph."""
    digest = hashlib.sha256()
    for site in sites:
        digest.update(repr((site.output, site.weight_shape)).encode())
        if site.stage is not None:
            digest.update(np.ascontiguousarray(site.stage.weight, "<f8").tobytes())
    return digest.hexdigest()


def fitting_plan(study: Study, plan: Plan) -> Plan:
    """The plan with a line for every site of the network, in the order of the graph.

    A layer that the plan does not name is kept.

    Raises:
        PlanError: it speaks of a layer that this network does not have, or has with other shapes.
    """
    sites = {site.output: site for site in study.sites}
    for layer in plan.layers:
        site = sites.get(layer.output)
        if site is None:
            raise PlanError(
                f"The plan speaks of a layer {layer.name!r} writing {layer.output!r}, which "
                f"{study.loaded.name} does not have. It was made for another network; make one for this."
            )
        if not layer.is_kept and site.weight_shape != layer.weight_shape:
            raise PlanError(
                f"In the plan {layer.name!r} has weights of shape {layer.weight_shape}; here they are "
                f"{site.weight_shape}. Make a plan for this network."
            )
    planned = {layer.output: layer for layer in plan.layers}
    layers = [planned.get(site.output, kept(site, _NOT_IN_PLAN)) for site in study.sites]
    header = make_plan(study, [_explained(layer) for layer in layers], plan.int8)
    asked = study.options.tune
    tune = plan.tune if asked is None else Tune(seconds=asked)
    return header.model_copy(update={"effort": plan.effort, "tune": tune, "expected": plan.expected})


def _explained(layer: PlannedLayer) -> PlannedLayer:
    if not layer.is_kept or layer.reason is not None:
        return layer
    return layer.model_copy(update={"reason": _KEPT_BY_PLAN})


def expecting(plan: Plan, expected: Mapping[str, Any]) -> Plan:
    """The plan with what is expected of the whole."""
    return plan.model_copy(update={"expected": dict(expected)})
