"""Channels of zeros between convolutions, so that what is between them runs in the blocked layout.

    W∗x = [W 0]∗[x; f(0∗u)]

onnxruntime runs a dense convolution in blocks where what it reads has a multiple of four channels (from
sixteen on); one that reads 18, 42 or 255 copies columns instead, and the layout changes on both sides. One
that reads eight takes them from the plain layout, number by number; where it is 1×1, more are no loss. A pool
runs in blocks only where they are full: the 24 channels with which ShuffleNet begins are too few. Some more
channels, made by rows of zeros and read by columns of zeros, cost less, and blocks are filled up anyway. The
way leads from the convolution that makes the channels to all that read them, through activations, pools, sums
and products, and depthwise convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from sepfactor.graph.rewrites.alike import POOLS, treats_channels_alike
from sepfactor.graph.rewrites.read import SINGLE, Array, Convolution, convolution, is_op, rank, readers
from sepfactor.graph.rewrites.rule import Build, Edit, Rule
from sepfactor.layout import BLOCK, blockable

_MULTIPLE = 4

_LEAST = BLOCK // 2
"""Of fewer channels a kernel for plain maps computes none in vain."""

_OF_TWO = ("Add", "Mul", "Sub")
_MOST_NODES = 32


def _check(node: ir.Node, opset: int) -> Build | str | None:  # noqa: ARG001
    source = convolution(node)
    if source is None or source.group != 1 or rank(node.outputs[0]) != 4 or source.dtype not in SINGLE:
        return None
    count = source.out_channels
    if count < _LEAST or count % BLOCK == 0:
        return None
    between = _Between(node)
    has_pool = any(is_op(step, *POOLS) for step in between.nodes)
    if blockable(count) and not has_pool:
        return None
    if between.reason is not None:
        return between.reason if between.ends else None
    if count < BLOCK and between.have_taps:
        return "kernels of several taps would work on more channels than it saves"
    more = -count % BLOCK if has_pool else max(-count % _MULTIPLE, BLOCK - count)
    return lambda edit: _Widening(edit, between, more).all()


class _Between:
    """What is between a convolution and those that read its channels, directly or through others.

    Attributes:
        begin: the convolution. nodes: between. ends: dense convolutions.
        reason: why the channels cannot become more, in words; None if they can.
    """

    def __init__(self, begin: ir.Node) -> None:
        self.begin = begin
        self.nodes: dict[ir.Node, None] = {}
        self.ends: dict[ir.Node, None] = {}
        self.reason = self._collect(begin.outputs[0])

    def _collect(self, begin: ir.Value) -> str | None:
        wide, reason = [begin], None
        for value in wide:
            if readers(value) is None:
                reason = "something else reads its channels"
            for node in dict.fromkeys(use.node for use in value.uses()):
                conv = convolution(node)
                if conv is not None and conv.group == 1 and node.inputs[0] is value:
                    self.ends[node] = None
                elif node in self.nodes:
                    continue
                elif not self._passes(node, conv):
                    reason = f"its channels are read by {node.op_type}"
                elif len(wide) == _MOST_NODES:
                    return "its channels are read too far behind it"
                else:
                    self.nodes[node] = None
                    wide.append(node.outputs[0])
        within = {id(value) for value in wide}
        if any(is_op(n, *_OF_TWO) and any(id(v) not in within for v in n.inputs) for n in self.nodes):
            reason = "something else is added to its channels"
        return reason

    @property
    def have_taps(self) -> bool:
        """Whether one of those that read the channels is more than 1×1."""
        found = [convolution(node) for node in self.ends]
        return any(conv is not None and set(conv.kernel) != {1} for conv in found)

    @staticmethod
    def _passes(node: ir.Node, conv: Convolution | None) -> bool:
        """Whether channels of whatever there is do no harm to the others."""
        return (
            (conv is not None and conv.is_depthwise) or treats_channels_alike(node) or is_op(node, *_OF_TWO)
        )


class _Widening:
    """Writes all of it anew with more channels."""

    def __init__(self, edit: Edit, between: _Between, more: int) -> None:
        self._edit, self._between, self._more = edit, between, more
        self._made: dict[ir.Value, ir.Value] = {}

    def all(self) -> Mapping[ir.Value, ir.Value]:
        """What the convolutions at the end answer, as before."""
        return {node.outputs[0]: self._end(node) for node in self._between.ends}

    def _end(self, node: ir.Node) -> ir.Value:
        conv = convolution(node)
        assert conv is not None  # so it was found
        assert node.inputs[0] is not None
        weight = self._edit.constant(_padded(conv.weight, 1, self._more), conv.dtype)
        return self._edit.again(node, [self._of(node.inputs[0]), weight, *node.inputs[2:]])

    def _of(self, value: ir.Value) -> ir.Value:
        if value not in self._made:
            node = value.producer()
            assert node is not None  # the way began with a convolution
            self._made[value] = self._of_node(node)
        return self._made[value]

    def _of_node(self, node: ir.Node) -> ir.Value:
        conv = convolution(node)
        if conv is None:
            count = 2 if is_op(node, *_OF_TWO) else 1
            maps = [self._of(value) for value in node.inputs[:count] if value is not None]
            return self._edit.again(node, [*maps, *node.inputs[count:]])
        assert node.inputs[0] is not None
        source = node.inputs[0] if node is self._between.begin else self._of(node.inputs[0])
        attributes = dict(node.attributes)
        if conv.group > 1:
            attributes["group"] = ir.AttrInt64("group", conv.group + self._more)
        inputs = [source, *self._weights(conv)]
        return self._edit.emit("Conv", inputs, [*attributes.values()], like=node)

    def _weights(self, conv: Convolution) -> list[ir.Value]:
        found = [self._edit.constant(_padded(conv.weight, 0, self._more), conv.dtype)]
        if conv.bias is not None:
            found.append(self._edit.constant(_padded(conv.bias, 0, self._more), conv.dtype))
        return found


def _padded(array: Array, axis: int, more: int) -> Array:
    ends = [(0, more if i == axis else 0) for i in range(array.ndim)]
    return np.pad(array, ends)


ROUND_CHANNELS = Rule("round-channels", "channels of zeros for the blocked layout", _check)
