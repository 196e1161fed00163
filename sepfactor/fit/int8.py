"""Bring what a plan has in eight bits there: ranges seen on data, channels evened out, weights rounded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sepfactor.errors import PlanError
from sepfactor.fit.ranges import Seen, grids_of, look_at
from sepfactor.fit.rounding import IMAGES, rounded_weights
from sepfactor.graph.int8 import Grid, Unit, int8_units, quantized
from sepfactor.graph.int8.even import QUARTERS, Stretch, even_out, stretches
from sepfactor.graph.int8.units import groups_of_one_grid
from sepfactor.plans.document import Int8, Plan, PlannedLayer, ValueCodes
from sepfactor.study.study import Study

_FAINT = 1 / 8
"""A channel that never gets so near to the strongest of its activation is scaled up no further: on other data
it may."""


@dataclass(frozen=True, eq=False)
class InEightBits:
    """A network with parts of it in eight bits.

    Attributes:
        model: the network.
        int8: how that came about; with it the same can be made again.
    """

    model: ir.Model
    int8: Int8


def in_eight_bits(study: Study, model: ir.Model, plan: Plan, site_of: Mapping[str, str]) -> InEightBits:
    """A network as a plan has it: the layers in eight bits that are to be, and what else is.

    Args:
        study: the run.
        model: in float, with factors in place.
        plan: what is to be in eight bits, and perhaps the grids.
        site_of: output name of each new node → output name of the layer it stands for.

    Raises:
        PlanError: a layer has no form in eight bits.
    """
    model, asked = model.clone(), plan.int8 or Int8()
    units = int8_units(model)
    chosen = _chosen(units, plan.layers, asked, site_of)
    values = asked.values or _calibrated(study, model, units, chosen)
    known = {one.name: one for one in values}
    if absent := _touched(chosen) - set(known):
        raise PlanError(
            f"The plan says nothing of the codes of {min(absent)!r}, which a layer in eight bits reads or "
            "writes. Take `values` out of `int8`, so that they are found anew, or make another plan."
        )
    for stretch in stretches(units):
        own = known.get(stretch.maker.name)
        if own is not None and own.channels:
            even_out(stretch, own.channels)
    grids = {one.name: Grid(one.scale, one.zero_point) for one in values}
    weights = rounded_weights(study, model, chosen)
    made = quantized(model, [unit.name for unit in chosen], grids, weights)
    return InEightBits(made, Int8(nodes=asked.nodes, values=values))


class EachInEightBits:
    """A network with one unit at a time in eight bits; ranges are looked at, and weights rounded, once.

    Args:
        study: the run.

    Attributes:
        units: what may be in eight bits, by name.
    """

    def __init__(self, study: Study) -> None:
        self._model = study.prepared
        self.units = int8_units(self._model)
        chosen = [*self.units.values()]
        seen = _seen(study, self._model, chosen)
        self._grids = grids_of(groups_of_one_grid(chosen), seen)
        self._weights = rounded_weights(study, self._model, chosen)

    def model(self, name: str) -> ir.Model:
        """The network with one unit in eight bits."""
        return quantized(self._model, [name], self._grids, self._weights)


def _touched(units: Sequence[Unit]) -> set[str]:
    """Names of all activations that units read and write."""
    return {name for unit in units for name in (*unit.reads, unit.name)}


def _chosen(
    units: Mapping[str, Unit], planned: Sequence[PlannedLayer], asked: Int8, site_of: Mapping[str, str]
) -> list[Unit]:
    """Units of the layers in eight bits, and others that are asked for and this network has."""
    layers = {layer.output: layer.name for layer in planned if layer.is_int8}
    found, missing = list[Unit](), dict(layers)
    for unit in units.values():
        output = str(unit.node.outputs[0].name)
        site = site_of.get(output, output)
        if site in layers:
            missing.pop(site, None)
        if site in layers or unit.name in asked.nodes:
            found.append(unit)
    if missing:
        raise PlanError(
            f"The plan has the layer {min(missing.values())!r} in eight bits, for which this network has no "
            "such form. Set its precision to float."
        )
    return found


def _calibrated(
    study: Study, model: ir.Model, units: Mapping[str, Unit], chosen: Sequence[Unit]
) -> tuple[ValueCodes, ...]:
    """The codes of all that the chosen units read and write, from what is seen on the data to fit on."""
    nodes = {unit.node for unit in chosen}
    seen = _seen(study, model, chosen)
    scales = {s.maker.name: _quarters(seen[s.maker.name]) for s in stretches(units) if _is_inside(s, nodes)}
    if any(any(own) for own in scales.values()):
        model = model.clone()
        for stretch in stretches(int8_units(model)):
            even_out(stretch, scales.get(stretch.maker.name, (0,) * stretch.channels))
        seen = _seen(study, model, chosen)
    grids = grids_of(groups_of_one_grid(chosen), seen)
    return tuple(
        ValueCodes(
            name=name,
            scale=grids[name].scale,
            zero_point=grids[name].zero_point,
            channels=scales[name] if any(scales.get(name, ())) else (),
        )
        for name in seen
    )


def _is_inside(stretch: Stretch, chosen: Collection[ir.Node]) -> bool:
    """Whether an activation is only ever in codes."""
    return all(unit.node in chosen for unit in (stretch.maker, *stretch.readers))


def _seen(study: Study, model: ir.Model, units: Sequence[Unit]) -> dict[str, Seen]:
    """What is seen of all that units read and write, in the order of the graph, on the data to fit on."""
    touched = _touched(units)
    values = (*model.graph.inputs, *(value for node in model.graph for value in node.outputs))
    names = [str(value.name) for value in values if value.name in touched]
    return look_at(model, names, study.splits.fit[:IMAGES], study.exact, study.pool.working)


def _quarters(seen: Seen) -> tuple[int, ...]:
    """How much each channel is scaled, in quarters of an octave, to reach as far as the strongest."""
    strongest = float(seen.channels.max())
    if strongest <= 0:
        return (0,) * len(seen.channels)
    reach = np.maximum(seen.channels / strongest, _FAINT)
    reach[seen.channels == 0] = 1.0
    return tuple(int(n) for n in np.floor(-QUARTERS * np.log2(reach)))
