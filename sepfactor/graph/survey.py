"""Find the convolutions of a prepared graph, and say of each why it may not be replaced.

Conv and ConvTranspose are factored. Their relatives are listed too, so that a report says of every
convolution in a network what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sepfactor.codes import Reason
from sepfactor.factor import Stage
from sepfactor.factor.stage import Array, Ints
from sepfactor.graph.bodies import Bodies
from sepfactor.graph.conv import read_conv, read_transposed
from sepfactor.graph.kind import CONV_2D, FLOAT_FIRST, Broken, Kind, Reading, Skip
from sepfactor.graph.linear import read_gemm, read_matmul
from sepfactor.graph.load import first_line, refusing

_FLOAT32: np.dtype[np.floating] = np.dtype(np.float32)

_Readers = Mapping[str, Callable[[ir.Node, int], Reading]]

_READERS: _Readers = {"Conv": read_conv, "ConvTranspose": read_transposed}
"""Operators that are factored, and how their nodes, of a model of some opset, are read."""

_LINEAR: _Readers = {"Gemm": read_gemm, "MatMul": read_matmul}
"""Those that are if asked."""

_RELATIVES = {
    "ConvInteger": 1,
    "QLinearConv": 3,
    "DeformConv": 1,
    "CausalConvWithState": 1,
    "FusedConv": 1,
    "NhwcConv": 1,
    "NhwcFusedConv": 1,
    "ConvTransposeWithDynamicPads": 1,
}
"""Other convolutions, of ONNX and of onnxruntime's own domain, and which of their inputs is the weight."""

_QUANTISED = ("ConvInteger", "QLinearConv")
_BLOCKED = "com.microsoft.nchwc"


@dataclass(frozen=True, eq=False)
class Site:
    """A convolution of the prepared graph.

    Attributes:
        name: the node's name, or that of its output where it has none.
        input: name of the value it reads. output: name of the value it writes; unique in the graph.
        weight_shape: ``(out, in/group, *kernel)`` of its own axes; empty if unknown.
        stage: the convolution as numbers, of two axes or three; None where ``skipped``.
        bias: ``(out,)`` or None.
        dtype: of the weights in the model.
        skipped: why it cannot be replaced; None if it can.
        broken: it is skipped because its weights are not finite.
        kind: how its values are seen as maps, and its stages become nodes.
        nested: whether it is in the body of an If, Loop or Scan.
    """

    name: str
    input: str
    output: str
    weight_shape: Ints
    stage: Stage | None = None
    bias: Array | None = None
    dtype: np.dtype[np.floating] = _FLOAT32
    skipped: Reason | None = None
    broken: bool = False
    kind: Kind = CONV_2D
    nested: bool = False

    @property
    def parameters(self) -> int:
        """Weights and biases; 0 where they are unknown."""
        if self.stage is None:
            return 0
        return self.stage.parameters + (0 if self.bias is None else self.bias.size)


def survey(model: ir.Model, *, linear_layers: bool = False) -> list[Site]:
    """Every convolution of ``model`` in the order they run in, those of bodies and functions included.

    Args:
        model: a prepared graph.
        linear_layers: list Gemm and MatMul too.

    Raises:
        ModelError: a weight cannot be read.
    """
    readers = {**_READERS, **_LINEAR} if linear_layers else _READERS
    with refusing("The model"):  # such as numbers that are not of the type they are said to be of
        around, opset = Bodies(model), model.opset_imports.get("", 1)
        sites = [_site(node, readers, around, opset) for node in _listed(model.graph, readers)]
    for function in model.functions.values():
        reason = Reason("inside-function", "inside a model-local function")
        sites += [_skipped(node, reason) for node in _listed(function, readers)]
    return sites


def _listed(nodes: ir.Graph | ir.Function, readers: _Readers) -> Iterator[ir.Node]:
    return (node for node in nodes.all_nodes() if _is_read(node, readers) or _is_relative(node))


def _is_read(node: ir.Node, readers: _Readers) -> bool:
    return node.op_type in readers and node.domain in ("", "ai.onnx")


def _is_relative(node: ir.Node) -> bool:
    known = node.op_type in _RELATIVES and node.domain in ("", "ai.onnx", "com.microsoft")
    return known or (node.op_type == "Conv" and node.domain == _BLOCKED)


def _site(node: ir.Node, readers: _Readers, around: Bodies, opset: int) -> Site:
    try:
        around.check(node)
        if node.op_type in _QUANTISED:
            raise Skip("quantised", f"a {node.op_type}, which is quantised: {FLOAT_FIRST}")
        if node.domain == _BLOCKED:
            raise Skip(
                "blocked-layout",
                "already in onnxruntime's blocked layout: compress the network it was made of",
            )
        if not _is_read(node, readers):
            raise Skip("operator", f"a {node.op_type}: only Conv and ConvTranspose are factored")
        if not node.inputs or node.inputs[0] is None or node.inputs[0].is_initializer():
            raise Skip("reads-constant", "it reads a constant, so onnxruntime computes it once and for all")
        read = readers[node.op_type](node, opset)
        return Site(
            *_identity(node),
            read.weight_shape,
            read.stage,
            read.bias,
            read.dtype,
            kind=read.kind,
            nested=around.hold(node),
        )
    except Skip as skip:
        return _skipped(node, skip.reason, broken=isinstance(skip, Broken))
    except (TypeError, ValueError, AttributeError) as error:  # attributes of a wrong type or number
        return _skipped(node, Reason("not-valid", f"not a valid {node.op_type}", first_line(error)))


def _skipped(node: ir.Node, reason: Reason, broken: bool = False) -> Site:
    return Site(*_identity(node), _weight_shape(node), skipped=reason, broken=broken)


def _identity(node: ir.Node) -> tuple[str, str, str]:
    output = (node.outputs[0].name if node.outputs else "") or ""
    source = node.inputs[0] if node.inputs else None
    return node.name or output, (source.name if source is not None else "") or "", output


def _weight_shape(node: ir.Node) -> Ints:
    index = _RELATIVES.get(node.op_type, 1)
    weight = node.inputs[index] if len(node.inputs) > index else None
    shape = weight.shape if weight is not None else None
    if shape is None or not all(isinstance(d, int) for d in shape):
        return ()
    sizes = tuple(int(d) for d in shape)  # type: ignore[arg-type]
    if node.op_type.startswith("ConvTranspose") and len(sizes) > 1:  # (in, out/group, *kernel)
        return (sizes[1], sizes[0], *sizes[2:])
    return sizes
