"""Networks in eight bits that are only to be timed: how long they take does not depend on the numbers."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from sepfactor.factor.rounding import rounded
from sepfactor.graph.int8.units import LARGEST_CODE, Grid, groups_of_one_grid, int8_units
from sepfactor.graph.int8.write import quantized

_SCALE = 0.05
_MIDDLE = 128


def in_eight_bits_for_timing(model: ir.Model, chosen: Collection[str] | None = None) -> ir.Model:
    """A copy with all that can be in eight bits there, or what is chosen of it, on grids that are made up."""
    units = int8_units(model)
    tops = {unit.name: unit.top for unit in units.values() if unit.is_cut_off}
    grids: dict[str, Grid] = {}
    for group in groups_of_one_grid([*units.values()]):
        own = [tops[name] for name in group if name in tops]
        scale = min([_SCALE, *(top / LARGEST_CODE for top in own if top > 0)])
        grids |= dict.fromkeys(group, Grid(scale, 0 if own else _MIDDLE))
    weights = {
        unit.name: rounded(np.moveaxis(unit.weight, unit.weight_axis, 0)).along(unit.weight_axis)
        for unit in units.values()
        if unit.is_weighted
    }
    return quantized(model, list(units) if chosen is None else chosen, grids, weights)
