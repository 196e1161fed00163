"""Take convolutions out of what hides them, so that they stand in the graph like any other.

* Model-local functions that hold one, or compute its weights, are written out where they are called, as
  onnxruntime does before it runs a model. Other functions stay: a runtime may know them by name.
* An If whose condition is a constant becomes the branch it takes.
* onnxruntime's FusedConv, which its saved optimised models are made of, becomes Conv, Add and activation,
  and onnxruntime fuses them again.
* Values in the bodies of an If, Loop or Scan that are called alike, as they may be in two branches, get names
  of their own, so that one name means one convolution.

None of it changes what a model computes, or how onnxruntime computes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes

from sepfactor.graph.bodies import bodies
from sepfactor.graph.names import rename
from sepfactor.graph.words import Words

_STANDARD = ("", "ai.onnx")

_ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "Relu": (),
    "Sigmoid": (),
    "Tanh": (),
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Clip": ("min", "max"),
}
"""What a FusedConv may end in, and what its ``activation_params`` are called on their own."""


def inlined(model: ir.Model) -> tuple[ir.Model, tuple[str, ...]]:
    """A copy of ``model`` with nothing around its convolutions, and what was done to it in sentences.

    Where there is nothing to do it is ``model`` itself.
    """
    notes: list[str] = []
    chosen = _functions_of_interest(model)
    if chosen:
        model, said = _without_functions(model, chosen)
        notes.append(said)
    wrapped, alike = any(map(_is_wrapper, model.graph.all_nodes())), _have_names_in_common(model)
    if not wrapped and not alike:
        return model, tuple(notes)
    model = model.clone()
    names = _Names(model)
    if alike:
        names.tell_apart(model)
    words = Words.of(model)
    taken = _take_branches(model.graph, names)
    if taken:
        notes.append(f"{_counted(taken, 'If')} of a constant condition became the branch taken.")
    opset = next((model.opset_imports[name] for name in _STANDARD if name in model.opset_imports), 1)
    split = sum(_split(node, names, opset) for node in [*model.graph.all_nodes()])
    if split:
        notes.append(f"{_counted(split, 'FusedConv')} became Conv and activation again.")
    words.put_back(model)
    return model, tuple(notes)


class _Names:
    """Names for new values that no other value of a model has, in whatever graph."""

    def __init__(self, model: ir.Model) -> None:
        self._taken = {value.name for graph in model.graphs() for value in _values(graph)}

    def fresh(self, wanted: str) -> str:
        """``wanted``, or with a number behind it."""
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name

    def tell_apart(self, model: ir.Model) -> None:
        """Rename whatever a graph calls like something in a graph before it."""
        seen: set[str | None] = set()
        for graph in model.graphs():
            own = [*_values(graph)]
            for value in own:
                if value.name and value.name in seen:
                    rename(value, self.fresh(value.name))
            seen |= {value.name for value in own}


def _have_names_in_common(model: ir.Model) -> bool:
    """Whether two graphs of a model have values of the same name."""
    named = [value.name for graph in model.graphs() for value in {*_values(graph)} if value.name]
    return len(named) > len(set(named))


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _is_wrapper(node: ir.Node) -> bool:
    return _branch(node) is not None or _activation(node) is not None


# Functions


def _functions_of_interest(model: ir.Model) -> set[ir.OperatorIdentifier]:
    """Those that hold a convolution or call one that does, and those that compute its weights."""
    inside = {key: [*function.all_nodes()] for key, function in model.functions.items()}
    everything = [*model.graph.all_nodes(), *(node for nodes in inside.values() for node in nodes)]
    found = {key for key, nodes in inside.items() if any(map(_is_layer, nodes))}
    weights = [v for node in everything if _is_layer(node) for v in node.inputs[1:]]
    found |= {node.op_identifier() for node in _nodes_behind(weights)} & inside.keys()
    while True:
        callers = {
            key
            for key, nodes in inside.items()
            if key not in found and any(node.op_identifier() in found for node in nodes)
        }
        if not callers:
            return found
        found |= callers


def _nodes_behind(values: Iterable[ir.Value | None]) -> set[ir.Node]:
    """Whatever they are computed by."""
    seen: set[ir.Node] = set()
    front = [*values]
    while front:
        value = front.pop()
        made = value.producer() if value is not None else None
        if made is not None and made not in seen:
            seen.add(made)
            front += made.inputs
    return seen


def _is_layer(node: ir.Node) -> bool:
    return "Conv" in node.op_type or node.op_type in ("Gemm", "MatMul")


def _without_functions(model: ir.Model, chosen: set[ir.OperatorIdentifier]) -> tuple[ir.Model, str]:
    """The model with those functions written out; or as it is, and why."""
    called = ", ".join(sorted(f"{name!r}" for _, name, _ in chosen))
    plain, words = model.clone(), Words.of(model)
    for key in chosen:
        _make_ready(plain.functions[key], plain)
    try:
        passes.InlinePass(lambda function: function.identifier() in chosen)(plain)
    except (ValueError, RuntimeError, ir.passes.InvariantError) as error:  # the outermost says only where
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said = " ".join(str(cause).split()).rstrip(".")
        return model, f"The functions {called} could not be written out, and stay as they are: {said}."
    words.put_back(plain)
    return plain, f"Functions were written out where they are called, for the sake of convolutions: {called}."


def _make_ready(function: ir.Function, model: ir.Model) -> None:
    """Names that say where a node is from, outputs of its own, and the operator sets of the model."""
    _give_own_outputs(function)
    for node in function.all_nodes():
        node.name = f"{function.name}/{node.name}" if node.name else ""
        for value in node.outputs:
            if value.name:
                rename(value, f"{function.name}/{value.name}")
        node.name = node.name or (node.outputs[0].name if node.outputs else None)
    for domain, version in function.opset_imports.items():
        wanted = model.opset_imports.get(domain, version)
        if wanted != version and _mean_the_same(function, domain, version, wanted):
            function.opset_imports[domain] = wanted


def _mean_the_same(function: ir.Function, domain: str, one: int, other: int) -> bool:
    """Whether all operators of a domain are defined alike in two versions of it."""
    try:
        return all(
            onnx.defs.get_schema(node.op_type, one, domain).since_version
            == onnx.defs.get_schema(node.op_type, other, domain).since_version
            for node in function.all_nodes()
            if node.domain == domain
        )
    except onnx.defs.SchemaError:
        return False


def _give_own_outputs(body: ir.Graph | ir.Function) -> None:
    """Put an Identity before each output that no node of the body writes, or that was one before."""
    own = {value for node in body for value in node.outputs}
    for index, value in enumerate(body.outputs):
        if value in own:
            own.remove(value)
            continue
        copy = ir.node("Identity", [value], outputs=[ir.val(f"{value.name}/{index}")])
        body.append(copy)
        body.outputs[index] = copy.outputs[0]


# If


def _branch(node: ir.Node) -> ir.Graph | None:
    """What an If of a constant condition always does."""
    if node.op_type != "If" or node.domain not in _STANDARD or len(node.inputs) != 1:
        return None
    condition = node.inputs[0]
    tensor = None
    if condition is not None and not condition.is_graph_input():
        tensor = ir.convenience.get_const_tensor(condition)
    if tensor is None or tensor.dtype != ir.DataType.BOOL or tensor.size != 1:
        return None
    name = "then_branch" if np.asarray(tensor.numpy()).item() else "else_branch"
    attribute = node.attributes.get(name)
    if attribute is None or attribute.type != ir.AttributeType.GRAPH:
        return None
    branch = attribute.as_graph()
    return branch if len(branch.outputs) == len(node.outputs) and not branch.inputs else None


def _take_branches(graph: ir.Graph, names: _Names) -> int:
    """Put branches in place of their If, from within; returns how many."""
    count = 0
    for node in [*graph]:
        for inner in bodies(node):
            count += _take_branches(inner, names)
        branch = _branch(node)
        if branch is not None:
            _splice(graph, node, branch, names)
            count += 1
    return count


def _splice(graph: ir.Graph, node: ir.Node, branch: ir.Graph, names: _Names) -> None:
    _give_own_outputs(branch)
    inner, outputs = [*branch], [*branch.outputs]
    constants = [*branch.initializers.values()]
    twice = Counter(value.name for g in (branch, *_others(node, branch)) for value in _values(g))
    branch.outputs.clear()
    branch.initializers.clear()
    branch.remove(inner)
    for value in (*constants, *(value for made in inner for value in made.outputs)):
        if value.name and twice[value.name] > 1:  # the other branch may use the same name; not outside
            rename(value, names.fresh(value.name))
    for value in constants:
        graph.register_initializer(value)
    ir.convenience.replace_nodes_and_values(graph, node, [node], inner, [*node.outputs], outputs)


def _others(node: ir.Node, branch: ir.Graph) -> Iterable[ir.Graph]:
    return (graph for graph in bodies(node) if graph is not branch)


# FusedConv


def _activation(node: ir.Node) -> tuple[str, dict[str, float]] | None:
    """What a FusedConv ends in, by operator and attributes; an empty operator where in nothing."""
    if node.op_type != "FusedConv" or node.domain != "com.microsoft" or len(node.outputs) != 1:
        return None
    kind = node.attributes.get_string("activation", "")
    given: Sequence[float] = node.attributes.get_floats("activation_params", ())
    if not kind:
        return "", {}
    named = _ACTIVATIONS.get(kind)
    return None if named is None or len(given) != len(named) else (kind, dict(zip(named, given, strict=True)))


def _split(node: ir.Node, names: _Names, opset: int) -> bool:
    """Write a FusedConv as Conv, Add and activation; whether it is one."""
    found = _activation(node)
    if found is None or opset < 7:
        return False
    kind, given = found
    graph = node.graph
    assert isinstance(graph, ir.Graph)  # functions that hold one were written out
    final = node.outputs[0]
    label = node.name or final.name or "fused"
    kept = {name: a for name, a in node.attributes.items() if not name.startswith("activation")}
    inputs = [*node.inputs[:3]]
    made = [ir.Node("", "Conv", inputs, kept.values(), name=node.name)]
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        made.append(ir.node("Add", [made[-1].outputs[0], node.inputs[3]], name=f"{label}/sum"))
    if kind:
        made.append(_activated(made[-1].outputs[0], kind, given, graph, names, f"{label}/{kind}", opset))
    for before in made[:-1]:
        before.outputs[0].name = names.fresh(f"{final.name}/{before.op_type}")
        before.metadata_props.update(node.metadata_props)
    ir.convenience.replace_nodes_and_values(graph, node, [node], made, [final], [made[-1].outputs[0]])
    return True


def _activated(
    x: ir.Value,
    kind: str,
    given: dict[str, float],
    graph: ir.Graph,
    names: _Names,
    label: str,
    opset: int,
) -> ir.Node:
    if kind != "Clip" or opset < 11:
        return ir.node(kind, [x], given, name=label)
    bounds = []
    for bound, number in given.items():  # inputs since operator set 11
        name = names.fresh(f"{label}/{bound}")
        bounds.append(ir.val(name, const_value=ir.tensor(np.float32(number), name=name)))
        graph.register_initializer(bounds[-1])
    return ir.node(kind, [x, *bounds], name=label)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + "s" * (count > 1)
