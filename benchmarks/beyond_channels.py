"""Networks with fewer channels or with blocks replaced, refitted by least squares to the original's answers.

Channels are dropped between the convolution that writes them and those that read them, by backward
elimination: with ``G = E[x xᵀ]`` of the patches ``x`` a reader sees, ``H = G⁻¹`` and ``W`` its least-squares
weights, doing without the entries ``c`` costs ``tr(W_c H_cc⁻¹ W_cᵀ)``, and what is left is again least
squares after ``W -= W_c H_cc⁻¹ H_c:`` and ``H -= H_:c H_cc⁻¹ H_c:`` (OBS; arXiv 2208.11580).
Layers are refitted in the order of the graph, on inputs from the network so far; before an Add towards the
sum, and before a ReLU towards what it lets through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from beyond_net import Array, Net, Sample, aim, producers, walk

from sepfactor.tune.operators import Node

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
RELU_ROUNDS = 2
_JUDGING = 0.25
"""Share of the images that chooses the ridge."""


# Least squares -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Problem:
    """A reader as least squares: rows of patches, what they are to give, and what to lean towards.

    Attributes:
        x: ``(rows, channels, taps)``. y: ``(rows, O)`` the original's answer, or sum.
        other: what is added to the answer, or zeros. relu: whether a ReLU follows.
        lean: ``(O, channels, taps)`` weights that the ridge leans towards.
    """

    x: Array
    y: Array
    other: Array
    relu: bool
    lean: Array

    def taken(self, kept: Array) -> Problem:
        """With these channels only."""
        return replace(self, x=self.x[:, kept], lean=self.lean[:, kept])

    def normal(self, rows: slice, ridge: float, answers: Array | None = None) -> tuple[Array, ...]:
        """``G + λ``, ``(O, D)`` right-hand side, and both means, over these rows."""
        x = self.x[rows].reshape(-1, self.lean[0].size)
        y = (self.y - self.other)[rows] if answers is None else answers[rows]
        mean, aim_ = x.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64)
        x, y = x - mean.astype(np.float32), y - aim_.astype(np.float32)
        gram = (x.T @ x).astype(np.float64) / len(x)
        light = ridge * np.trace(gram) / len(gram) + 1e-9
        gram[np.diag_indices_from(gram)] += light
        right = (y.T @ x).astype(np.float64) / len(x) + light * self.lean.reshape(len(self.lean), -1)
        return gram, right, mean, aim_

    def solved(self, rows: slice, ridge: float, rounds: int = RELU_ROUNDS) -> tuple[Array, Array]:
        """Weights as ``lean`` has them, and the bias."""
        gram, right, mean, aim_ = self.normal(rows, ridge)
        inverse = np.linalg.inv(gram)
        for left in range(rounds if self.relu else 0, -1, -1):
            weight = right @ inverse
            bias = aim_ - weight @ mean
            if left:
                made = self.made(weight, bias)
                wanted = np.where(self.y > 0, self.y, np.minimum(made + self.other, 0)) - self.other
                _, right, _, aim_ = self.normal(rows, ridge, wanted)
        return weight.reshape(self.lean.shape).astype(np.float32), bias.astype(np.float32)

    def made(self, weight: Array, bias: Array, rows: slice = slice(None)) -> Array:
        """Answers, ``(rows, O)``."""
        flat = np.asarray(weight, np.float32).reshape(len(weight), -1)
        return self.x[rows].reshape(-1, flat.shape[1]) @ flat.T + np.asarray(bias, np.float32)

    def missed(self, weight: Array, bias: Array, rows: slice) -> float:
        """Share of the variance that is missed, behind the ReLU if there is one."""
        made, y = self.made(weight, bias, rows) + self.other[rows], self.y[rows]
        if self.relu:
            made, y = np.maximum(made, 0), np.maximum(y, 0)
        return float(np.square(made - y).sum() / np.square(y - y.mean(0)).sum())

    def fitted(self) -> tuple[Array, Array]:
        """At the ridge that does best on rows of images not fitted to; then to all of them."""
        cut = round(len(self.x) * (1 - _JUDGING))
        fit, judge = slice(cut), slice(cut, None)
        errors = [self.missed(*self.solved(fit, ridge, 0), judge) for ridge in RIDGES]
        return self.solved(slice(None), RIDGES[int(np.argmin(errors))])


def eliminated(
    problems: Sequence[Problem], drop: Mapping[int, int], group: Array, steps: Any = None
) -> Array:
    """Which channels to keep for readers of the same value.

    Args:
        problems: of the readers, of the same channels.
        drop: group → how many of its channels go.
        group: of each channel.
        steps: told of the channels kept so far and of weights and bias of each reader, after every channel.
    """
    left, kept, states = dict(drop), np.ones(len(group), bool), []
    for one in problems:
        gram, right, mean, aim_ = one.normal(slice(None), 1e-3)
        inverse = np.linalg.inv(gram)
        total = float(np.square(one.y - one.y.mean(0)).sum() / len(one.y))
        states.append([inverse, right @ inverse, mean, aim_, total])
    while any(left.values()):
        costs = np.zeros(len(group))
        for inverse, weight, _, _, total in states:
            costs += _costs(inverse, weight, len(group)) / total
        costs[~kept | (np.array([left.get(g, 0) for g in group]) == 0)] = np.inf
        gone = int(np.argmin(costs))
        kept[gone] = False
        left[group[gone]] -= 1
        for state in states:
            taps = len(state[0]) // len(group)
            there = slice(gone * taps, (gone + 1) * taps)
            back = np.linalg.solve(state[0][there, there], state[0][there])
            state[1] = state[1] - state[1][:, there] @ back
            state[0] = state[0] - state[0][:, there] @ back
            state[1][:, there] = 0
            state[0][there] = state[0][:, there] = 0
            state[0][there, there] = np.eye(taps)
        if steps is not None:
            steps(kept.copy(), [(w, a - w @ m) for _, w, m, a, _ in states])
    return kept


def _costs(inverse: Array, weight: Array, channels: int) -> Array:
    """What doing without each channel costs."""
    taps = len(inverse) // channels
    each = np.arange(channels)
    blocks = inverse.reshape(channels, taps, channels, taps)[each, :, each, :]
    parts = weight.reshape(len(weight), channels, taps).transpose(1, 2, 0)
    return np.einsum("cto,cto->c", parts, np.linalg.solve(blocks, parts))


# Whole networks ----------------------------------------------------------------------------------


@dataclass(eq=False)
class _Builder:
    """Goes through a network and refits it on the way.

    Attributes:
        original: with all channels. net: what becomes of it. sample: what it is fitted to.
        widths: output of a convolution → how many of its channels stay.
        only: refit these alone, by output; None for all.
        kept: which channels stay, of convolutions where that is decided.
    """

    original: Net
    net: Net
    sample: Sample
    widths: Mapping[str, int]
    only: set[str] | None = None
    kept: dict[str, Array] = field(default_factory=dict)

    def before(self, node: Node, values: dict[str, Any]) -> None:
        """Decide what it reads, and fit it."""
        if node.op != "Conv" or node.get("group", 1) != 1:
            return
        undecided = [
            (name, count)
            for name, count in producers(self.original, node.inputs[0]) or ()
            if self.widths.get(name, count) < count and name not in self.kept
        ]
        if undecided:
            self._decide(node, values)
        if self.only is None or node.outputs[0] in self.only:
            weight, bias = self.problem(node, values).fitted()
            kernel = self.net.weight(node).shape[2:]
            self.net.constants[node.inputs[1]] = weight.reshape(*weight.shape[:2], *kernel)
            self.net.constants[node.inputs[2]] = bias

    def problem(self, node: Node, values: Mapping[str, Any]) -> Problem:
        """Of a reader, whose input may have fewer channels by now."""
        x = self.sample.patches(self.net, node, values[node.inputs[0]])
        value, other, relu = aim(self.net, node)
        lean = self.original.weight(node)[:, self._left(node.inputs[0], self.original.weight(node).shape[1])]
        there = np.zeros((1, 1), np.float32) if other not in values else self.sample.of(value, values[other])
        if other and other not in values:
            raise ValueError(f"{other} comes after {node.outputs[0]}")
        y = self.sample.aims[value]
        return Problem(x, y, np.broadcast_to(there, y.shape), relu, lean.reshape(*lean.shape[:2], -1))

    def _left(self, value: str, channels: int) -> Array:
        """Which channels of a value are still there."""
        parts = producers(self.original, value)
        if parts is None:
            return np.ones(channels, bool)
        return np.concatenate([self.kept.get(name, np.ones(count, bool)) for name, count in parts])

    def _decide(self, node: Node, values: dict[str, Any]) -> None:
        parts = producers(self.original, node.inputs[0]) or []
        readers = [
            one
            for one in self.net.convs()
            if producers(self.original, one.inputs[0]) == parts and one.inputs[0] in values
        ]
        present = self._left(node.inputs[0], 0)
        group = np.repeat(np.arange(len(parts)), [count for _, count in parts])[present]
        drop = {
            i: count - self.widths.get(name, count)
            for i, (name, count) in enumerate(parts)
            if name not in self.kept
        }
        kept = eliminated([self.problem(one, values) for one in readers], drop, group)
        fresh = {name: kept[group == i] for i, (name, _) in enumerate(parts) if drop.get(i)}
        for name, value in values.items():
            if held := producers(self.original, name):
                masks = [
                    fresh[one]
                    if one in fresh
                    else np.ones(int(self.kept.get(one, np.ones(count)).sum()), bool)
                    for one, count in held
                ]
                if any(one in fresh for one, _ in held):
                    values[name] = value[:, torch.from_numpy(np.concatenate(masks))]
        self.kept.update(fresh)
        for writer in self.net.convs():
            if writer.outputs[0] in fresh:
                for name in writer.inputs[1:]:
                    self.net.constants[name] = self.net.constants[name][fresh[writer.outputs[0]]]


def build(net: Net, sample: Sample, widths: Mapping[str, int], only: set[str] | None = None) -> Net:
    """A network with so many channels, its convolutions refitted.

    Args:
        net: with all channels; blocks of it may be replaced already.
        sample: of the original, looked at.
        widths: output of a convolution → channels that stay.
        only: outputs of convolutions to refit; None for all.
    """
    builder = _Builder(net, net.weighted({}), sample, widths, only)
    walk(builder.net, sample.images, before=builder.before)
    return builder.net


def variants(net: Net, sample: Sample, levels: Mapping[str, Sequence[int]]) -> dict[tuple[str, int], Net]:
    """The original with channels of one convolution alone dropped, its readers refitted."""
    found: dict[tuple[str, int], Net] = {}
    builder, todo = _Builder(net, net, sample, {}), {name for name, widths in levels.items() if widths}

    def before(node: Node, values: dict[str, Any]) -> None:
        parts = producers(net, node.inputs[0]) if node.op == "Conv" else None
        for i, (name, count) in enumerate(parts or ()):
            if name in todo:
                todo.remove(name)
                one(i, name, count, node, values)

    def one(i: int, name: str, count: int, node: Node, values: dict[str, Any]) -> None:
        parts = producers(net, node.inputs[0]) or []
        group = np.repeat(np.arange(len(parts)), [channels for _, channels in parts])
        readers = [r for r in net.convs() if producers(net, r.inputs[0]) == parts and r.inputs[0] in values]
        writer = next(c for c in net.convs() if c.outputs[0] == name)

        def steps(kept: Array, solved: Sequence[tuple[Array, Array]]) -> None:
            mine = kept[group == i]
            if int(mine.sum()) not in levels[name]:
                return
            changes = {one: net.constants[one][mine] for one in writer.inputs[1:]}
            for reader, (weight, bias) in zip(readers, solved, strict=True):
                full = weight.reshape(net.weight(reader).shape)[:, kept]
                changes[reader.inputs[1]] = full.astype(np.float32)
                changes[reader.inputs[2]] = bias.astype(np.float32)
            found[name, int(mine.sum())] = net.weighted(changes)

        problems = [builder.problem(reader, values) for reader in readers]
        eliminated(problems, {i: count - min(levels[name])}, group, steps)

    walk(net, sample.images, before=before)
    return found


@dataclass(frozen=True)
class Block:
    """A residual branch of two convolutions: its source, hidden and last value, and the sum."""

    source: str
    hidden: str
    last: str
    sum: str


def blocks(net: Net) -> list[Block]:
    """All there are."""
    by = {node.outputs[0]: node for node in net.nodes}
    found = []
    for node in net.nodes:
        for last in node.inputs if node.op == "Add" else ():
            second = by.get(last)
            relu = by.get(second.inputs[0]) if second is not None and second.op == "Conv" else None
            first = by.get(relu.inputs[0]) if relu is not None and relu.op == "Relu" else None
            if first is not None and first.op == "Conv":
                found.append(Block(first.inputs[0], first.outputs[0], last, node.outputs[0]))
    return found


def without(net: Net, block: Block, kernel: int) -> Net:
    """With the branch replaced by one convolution of this size, not fitted yet, or by nothing if it is 0."""
    by = {node.outputs[0]: node for node in net.nodes}
    first, second = by[block.hidden], by[block.last]
    relu, add = by[second.inputs[0]], by[block.sum]
    gone = {first.outputs[0], relu.outputs[0], second.outputs[0]}
    other = next(name for name in add.inputs if name != block.last)
    nodes: list[Node] = []
    changes: dict[str, Array] = {}
    for node in net.nodes:
        if kernel and node is second:
            half = kernel // 2
            attributes = {"kernel_shape": [kernel] * 2, "pads": [half] * 4, "strides": first.get("strides")}
            names = (block.source, f"{block.last}.weight", f"{block.last}.bias")
            nodes.append(replace(node, inputs=names, attributes=attributes))
            shape = (len(net.weight(second)), net.weight(first).shape[1], kernel, kernel)
            changes = {names[1]: np.zeros(shape, np.float32), names[2]: np.zeros(shape[0], np.float32)}
        elif not kernel and node.outputs[0] == block.sum:
            nodes.append(replace(node, op="Identity", inputs=(other,), attributes={}))
        elif node.outputs[0] not in gone:
            nodes.append(node)
    return replace(net.weighted(changes), nodes=tuple(nodes))
