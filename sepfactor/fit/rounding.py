"""Weights of the layers in eight bits, rounded to what they read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from sepfactor.data.patches import gather_patches, sample_positions, usable
from sepfactor.factor.rounding import REDUCED_STEPS, STEPS, Rounded, rounded, rounded_to_data
from sepfactor.factor.stage import Array
from sepfactor.fit.viewing import Walk, in_parts
from sepfactor.graph.int8 import Unit
from sepfactor.graph.survey import Site, survey
from sepfactor.memory import Stored, StoredArrays
from sepfactor.study.study import Study
from sepfactor.threads import one_blas_thread

IMAGES = 32
"""Samples that ranges and weights in eight bits rest on, at most."""

_PATCHES = 4096
_WIDEST = 2400
"""Entries of a patch from which weights are rounded to the nearest: its moments would take too long."""

_ENTRIES = 1e7
"""Numbers kept of what a layer reads, at most."""


def rounded_weights(study: Study, model: ir.Model, chosen: Sequence[Unit]) -> dict[str, Rounded]:
    """The weight of every unit that has one, by its name, rounded to what it reads on the data to fit on.

    Args:
        study: the run.
        model: in float, that the units are of.
        chosen: units.
    """
    names = {str(unit.node.outputs[0].name): unit for unit in chosen if unit.is_weighted}
    sites = [s for s in survey(model, linear_layers=True) if s.output in names and _is_narrow(s)]
    patches = _patches(study, model, sites)
    steps = REDUCED_STEPS if study.options.reduce_range else STEPS
    found: dict[str, Rounded] = {}
    with one_blas_thread():
        for site in sites:
            stage = site.stage
            assert stage is not None
            if site.output in patches:
                read = np.concatenate(patches.pop(site.output))
                found[site.output] = rounded_to_data(stage.weight, read, stage.group, steps)
    return {unit.name: _as_stored(unit, found.get(output), steps) for output, unit in names.items()}


def _is_narrow(site: Site) -> bool:
    stage = site.stage
    return stage is not None and not site.nested and stage.weight[0].size <= _WIDEST


def _as_stored(unit: Unit, found: Rounded | None, steps: int) -> Rounded:
    """With codes as the weight lies in the graph; rounded to the nearest where nothing was seen."""
    weight = np.moveaxis(unit.weight, unit.weight_axis, 0)
    found = found or rounded(weight, steps)
    return replace(found, codes=found.codes.reshape(weight.shape)).along(unit.weight_axis)


def _patches(study: Study, model: ir.Model, sites: Sequence[Site]) -> dict[str, StoredArrays]:
    """What the sites read, by their outputs."""
    found: dict[str, list[Stored]] = {}
    if not sites:
        return {}
    feeds = study.splits.fit[:IMAGES]
    parts = in_parts(model, sites, feeds[0], study.exact, study.pool.working)
    numbers = {site.output: number for number, site in enumerate(sites)}
    walk = Walk(model, parts, study.exact)
    for i, feed in enumerate(feeds):
        for part, values in zip(parts, walk.values(feed), strict=True):
            for site in part:
                rng = np.random.default_rng((study.options.seed, i, numbers[site.output]))
                kept = _some(site, values[site.input], len(feeds), rng)
                if len(kept):
                    found.setdefault(site.output, []).append(study.pool.put(kept))
    return {output: StoredArrays(kept) for output, kept in found.items()}


def _some(site: Site, read: Array, runs: int, rng: np.random.Generator) -> Array:
    stage = site.stage
    assert stage is not None
    maps = site.kind.maps(read)
    if not len(maps):
        return np.zeros((0, *stage.weight.shape[1:]))
    size = stage.weight[0].size * stage.group
    wanted = -(-min(_PATCHES, int(_ENTRIES // size)) // (runs * len(maps)))
    positions = sample_positions(stage.output_size(tuple(maps.shape[2:])), wanted, rng)
    gathered = [gather_patches(maps, stage, batch, positions) for batch in range(len(maps))]
    (kept,) = usable(np.concatenate(gathered))
    return np.asarray(kept)
