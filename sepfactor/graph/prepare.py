"""Make a graph plain: constants lifted, initialisers off the inputs, BatchNormalization and Pad folded.

The work is done by onnx-ir's passes and onnxscript's rewrite rules; this file decides which of them
may be trusted with which graph, and puts back what they lose (node names, declared interface).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx_ir as ir
import onnx_ir.passes.common as passes

from sepfactor.graph.defaults import drop_weights_from_inputs
from sepfactor.graph.dequantize import dequantize
from sepfactor.graph.external import LARGE, read_external
from sepfactor.graph.load import quiet, refusing
from sepfactor.graph.maps import maps_untyped
from sepfactor.graph.names import own_tensors
from sepfactor.graph.sequences import EITHER, MAKERS
from sepfactor.graph.words import Words

_LONG = 2**16
"""No tensor has so many axes that a row of so many numbers could be its shape."""

_MADE_UP = "unk__"
"""How names begin that onnx gives to sizes it does not know."""

_RULE_TAG = "pkg.onnxscript.rewriter.rule_name"


def prepare(model: ir.Model, *, fold: bool = True, dequantized: bool = False) -> ir.Model:
    """A prepared copy of ``model``; the model itself is untouched.

    Graph inputs and outputs keep names, types and symbolic dimensions; weights leave the list of inputs,
    which onnxruntime needs to treat them as constants at all.

    Args:
        model: any model.
        fold: fold BatchNormalization and Pad into Conv and make ``auto_pad`` explicit.
        dequantized: replace what goes through a DequantizeLinear by the floats it stands for.

    Raises:
        ModelError: the graph is so far from valid ONNX that the passes stumble.
    """
    with quiet(), refusing("The model"):
        prepared, words = model.clone(), Words.of(model)
        imports = prepared.opset_imports
        if "ai.onnx" in imports:  # another name of the standard operators
            imports.setdefault("", imports.pop("ai.onnx"))
        # Initialisers that are not inputs exist since IR version 4 (checker), ORT asks for no less.
        prepared.ir_version = max(prepared.ir_version, 4)
        drop_weights_from_inputs(prepared, model.ir_version)
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(prepared)
        own_tensors(prepared)  # a Constant's may be called otherwise than what it writes
        _skip_copies(prepared.graph)
        read_external(prepared, below=LARGE)  # what is run from memory had best be there
        infer_shapes(prepared)
        if dequantized:
            dequantize(prepared)
            infer_shapes(prepared)
        if fold:
            _fold(prepared)
            infer_shapes(prepared)
        words.put_back(prepared)
    return prepared


def may_change_speed(original: ir.Model, prepared: ir.Model) -> bool:
    """Whether preparing alone can make a network faster, so that it must be told apart from factoring.

    It can where initialisers were inputs (onnxruntime does not optimise around them) and where nodes
    went that onnxruntime would have kept. BatchNormalization it folds itself, copies it leaves out.
    """
    if len(original.graph.inputs) != len(prepared.graph.inputs):
        return True
    ignored = ("Constant", "Identity", "BatchNormalization")
    before, after = (
        Counter(node.op_type for node in model.graph.all_nodes() if node.op_type not in ignored)
        for model in (original, prepared)
    )
    return before != after


def infer_shapes(model: ir.Model) -> None:
    """Infer shapes in place, leaving what the model declares of its inputs and outputs as it is."""
    interface = [(v, v.shape, v.type) for v in (*model.graph.inputs, *model.graph.outputs)]
    interface += [(v, v.shape, v.type) for v in _other_than_tensors(model)]
    _infer_shapes(model, data_prop=False)
    # What may hold a shape is then followed too; onnx takes that of every row, however long it says it is.
    if not any(_is_long_row(value) for value in _values(model)):
        _infer_shapes(model, data_prop=True)
    for value, shape, kind in interface:
        value.shape, value.type = shape, kind


def _infer_shapes(model: ir.Model, *, data_prop: bool) -> None:
    _forget_made_up_names(model)
    with maps_untyped(model):
        passes.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=data_prop)(model)


def _forget_made_up_names(model: ir.Model) -> None:
    """Take the names off open sizes that onnx made up: it keeps them where it could tell more by now."""
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if value.shape is None or value.is_graph_output():
                continue
            sizes = [s if isinstance(s, int) else s.value for s in value.shape]
            if any(isinstance(size, str) and size.startswith(_MADE_UP) for size in sizes):
                kept = (None if isinstance(s, str) and s.startswith(_MADE_UP) else s for s in sizes)
                value.shape = ir.Shape(kept)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    yield from model.graph.inputs
    for node in model.graph.all_nodes():
        yield from node.outputs


def _other_than_tensors(model: ir.Model) -> list[ir.Value]:
    """What may be a sequence or may be missing: onnx-ir makes a tensor of it where it learns its shape."""
    nodes = [*model.graph.all_nodes()]
    if not any(node.op_type in MAKERS for node in nodes):
        return []
    calls = model.functions
    chosen = (n for n in nodes if n.op_type in MAKERS | EITHER or n.op_identifier() in calls)
    return [value for node in chosen for value in node.outputs]


def _is_long_row(value: ir.Value) -> bool:
    shape = value.shape
    return shape is not None and len(shape) == 1 and isinstance(shape[0], int) and shape[0] > _LONG


def _skip_copies(graph: ir.Graph) -> None:
    """Let who reads a copy of an initialiser read it itself: exporters put Identity before shared weights."""
    for node in [*graph.all_nodes()]:
        if node.op_type != "Identity" or node.domain or len(node.inputs) != 1 or len(node.outputs) != 1:
            continue
        source, copy = node.inputs[0], node.outputs[0]
        if source is not None and source.is_initializer() and not copy.is_graph_output():
            copy.replace_all_uses_with(source)
            assert node.graph is not None  # it was found in one
            node.graph.remove(node, safe=True)


def _fold(model: ir.Model) -> None:
    """Apply onnxscript's rules where their assumptions hold, and keep the names of the Conv nodes."""
    from onnxscript.rewriter import RewritePass
    from onnxscript.rewriter.rules import common as rules

    pads = [rules.normalize_pad_format_conv_rule]
    opset = model.opset_imports.get("", 1)
    if opset >= 11:  # the rule reads Pad's pads from an input; before opset 11 they were attributes
        pads.append(rules.fuse_pad_into_conv_rule)
    norms = [rules.fuse_batchnorm_into_conv_rule, rules.fuse_batchnorm_into_conv_transpose_rule]
    for node in _convolutions(model):
        while len(node.inputs) > 2 and node.inputs[-1] is None:
            node.resize_inputs(len(node.inputs) - 1)  # the rules take any third input for a bias
    before = {node: node.name for node in model.graph.all_nodes()}
    # The rules for pads keep the output; that for BatchNormalization the weight, if it is not shared.
    names = {_weight_name(node): node.name for node in _convolutions(model)}
    names |= {node.outputs[0].name: node.name for node in _convolutions(model)}
    # Pads first: while what they replace is still there, its weight counts as shared.
    for chosen in (pads, norms) if _may_fold_norms(model) else (pads,):
        ir.passes.Sequential(RewritePass(chosen), passes.RemoveUnusedNodesPass())(model)
    for node in model.graph.all_nodes():
        node.metadata_props.pop(_RULE_TAG, None)
        if node in before:
            node.name = before[node]
        elif node.op_type in ("Conv", "ConvTranspose"):
            own = node.outputs[0].name
            node.name = names[own] if own in names else names.get(_weight_name(node), node.name)
            _cast_constants(node)


