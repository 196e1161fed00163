"""Join neighbouring 1-D convolutions that were written over maps of one row.

Each stands between an Unsqueeze and a Squeeze. A Squeeze trades places with an elementwise node behind
it, which onnxruntime then fuses into the convolution, and with a 1-D convolution of few taps that had
no reason of its own to be written over a row; and where it meets the Unsqueeze of the next convolution,
the two go, and with them two changes of layout. Values keep their names and shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from sepfactor.layout import blockable

_UNARY = {
    *("Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Clip", "Sigmoid", "Tanh"),
    *("HardSigmoid", "HardSwish", "Gelu", "Mish", "Softplus", "Softsign", "Identity"),
}
"""Elementwise in their first input, whatever its axes; what else they read is a single number."""

_BINARY = {"Add", "Sub", "Mul", "Div", "Sum", "Max", "Min"}
"""Elementwise in all of their inputs, where these are maps of as many axes, or single numbers."""

_OF_A_ROW = {"strides": (1,), "dilations": (1,), "kernel_shape": (1,), "pads": (0,)}
"""What a Conv says of the axis of the one row, at its beginning and at its end."""


def join_rows(graph: ir.Graph, made: Iterable[ir.Node]) -> dict[str, str]:
    """Move the Squeezes among the nodes ``made`` back, and out, as far as they go.

    Returns:
        Of each convolution that was written over a row on the way, the output name now → before.
    """
    joiner = _Joiner(graph, [*made])
    for node in [*graph]:
        joiner.visit(node)
    return joiner.renamed


class _Joiner:
    """Goes through a graph from front to back."""

    def __init__(self, graph: ir.Graph, made: Sequence[ir.Node]) -> None:
        self._graph, self._made = graph, set(made)
        self._squeezes = {node for node in made if node.op_type == "Squeeze"}
        self._taken = set(ir.convenience.create_value_mapping(graph)) if self._squeezes else set()
        self._rows: dict[ir.Value, ir.Value] = {}
        self.renamed: dict[str, str] = {}

    def visit(self, node: ir.Node) -> None:
        before = [self._squeeze(value) for value in node.inputs]
        if node in self._made and node.op_type == "Unsqueeze":
            self._unsqueezed(node, before[0])
        elif not any(before) or node.domain not in ("", "ai.onnx") or len(node.outputs) != 1:
            return
        elif node in self._made and node.op_type == "Conv" and _fits(node):
            self._lift(node)
        elif _is_elementwise(node, before):
            self._sink(node, node.inputs[1:], node.attributes.values())

    def _unsqueezed(self, node: ir.Node, squeeze: ir.Node | None) -> None:
        """Leave out an Unsqueeze of what is at hand as a row."""
        value, row = node.inputs[0], node.outputs[0]
        assert value is not None
        known = squeeze.inputs[0] if squeeze is not None else self._rows.setdefault(value, row)
        assert known is not None
        if known is not row:
            row.replace_all_uses_with(known)

    def _squeeze(self, value: ir.Value | None) -> ir.Node | None:
        """The node that made a value of a map of one row, if one of these did."""
        made = value.producer() if value is not None else None
        return made if made in self._squeezes else None

    def _lift(self, node: ir.Node) -> None:
        """A 1-D Conv as one over a row."""
        weight = node.inputs[1]
        assert weight is not None
        assert weight.const_value is not None
        name = self._free(f"{weight.name}/row")
        tensor = ir.tensor(np.expand_dims(weight.const_value.numpy(), 2), name=name)
        lifted = ir.val(name, const_value=tensor)
        self._graph.register_initializer(lifted)
        attributes = []
        for attribute in node.attributes.values():
            more = _OF_A_ROW.get(attribute.name)
            if more is not None:
                own = tuple(attribute.as_ints())
                half = len(own) // 2 if attribute.name == "pads" else len(own)
                attribute = ir.AttrInt64s(
                    attribute.name, (*more, *own[:half], *more[: len(own) - half], *own[half:])
                )
            attributes.append(attribute)
        before = str(node.outputs[0].name)
        self.renamed[self._sink(node, [lifted, *node.inputs[2:]], attributes)] = before

    def _sink(self, node: ir.Node, rest: Sequence[ir.Value | None], attributes: Iterable[ir.Attr]) -> str:
        """Let ``node`` work on rows, and squeeze what it answers; the name of what it answers.

        Args:
            node: which.
            rest: what it is to read behind its first input; maps among it become rows.
            attributes: that it is to have.
        """
        squeeze = next(filter(None, map(self._squeeze, node.inputs)))
        (old,) = node.outputs
        nodes: list[ir.Node] = []
        inputs = [self._row(value, squeeze, nodes) for value in (node.inputs[0], *rest)]
        row, new = ir.val(self._free(f"{old.name}/row")), ir.val(None)
        moved = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            attributes,
            outputs=[row],
            name=node.name,
            doc_string=node.doc_string,
            metadata_props=dict(node.metadata_props),
        )
        behind = _like(squeeze, "Squeeze", row, new)
        self._squeezes.add(behind)
        nodes += [moved, behind]
        ir.convenience.replace_nodes_and_values(self._graph, node, [node], nodes, [old], [new])
        new.metadata_props.update(old.metadata_props)
        return str(row.name)

    def _row(self, value: ir.Value | None, squeeze: ir.Node, nodes: list[ir.Node]) -> ir.Value | None:
        """A value as a row, if it is a map; what makes it one is added to ``nodes``."""
        own = self._squeeze(value)
        if own is not None:
            return own.inputs[0]
        if value is None or not _is_map(value):
            return value
        if value not in self._rows:
            self._rows[value] = ir.val(self._free(f"{value.name}/unsqueezed"))
            nodes.append(_like(squeeze, "Unsqueeze", value, self._rows[value]))
        return self._rows[value]

    def _free(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def _fits(conv: ir.Node) -> bool:
    """Whether a 1-D Conv may run in the blocked layout once it is one of two axes."""
    shape, group = (
        conv.inputs[1].shape if conv.inputs[1] is not None else None,
        conv.attributes.get_int("group", 1),
    )
    sizes = [] if shape is None else [int(size) for size in shape.numpy()]
    return len(sizes) == 3 and blockable(sizes[0]) and blockable(sizes[1] * group)


def _is_elementwise(node: ir.Node, before: Sequence[ir.Node | None]) -> bool:
    """Whether a node does the same with rows as with what they were squeezed to."""
    rest = [value for value, one in zip(node.inputs, before, strict=True) if one is None]
    if node.op_type in _BINARY:
        return all(_is_number(value) or (value is not None and _is_map(value)) for value in rest)
    return node.op_type in _UNARY and before[0] is not None and all(map(_is_number, rest))


def _like(squeeze: ir.Node, op_type: str, x: ir.Value, output: ir.Value) -> ir.Node:
    """A Squeeze or Unsqueeze of the same axis."""
    return ir.Node(
        "",
        op_type,
        [x, *squeeze.inputs[1:]],
        squeeze.attributes.values(),
        outputs=[output],
        name=f"{x.name}/{op_type.lower()}",
        metadata_props=dict(squeeze.metadata_props),
    )


def _is_map(value: ir.Value) -> bool:
    """Whether a value is computed, and has three axes."""
    return not value.is_initializer() and value.shape is not None and len(value.shape) == 3


def _is_number(value: ir.Value | None) -> bool:
    """Left out, or a constant of a single number."""
    tensor = value.const_value if value is not None else None
    return value is None or (tensor is not None and tensor.size == 1 and len(tensor.shape) <= 1)
