"""Some of the channels of what a convolution answers, as a convolution of those rows of its weight.

    (W∗x + b)[S] = W[S]∗x + b[S]        f(y)[S] = f(y[S]) for what works channel by channel

Split, Slice and Gather along channels leave onnxruntime's blocked layout. Where all that reads a value takes
channels of it, each no more than once, the selection goes backwards: through activations, sums and products,
pools and depthwise convolutions, to the convolutions that made them. These become as many as there are
selections, with no more multiplications than before. So it is in the C2f blocks of YOLOv8, which split what
a SiLU answers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.graph.consumers import ACTIVATIONS
from sepfactor.graph.rewrites.read import channels, constant, convolution, floats, is_op, per_channel, rank
from sepfactor.graph.rewrites.rule import Build, Edit, Rule

Indices = NDArray[np.int64]

_POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
_OF_TWO = ("Add", "Mul", "Sub", "Div")
_MOST_NODES = 16


def _check(node: ir.Node, opset: int) -> Build | str | None:
    taken = _taken(node, opset)
    source = node.inputs[0] if taken is not None else None
    if taken is None or source is None:
        return None
    region = _Region()
    reason = region.add(source)
    if reason is not None:
        return reason
    if (reason := _refusal(source, region, opset)) is not None:
        return reason

    def build(edit: Edit) -> Mapping[ir.Value, ir.Value]:
        return {value: _Selection(edit, chosen).of(source) for value, chosen in taken.items()}

    return build


def _refusal(source: ir.Value, region: _Region, opset: int) -> str | None:
    """Why what reads a value, or what is on the way to it, stands against selecting before."""
    if source.is_graph_output():
        return "all channels are an output"
    seen: list[int] = []
    for use in source.uses():
        taken = _taken(use.node, opset)
        if taken is None or use.idx != 0 or use.node.graph is not next(iter(region.nodes)).graph:
            return "something else reads all channels"
        seen += [int(i) for chosen in taken.values() for i in chosen]
    if len(set(seen)) != len(seen):
        return "some channels are taken twice"
    for node in region.nodes:
        for value in node.outputs:
            if value is source:
                continue
            if value.is_graph_output() or any(use.node not in region.nodes for use in value.uses()):
                return "something else reads all channels before an activation"
    return None


def _taken(node: ir.Node, opset: int) -> dict[ir.Value, Indices] | None:
    """Which channels of its input each output of a node holds."""
    source = node.inputs[0] if node.inputs else None
    count = channels(source)
    if source is None or count is None or rank(source) not in (3, 4, 5):
        return None
    if is_op(node, "Split"):
        return _split(node, count, opset)
    if is_op(node, "Slice"):
        return _slice(node, count)
    if is_op(node, "Gather") and node.attributes.get_int("axis", 0) == 1:
        index = constant(node.inputs[1])
        if index is None or index.ndim != 1 or not index.size or np.abs(index + 0.5).max() > count:
            return None
        return {node.outputs[0]: index.astype(np.int64) % count}
    return None


def _split(node: ir.Node, count: int, opset: int) -> dict[ir.Value, Indices] | None:
    if node.attributes.get_int("axis", 0) != 1:
        return None
    parts = len(node.outputs)
    sizes = [int(n) for n in node.attributes.get_ints("split", ())]
    if opset >= 13 and len(node.inputs) > 1 and node.inputs[1] is not None:
        given = constant(node.inputs[1])
        if given is None:
            return None
        sizes = [int(n) for n in given]
    largest = -(-count // parts)
    sizes = sizes or [*(largest for _ in range(parts - 1)), count - largest * (parts - 1)]
    if sum(sizes) != count or len(sizes) != parts or min(sizes) < 1:
        return None
    ends = np.cumsum(sizes)
    return {
        value: np.arange(end - size, end) for value, size, end in zip(node.outputs, sizes, ends, strict=True)
    }


def _slice(node: ir.Node, count: int) -> dict[ir.Value, Indices] | None:
    if len(node.inputs) > 1:
        rows = [constant(value) for value in node.inputs[1:4]]
        steps = constant(node.inputs[4]) if len(node.inputs) > 4 else np.ones(1, np.int64)
    else:
        names = ("starts", "ends", "axes")
        rows = [np.array(node.attributes.get_ints(name, ()), np.int64) for name in names]
        steps = np.ones(1, np.int64)
    if len(rows) < 3 or steps is None or any(row is None or row.shape != (1,) for row in (*rows, steps)):
        return None
    start, end, axis = (int(row[0]) for row in rows if row is not None)
    chosen = np.arange(count)[slice(start, end, int(steps[0]))] if axis == 1 and steps[0] > 0 else np.zeros(0)
    return {node.outputs[0]: chosen.astype(np.int64)} if chosen.size else None


class _Region:
    """The nodes through which a selection goes, convolutions at their beginning included."""

    def __init__(self) -> None:
        self.nodes: dict[ir.Node, None] = {}

    def add(self, value: ir.Value) -> str | None:
        """Add what makes a value; why a selection cannot go through it, in words."""
        node = value.producer()
        if node is None or len(node.outputs) != 1:
            return "no convolution makes what it takes channels of"
        if node in self.nodes:
            return None
        self.nodes[node] = None
        if len(self.nodes) > _MOST_NODES:
            return "the convolutions are too far before it"
        conv = convolution(node)
        if conv is not None and conv.group == 1:
            return None
        for source in _maps(node, value):
            if source is None:
                return f"a selection does not go through {node.op_type}"
            if (reason := self.add(source)) is not None:
                return reason
        return None


def _maps(node: ir.Node, value: ir.Value) -> list[ir.Value | None]:
    """The maps that a node works on channel by channel; [None] where it does not, or not for sure."""
    first = node.inputs[0] if node.inputs else None
    conv = convolution(node)
    if is_op(node, *_OF_TWO) and len(node.inputs) == 2:
        found = [
            source for source in node.inputs if _is_map(source, value) or per_channel(source, value) is None
        ]
        return found if found and all(_is_map(source, value) for source in found) else [None]
    if first is None or channels(first) != channels(value) or rank(first) != rank(value):
        return [None]
    if conv is not None:
        return [first] if conv.is_depthwise else [None]
    if is_op(node, "PRelu"):
        return [first] if per_channel(node.inputs[1], first) is not None else [None]
    if is_op(node, *ACTIVATIONS):
        numbers = [constant(bound) for bound in node.inputs[1:] if bound is not None]
        return [first] if all(array is not None and array.size == 1 for array in numbers) else [None]
    return [first] if is_op(node, *_POOLS) else [None]


def _is_map(source: ir.Value | None, value: ir.Value) -> bool:
    alike = source is not None and floats(source) is None and rank(source) == rank(value)
    return alike and channels(source) == channels(value)


class _Selection:
    """Writes the region anew for some of the channels."""

    def __init__(self, edit: Edit, chosen: Indices) -> None:
        self._edit, self._chosen = edit, chosen
        self._made: dict[ir.Value, ir.Value] = {}

    def of(self, value: ir.Value) -> ir.Value:
        """These channels of a value."""
        if value not in self._made:
            node = value.producer()
            assert node is not None  # the check went the same way
            self._made[value] = self._of_node(node, value)
        return self._made[value]

    def _of_node(self, node: ir.Node, value: ir.Value) -> ir.Value:
        conv = convolution(node)
        if conv is not None:
            first = node.inputs[0]
            assert first is not None
            depthwise = conv.group > 1
            inputs = [
                self.of(first) if depthwise else first,
                self._edit.constant(conv.weight[self._chosen], conv.dtype),
            ]
            if conv.bias is not None:
                inputs.append(self._edit.constant(conv.bias[self._chosen], conv.dtype))
            attributes = dict(node.attributes)
            if depthwise:
                attributes["group"] = ir.AttrInt64("group", len(self._chosen))
            return self._edit.emit("Conv", inputs, [*attributes.values()])
        maps = [source for source in _maps(node, value) if source is not None]
        inputs_of = [self._input(source, value, maps) for source in node.inputs]
        return self._edit.emit(node.op_type, inputs_of, [*node.attributes.values()])

    def _input(self, source: ir.Value | None, value: ir.Value, maps: list[ir.Value]) -> ir.Value | None:
        if source in maps:
            assert source is not None
            return self.of(source)
        row = per_channel(source, value)
        if source is None or row is None or source.const_value is None or source.const_value.size == 1:
            return source  # a single number, for all of them
        ones = (1,) * ((rank(value) or 2) - 2)
        return self._edit.constant(row[self._chosen].reshape(-1, *ones), source.const_value.dtype)


SELECT = Rule("select", "channels of a convolution's answer by rows of its weight", _check)
