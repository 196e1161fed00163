"""Hard swish written out, as HardSwish, which onnxruntime fuses into the convolution before.

    x·Clip(x + 3, 0, 6)/6 = HardSwish(x)        (Howard et al. 2019, arXiv:1905.02244)

It is recognised from a hard sigmoid of ``α = 1/6`` and ``β = 1/2`` in any of the spellings of
:mod:`sepfactor.graph.rewrites.hard_sigmoid`, the division before or after the product. The operator exists
since opset 14; a model of an older opset is raised to it where each of its operators means the same there.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from sepfactor.graph.rewrites.hard_sigmoid import Spelled, product
from sepfactor.graph.rewrites.read import SINGLE
from sepfactor.graph.rewrites.rule import Build, Edit, Rule

_CLOSE = 1e-5
"""Sixths as single precision, half precision and a few decimal places have them."""


def is_hard_swish(found: Spelled) -> bool:
    """Whether a product with a hard sigmoid is that of hard swish."""
    near = abs(found.alpha * 6.0 - 1.0) < _CLOSE and abs(found.beta - 0.5) < _CLOSE
    return near and found.factor is found.source


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    found = product(node)
    if found is None or not is_hard_swish(found):
        return None
    if found.source.dtype not in SINGLE:
        return "onnxruntime has no HardSwish of its type"

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        return {node.outputs[0]: edit.emit("HardSwish", [found.source], like=node)}

    return build


HARD_SWISH = Rule("hard-swish", "hard swish as one operator", _check, opset=14)
