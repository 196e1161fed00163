"""Operators that draw at random: the same draws in every copy that is measured, and none of that in the file.

onnxruntime takes the seed of a node that has none by its place among all nodes: two sessions of one file draw
alike, one of a rewritten file does not, and the difference would be taken for a loss. With the attribute
``seed`` a node draws alike wherever it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir

RANDOM = frozenset(
    {
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Bernoulli",
        "Multinomial",
        "Dropout",
    }
)

_FIRST = 20_011
"""Seeds go up from here; any would do, as long as they differ."""

Seeds = Mapping[str, int]
"""First output of a node that draws → its seed."""


def draws_at_random(model: ir.Model) -> bool:
    """Whether any node draws at random, with a seed or without."""
    return next(_drawing(model), None) is not None


def seeds_for(model: ir.Model) -> Seeds:
    """A seed for each node that draws at random and has none, in the order of the graph."""
    drawing = [node for node in _drawing(model) if "seed" not in node.attributes]
    return {str(node.outputs[0].name): _FIRST + k for k, node in enumerate(drawing)}


def seeded(model: ir.Model, seeds: Seeds) -> ir.Model:
    """A copy whose nodes have these seeds; nodes of other names have none."""
    model = model.clone()
    for node in _drawing(model):
        seed = seeds.get(str(node.outputs[0].name))
        if seed is not None:
            is_whole = node.op_type == "Dropout"
            node.attributes["seed"] = (
                ir.AttrInt64("seed", seed) if is_whole else ir.AttrFloat32("seed", float(seed))
            )
    return model


def unseeded(model: ir.Model, seeds: Seeds) -> ir.Model:
    """A copy without them."""
    model = model.clone()
    for node in _drawing(model):
        if str(node.outputs[0].name) in seeds:
            node.attributes.pop("seed", None)
    return model


def _drawing(model: ir.Model) -> Iterator[ir.Node]:
    """Nodes that draw; of Dropout those that may be in training."""
    for node in model.graph.all_nodes():
        if node.op_type not in RANDOM or node.domain not in ("", "ai.onnx") or not node.outputs:
            continue
        if node.op_type != "Dropout" or (len(node.inputs) > 2 and node.inputs[2] is not None):
            yield node
