"""Put factorizations into a graph in place of the nodes they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from sepfactor.factor import Factorization
from sepfactor.graph.biases import join_biases
from sepfactor.graph.join_1d import join_rows
from sepfactor.graph.load import quiet
from sepfactor.graph.lower import lower
from sepfactor.graph.prepare import infer_shapes
from sepfactor.graph.survey import Site
from sepfactor.graph.words import Words
from sepfactor.graph.writer import free_prefix, taken_names


@dataclass(frozen=True, eq=False)
class Replacement:
    """What a site becomes, and what its new nodes say of themselves (``metadata_props``)."""

    site: Site
    factorization: Factorization
    metadata: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """A rewritten model.

    Attributes:
        model: the graph.
        site_of: output name of each new node → output name of the site it stands for.
    """

    model: ir.Model
    site_of: Mapping[str, str]


def rebuild(prepared: ir.Model, replacements: Sequence[Replacement]) -> Rebuilt:
    """A copy of ``prepared`` with each replacement in place; output values keep their names."""
    model, words = prepared.clone(), Words.of(prepared)
    nodes = {node.outputs[0].name: node for node in model.graph.all_nodes() if node.outputs}
    taken = taken_names(model.graph)
    site_of: dict[str, str] = {}
    new: list[ir.Node] = []
    for replacement in replacements:
        site = replacement.site
        prefix = free_prefix(f"{site.name}/sep", taken)
        made = _replace(nodes[site.output], replacement, prefix, model.opset_imports.get("", 1))
        site_of |= {str(node.outputs[0].name): site.output for node in made}
        new += made
    for graph in model.graphs():
        own = [node for node in new if node.graph is graph]
        site_of |= {now: site_of[before] for now, before in join_rows(graph, own).items()}
        join_biases(graph, own)
    with quiet():
        ir.passes.common.RemoveUnusedNodesPass()(model)
        _remove_unused_weights(model)
        infer_shapes(model)
    words.put_back(model)
    return Rebuilt(model, site_of)


def _remove_unused_weights(model: ir.Model) -> None:
    """Those of bodies, which the pass leaves."""
    for graph in model.graphs():
        for name, value in [*graph.initializers.items()]:
            if graph is not model.graph and not value.uses() and not value.is_graph_output():
                del graph.initializers[name]


def _replace(node: ir.Node, replacement: Replacement, prefix: str, opset: int) -> Sequence[ir.Node]:
    """Put the nodes in; returns them."""
    graph, old = node.graph, node.outputs[0]
    assert isinstance(graph, ir.Graph)  # nodes of functions are no sites
    new = ir.val(None)
    source = node.inputs[0]
    assert source is not None  # what has no input was never a site
    lowered = lower(
        replacement.factorization,
        source,
        new,
        kind=replacement.site.kind,
        prefix=prefix,
        dtype=replacement.site.dtype,
        metadata={**node.metadata_props, **replacement.metadata},
        opset=opset,
    )
    for value in lowered.initializers:
        graph.register_initializer(value)
    ir.convenience.replace_nodes_and_values(graph, node, [node], lowered.nodes, [old], [new])
    for made in lowered.nodes:
        made.doc_string = node.doc_string
    return lowered.nodes
