"""Every pixel repeated, spelled so that it is computed in the blocked layout.

    Resize(x)[i] = x[⌊i/s⌋]  for whole ``s``

A Resize to the nearest pixel by a whole factor repeats pixels, whether pixels are taken by their centres or
by their corners, where rounding leads to the same one:

    centres  (i + ½)/s − ½ = b + (2r + 1 − s)/2s        corners  i/s = b + r/s        with i = s·b + r

onnxruntime keeps the blocked layout for corners rounded down alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.read import constant, is_op, rank
from sepfactor.graph.rewrites.rule import Build, Edit, Rule

_CORNERS, _DOWN = "asymmetric", "floor"
_CENTRES = ("half_pixel", "pytorch_half_pixel")

_ROUNDED = {
    "round_prefer_floor": lambda x: math.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: math.floor(x + 0.5),
    "floor": math.floor,
    "ceil": math.ceil,
}


def _check(node: ir.Node, opset: int) -> Build | str | None:
    if not is_op(node, "Resize") or opset < 11 or node.attributes.get_string("mode", "nearest") != "nearest":
        return None
    place = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    rounding = node.attributes.get_string("nearest_mode", "round_prefer_floor")
    if (place, rounding) == (_CORNERS, _DOWN):
        return None  # it is spelled so
    factors = _factors(node)
    if factors is None:
        return "its factors are not whole, or not known"
    if not all(_repeats(factor, place, rounding) for factor in factors):
        return "it does not repeat pixels evenly"
    attributes = dict(node.attributes)
    attributes["coordinate_transformation_mode"] = ir.AttrString("coordinate_transformation_mode", _CORNERS)
    attributes["nearest_mode"] = ir.AttrString("nearest_mode", _DOWN)

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        made = edit.emit("Resize", [*node.inputs], [*attributes.values()], like=node)
        return {node.outputs[0]: made}

    return build


def _factors(node: ir.Node) -> list[int] | None:
    """By how much each axis of a map grows."""
    given = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if "axes" in node.attributes or rank(node.inputs[0]) != 4 or given is None or given.size != 4:
        return None
    whole = np.round(given)
    if (whole != given).any() or whole.min() < 1 or set(whole[:2]) != {1}:
        return None
    return [int(n) for n in whole[2:]]


def _repeats(factor: int, place: str, rounding: str) -> bool:
    """Whether all pixels that come of one are that one."""
    if rounding not in _ROUNDED or (place != _CORNERS and place not in _CENTRES):
        return False
    if place == _CORNERS:
        offsets = [r / factor for r in range(factor)]
    else:
        offsets = [(2 * r + 1 - factor) / (2 * factor) for r in range(factor)]
    return all(_ROUNDED[rounding](offset) == 0 for offset in offsets)


REPEAT = Rule("repeat", "pixels repeated in the blocked layout", _check)
