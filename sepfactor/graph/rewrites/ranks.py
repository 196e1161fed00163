"""How many axes a value has, also where its shape depends on what the model is fed."""

from __future__ import annotations

import onnx_ir as ir

from sepfactor.graph.rewrites.inferred import Inferred
from sepfactor.graph.rewrites.read import constant, is_op

_LIKE_FIRST = (
    *("Softmax", "LogSoftmax", "Relu", "Sigmoid", "Tanh", "Erf", "Sqrt", "Exp", "Neg", "Cast", "Clip"),
    *("Slice", "Identity", "Dropout", "LeakyRelu", "HardSigmoid", "HardSwish", "Gelu", "Elu", "Softplus"),
)
_LIKE_LARGEST = ("Add", "Sub", "Mul", "Div", "Pow", "MatMul", "Max", "Min", "Where")


def axis_count(value: ir.Value | None) -> int | None:
    """The rank of a value, as declared or as the operators before it leave no choice; None if neither."""
    return _Ranks().of(value)


class _Ranks(Inferred[int]):
    def declared(self, value: ir.Value) -> int | None:
        return None if value.shape is None else len(value.shape)

    def made(self, node: ir.Node) -> int | None:
        if is_op(node, "Transpose") and "perm" in node.attributes:
            return len(node.attributes["perm"].as_ints())
        if is_op(node, *_LIKE_FIRST):
            return self.of(node.inputs[0])
        if is_op(node, *_LIKE_LARGEST):
            axes = [self.of(read) for read in node.inputs]
            known = [count for count in axes if count is not None]
            return max(known) if known and len(known) == len(axes) else None
        if is_op(node, "Squeeze", "Unsqueeze"):
            return self._squeezed(node)
        return None

    def _squeezed(self, node: ir.Node) -> int | None:
        before = self.of(node.inputs[0])
        axes = node.attributes.get_ints("axes", ())
        if not axes and len(node.inputs) > 1 and (given := constant(node.inputs[1])) is not None:
            axes = given.reshape(-1).tolist()
        if before is None or not axes:
            return None
        return before + len(axes) * (1 if node.op_type == "Unsqueeze" else -1)
