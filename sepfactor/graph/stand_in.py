"""What can be run of a network that onnxruntime cannot run, with every value under its own name.

* Without operators that it does not know, and without all that depends on them. Outputs are those of the
  network that are left, and the values that what was taken out reads: whoever keeps those, keeps the rest.
* In float32 where the network is in a type that onnxruntime has no convolution for.

Both are recipes that work on any network with these values: the original, the same made plain, and what was
written in the end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from sepfactor.codes import Reason
from sepfactor.graph.bodies import bodies, read_outside
from sepfactor.graph.external import read_external
from sepfactor.graph.load import quiet
from sepfactor.graph.sequences import MAKERS
from sepfactor.graph.survey import Site

Operator = tuple[str, str]
"""Domain, empty for the standard one, and name."""

_TYPES = ("to", "dtype", "output_dtype", "output_datatype", "stash_type", "precision", "softmax_precision")
"""Attributes that name the type of an element."""

RARE = (ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
"""Types that onnxruntime has no convolution for on a CPU."""

_ABOUT_SHAPES = ("Shape", "Size")


@dataclass(frozen=True)
class Recipe:
    """How a stand-in is made.

    Attributes:
        unknown: operators to cut out. read: names of the values that become outputs for it.
        types: what becomes float32.
    """

    unknown: Collection[Operator] = ()
    read: tuple[str, ...] = ()
    types: Collection[ir.DataType] = ()

    def __call__(self, model: ir.Model) -> ir.Model:
        """The stand-in of ``model``, which is left as it is."""
        model = model.clone()
        if self.unknown:
            _cut(model, self.unknown, self.read)
        if self.types:
            read_external(model)
            _to_float32(model, self.types)
        return model


def unknown_operators(model: ir.Model, known: Collection[Operator]) -> set[Operator]:
    """Operators of a model that are not ``known``, wherever they are.

    Functions of the model count as known, except those that call one of them: they are listed too.
    """
    functions = {_operator(body): body for body in model.functions.values()}
    known = {*known, *functions}
    found = {_operator(node) for node in model.graph.all_nodes()} - known
    inside = {name: {_operator(node) for node in body.all_nodes()} for name, body in functions.items()}
    found |= set().union(*inside.values()) - known
    while more := {name for name, called in inside.items() if called & found} - found:
        found |= more
    return found


def are_declared(unknown: Iterable[Operator], model: ir.Model) -> bool:
    """Whether operators have names, and their domains are imported, as in any file that is not damaged."""
    imported = {"", *model.opset_imports}.union(*(body.opset_imports for body in model.functions.values()))
    return all(name and domain in imported for domain, name in unknown)


def in_words(unknown: Iterable[Operator], model: ir.Model) -> str:
    """Names and domains of operators, without functions of the model, which only call the others."""
    own = {_operator(body) for body in model.functions.values()}
    named = sorted(name + (f" (domain {domain})" if domain else "") for domain, name in {*unknown} - own)
    return ", ".join(named[:-1]) + " and " + named[-1] if len(named) > 1 else "".join(named)


def rare_types(model: ir.Model) -> set[ir.DataType]:
    """Types of a model that onnxruntime has few kernels for, as far as it says."""
    found: set[ir.DataType | None] = set()
    for graph in _graphs(model):
        found |= {value.dtype for value in _values(graph)}
        for attribute in (a for node in graph for a in node.attributes.values()):
            found |= {tensor.dtype for tensor in _tensors(attribute)}
            found.add(_named_type(attribute))
    return {kind for kind in RARE if kind in found}


def recipe_for(original: ir.Model, prepared: ir.Model, unknown: Collection[Operator]) -> Recipe:
    """The recipe for a network and the same made plain, with outputs that both have."""
    known = {value.name for node in original.graph for value in node.outputs}
    read = _read_by_removed(prepared.graph, _beyond_reach(prepared.graph, unknown)) if unknown else ()
    return Recipe(unknown, tuple(name for name in read if name in known))


def with_outputs_held(model: ir.Model, names: Iterable[str]) -> ir.Model:
    """A copy of which these values are outputs, and so keep their names whatever is done to it."""
    held = model.clone()
    _add_outputs(held.graph, names)
    return held


def let_go(model: ir.Model, names: Collection[str], outputs: Collection[str | None]) -> None:
    """Take that back, in place, for values that are not among the ``outputs`` of the network itself."""
    kept = [v for v in model.graph.outputs if v.name in outputs or v.name not in names]
    model.graph.outputs.clear()
    model.graph.outputs.extend(kept)


def removed(model: ir.Model, unknown: Collection[Operator]) -> int:
    """How many nodes of the main graph are not in the stand-in."""
    return len(_beyond_reach(model.graph, unknown))


def reasons(model: ir.Model, sites: Iterable[Site], unknown: Collection[Operator]) -> dict[str, Reason]:
    """Why sites of a network are not in its stand-in, by the name of their output."""
    culprits = _beyond_reach(model.graph, unknown)
    top = {v.name: node for node in model.graph for inner in _with_inner(node) for v in inner.outputs}
    found = {}
    for site in sites:
        node = top.get(site.output)
        culprit = culprits.get(node) if node is not None else None
        if culprit is not None:
            found[site.output] = _reason(_called(culprit, unknown), node is culprit)
    return found


def _reason(called: str, inside: bool) -> Reason:
    if inside:
        return Reason("inside-unknown", f"inside {called}, which onnxruntime cannot run")
    return Reason("behind-unknown", f"behind {called}, which onnxruntime cannot run")


def _called(node: ir.Node, unknown: Collection[Operator]) -> str:
    """An operator and its name, and of the holder of a body what in it is unknown."""
    name = f"{node.op_type} ({node.name or node.outputs[0].name!r})"
    if _operator(node) in unknown:
        return name
    inner = next(one.op_type for one in _with_inner(node) if _operator(one) in unknown)
    return f"{name} with {inner} in it"


# Cutting


def _cut(model: ir.Model, unknown: Collection[Operator], read: Iterable[str]) -> None:
    graph = model.graph
    beyond = _beyond_reach(graph, unknown)
    kept = [value for value in graph.outputs if value.producer() not in beyond]
    graph.outputs.clear()
    graph.outputs.extend(kept)
    _add_outputs(graph, read)
    for node in beyond:  # what bodies of nodes that go read counts as used otherwise
        for inner in _with_inner(node):
            for index in range(len(inner.inputs)):
                inner.replace_input_with(index, None)
    graph.remove(beyond.keys(), safe=True)
    for key in [key for key, body in model.functions.items() if _operator(body) in unknown]:
        del model.functions[key]
    with quiet():
        passes.RemoveUnusedNodesPass()(model)


def _add_outputs(graph: ir.Graph, names: Iterable[str]) -> None:
    present = {value.name for value in graph.outputs}
    values = {value.name: value for node in graph for value in node.outputs}
    graph.outputs.extend(values[name] for name in dict.fromkeys(names) if name not in present)


def _beyond_reach(graph: ir.Graph, unknown: Collection[Operator]) -> Mapping[ir.Node, ir.Node]:
    """Nodes of a graph that cannot be run, and the first of those they depend on that is to blame."""
    found: dict[ir.Node, ir.Node] = {}
    for node in graph:
        if any(_operator(inner) in unknown for inner in _with_inner(node)):
            found[node] = node
            continue
        makers = (value.producer() for value in read_outside(node))
        blamed = next((found[maker] for maker in makers if maker in found), None)
        if blamed is not None:
            found[node] = blamed
    return found


def _read_by_removed(graph: ir.Graph, beyond: Collection[ir.Node]) -> list[str]:
    """Names of tensors that nodes outside of ``beyond`` hand to those within, in order.

    Not those that hold nothing but constants and sizes. Of a sequence its tensors are handed over.
    """
    wanted: set[ir.Value] = set()
    front = [value for node in beyond for value in read_outside(node)]
    while front:
        value = front.pop()
        maker = value.producer()
        if value in wanted or maker is None or maker in beyond:
            continue
        if _is_tensor(value):
            wanted.add(value)
        else:
            front += read_outside(maker)
    told = _told_by_inputs(graph)
    return [v.name for node in graph for v in node.outputs if v.name and v in wanted and v in told]


def _told_by_inputs(graph: ir.Graph) -> set[ir.Value]:
    """Values that say something of what the network is fed, more than how large it is."""
    found = {value for value in graph.inputs if not value.is_initializer()}
    for node in graph:
        if node.op_type not in _ABOUT_SHAPES and any(value in found for value in read_outside(node)):
            found.update(node.outputs)
    return found


def _is_tensor(value: ir.Value) -> bool:
    maker = value.producer()
    other = isinstance(value.type, ir.SequenceType | ir.OptionalType) or value.dtype == ir.DataType.STRING
    return not other and (maker is None or maker.op_type not in MAKERS)


# Types


def _to_float32(model: ir.Model, types: Collection[ir.DataType]) -> None:
    for graph in _graphs(model):
        for value in _values(graph):
            if value.dtype in types:
                value.type = _as_float32(value.type)
            if value.const_value is not None:
                value.const_value = _in_float32(value.const_value, types)
        for node in graph:
            for attribute in [*node.attributes.values()]:
                node.attributes[attribute.name] = _attribute_in_float32(attribute, types)


def _attribute_in_float32(attribute: ir.Attr, types: Collection[ir.DataType]) -> ir.Attr:
    if _named_type(attribute) in types:
        return ir.AttrInt64(attribute.name, ir.DataType.FLOAT)
    tensors = [*_tensors(attribute)]
    if not any(tensor.dtype in types for tensor in tensors):
        return attribute
    made = [_in_float32(tensor, types) for tensor in tensors]
    if attribute.type == ir.AttributeType.TENSOR:
        return ir.AttrTensor(attribute.name, made[0])
    return ir.AttrTensors(attribute.name, made)


def _in_float32(tensor: ir.TensorProtocol, types: Collection[ir.DataType]) -> ir.TensorProtocol:
    if tensor.dtype not in types:
        return tensor
    return ir.tensor(np.asarray(tensor.numpy(), dtype=np.float32), name=tensor.name)


def _as_float32(kind: ir.TypeProtocol | None) -> ir.TypeProtocol | None:
    if isinstance(kind, ir.SequenceType | ir.OptionalType):
        inner = _as_float32(kind.elem_type)
        assert inner is not None  # it is a type that holds another
        return type(kind)(inner, denotation=kind.denotation)
    return None if kind is None else ir.TensorType(ir.DataType.FLOAT, denotation=kind.denotation)


def _named_type(attribute: ir.Attr) -> ir.DataType | None:
    """The type of elements that an attribute names."""
    if attribute.type != ir.AttributeType.INT or attribute.name not in _TYPES:
        return None
    return next((kind for kind in RARE if kind == attribute.value), None)


def _tensors(attribute: ir.Attr) -> Iterable[ir.TensorProtocol]:
    if attribute.type == ir.AttributeType.TENSOR and attribute.value is not None:
        return (attribute.as_tensor(),)
    if attribute.type == ir.AttributeType.TENSORS and attribute.value is not None:
        return attribute.as_tensors()
    return ()


# Walking


def _operator(one: ir.Node | ir.Function) -> Operator:
    name = one.name if isinstance(one, ir.Function) else one.op_type
    return ("" if one.domain == "ai.onnx" else one.domain), name


def _values(graph: ir.Graph | ir.Function) -> Iterator[ir.Value]:
    yield from graph.inputs
    if isinstance(graph, ir.Graph):
        yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _with_inner(node: ir.Node) -> Iterator[ir.Node]:
    """A node, and all nodes in its bodies."""
    yield node
    for body in bodies(node):
        yield from body.all_nodes()


def _graphs(model: ir.Model) -> Iterator[ir.Graph | ir.Function]:
    """The graph, the functions, and all bodies in them."""
    places: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for place in places:
        yield place
        yield from place.subgraphs()