def _cast_constants(node: ir.Node) -> None:
    """Weight and bias of a new node in the type of what it writes: numpy makes float32 of bfloat16."""
    dtype = node.outputs[0].dtype
    for value in node.inputs[1:]:
        tensor = value.const_value if value is not None else None
        if value is None or tensor is None or dtype is None or tensor.dtype == dtype:
            continue
        value.const_value = ir.tensor(tensor.numpy().astype(dtype.numpy()), name=tensor.name)
        value.dtype = dtype


def _may_fold_norms(model: ir.Model) -> bool:
    """Whether all that the rules for BatchNormalization take for granted holds in this graph."""
    values = ir.convenience.create_value_mapping(model.graph)
    new = {f"{_weight_name(node)}_bias" for node in _convolutions(model) if len(node.inputs) < 3}
    return (
        new.isdisjoint(values)  # the rule calls a new bias so
        and not any(value.is_graph_output() for value in model.graph.initializers.values())
        and all(_is_inference(n) for n in model.graph.all_nodes() if n.op_type == "BatchNormalization")
    )


def _is_inference(node: ir.Node) -> bool:
    """Whether a BatchNormalization computes what the folding rule takes for granted."""
    return (
        len([o for o in node.outputs if o.uses() or o.is_graph_output()]) <= 1
        and not node.attributes.get_int("training_mode", 0)
        and node.attributes.get_int("spatial", 1) == 1
        and len(_types(node)) == 1
    )


def _types(norm: ir.Node) -> set[ir.DataType]:
    """The element types a BatchNormalization and what is before it work with."""
    before = norm.inputs[0].producer() if norm.inputs[0] is not None else None
    inputs = [*norm.inputs, *(before.inputs[1:] if before is not None else ())]
    return {value.dtype for value in inputs if value is not None and value.dtype is not None}


def _convolutions(model: ir.Model) -> Iterator[ir.Node]:
    return (node for node in model.graph.all_nodes() if node.op_type in ("Conv", "ConvTranspose"))


def _weight_name(node: ir.Node) -> str | None:
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    return weight.name if weight is not None else None
