"""Pivoted factors, and one first factor for convolutions that read the same value.

A map of rank r is ``[I; C] W_p``: r of its own rows, and the others from those (PIFA, arXiv 2501.19090).
As convolutions: the pivots p, then ``q = C p`` with ``O − r`` channels; what reads both reads a Concat, or is
split into a convolution of p and one of q whose answers are added. The order of channels is the readers' to
absorb.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from beyond_net import Array, Net, Sample, walk
from networks import TIMING
from onnx import TensorProto, helper, numpy_helper

from sepfactor.measure import open_and_time
from sepfactor.tune.operators import Node

# Pivots ------------------------------------------------------------------------------------------


class Shape(NamedTuple):
    """A convolution of stride 1, and the rank it is factored at."""

    ins: int
    outs: int
    size: int
    kernel: int
    rank: int


SHAPES = (
    Shape(64, 256, 56, 1, 32),
    Shape(256, 64, 56, 1, 32),
    Shape(256, 256, 28, 1, 128),
    Shape(512, 512, 14, 1, 128),
    Shape(512, 512, 14, 1, 256),
    Shape(1024, 256, 14, 1, 128),
    Shape(512, 2048, 7, 1, 256),
    Shape(64, 64, 56, 3, 32),
    Shape(256, 256, 14, 3, 128),
)
FORMS = ("around alone", "dense", "chain", "pivots, concatenated", "pivots, readers split")
_AROUND = 32
"""Channels before and behind, so that what is timed lies between blocked neighbours."""


class _Graph:
    """Nodes put one behind the other."""

    def __init__(self) -> None:
        self.nodes: list = []
        self.constants: list = []
        self._rng = np.random.default_rng(0)

    def conv(self, value: str, ins: int, outs: int, kernel: int = 1) -> str:
        """A convolution; the name of what it answers."""
        name = f"v{len(self.nodes)}"
        weight = self._rng.normal(size=(outs, ins, kernel, kernel)) / np.sqrt(ins * kernel**2)
        self.constants.append(numpy_helper.from_array(weight.astype(np.float32), f"{name}.w"))
        pads = {"kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4}
        self.nodes.append(helper.make_node("Conv", [value, f"{name}.w"], [name], **pads))
        return name

    def other(self, op: str, *values: str, **attributes: int) -> str:
        """Any other node."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, values, [name], **attributes))
        return name

    def model(self, last: str, size: int) -> bytes:
        """As a file holds it."""
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, _AROUND, size, size])]
        outputs = [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", 13)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def pivot_model(shape: Shape, form: str, relu: bool) -> bytes:
    """A 1×1 before, the map in one of :data:`FORMS`, ReLU if it has one, and a 1×1 that reads it."""
    graph, (ins, outs, size, kernel, rank) = _Graph(), shape
    value = graph.other("Relu", graph.conv("x", _AROUND, ins))

    def through(name: str) -> str:
        return graph.other("Relu", name) if relu else name

    if form == "around alone":
        return graph.model(graph.conv(value, ins, _AROUND), size)
    if form == "dense":
        made = through(graph.conv(value, ins, outs, kernel))
        return graph.model(graph.conv(made, outs, _AROUND), size)
    first = graph.conv(value, ins, rank, kernel)
    if form == "chain":
        made = through(graph.conv(first, rank, outs))
        return graph.model(graph.conv(made, outs, _AROUND), size)
    rest = through(graph.conv(first, rank, outs - rank))
    pivots = through(first)
    if form == "pivots, concatenated":
        both = graph.other("Concat", pivots, rest, axis=1)
        return graph.model(graph.conv(both, outs, _AROUND), size)
    one = graph.conv(pivots, rank, _AROUND)
    two = graph.conv(rest, outs - rank, _AROUND)
    return graph.model(graph.other("Add", one, two), size)


def pivots(seconds: float) -> None:
    """Times of every shape and form, less what is around, over that of the chain."""
    print("| map | ReLU | multiplications | dense | chain | concatenated | readers split |")
    for shape in SHAPES:
        for relu in (False, True):
            models = [(form, pivot_model(shape, form, relu)) for form in FORMS]
            x = np.random.default_rng(1).normal(size=(1, _AROUND, shape.size, shape.size))
            rounds = open_and_time(TIMING, models, [{"x": x.astype(np.float32)}], seconds=seconds)
            around = rounds.median_ms(0)
            dense, chain, whole, split = (rounds.median_ms(i) - around for i in range(1, 5))
            entries = shape.ins * shape.kernel**2
            fewer = 1 - shape.rank / (entries + shape.outs)
            name = f"{shape.ins}→{shape.outs} {shape.kernel}×{shape.kernel}, {shape.size}², r = {shape.rank}"
            times = " | ".join(f"{one / chain:.2f}" for one in (dense, chain, whole, split))
            print(f"| {name} | {'yes' if relu else 'no'} | {fewer:.2f} | {times} |", flush=True)


# Siblings ----------------------------------------------------------------------------------------

_GRID = 16


class Reader(NamedTuple):
    """A convolution: ``(O, I, taps)`` and the covariance of its patches, ``(I, taps, I, taps)``."""

    weight: Array
    gram: Array

    @property
    def spread(self) -> float:
        """Variance of its answer."""
        return float(np.einsum("oit,itjs,ojs->", self.weight, self.gram, self.weight, optimize=True))

    @property
    def dense(self) -> float:
        """Multiplications of a pixel."""
        return float(self.weight.size)

    def whitened(self) -> tuple[Array, Array, Array]:
        """``(I, O·taps)`` weights in the metric of the channels, and its root with the inverse."""
        covariance = np.einsum("itjt->ij", self.gram) / self.gram.shape[1]
        values, vectors = np.linalg.eigh(covariance)
        root = np.sqrt(np.maximum(values, values[-1] * 1e-8))
        half, back = (vectors * root) @ vectors.T, (vectors / root) @ vectors.T
        flat = self.weight.transpose(1, 0, 2).reshape(len(covariance), -1)
        return half @ flat, half, back

    def missed(self, basis: Array) -> float:
        """Share of the variance left with the best weights on ``basis @ x``, ``(r, I)``."""
        rank, taps = len(basis), self.gram.shape[1]
        seen = np.einsum("itjs,qj->itqs", self.gram, basis, optimize=True)
        inner = np.einsum("ri,itqs->rtqs", basis, seen, optimize=True).reshape(rank * taps, -1)
        inner[np.diag_indices_from(inner)] += 1e-9 * np.trace(inner) / len(inner)
        cross = np.einsum("oit,itqs->oqs", self.weight, seen, optimize=True).reshape(len(self.weight), -1)
        return 1 - float((cross * np.linalg.solve(inner, cross.T).T).sum()) / self.spread


def basis_of(readers: Sequence[Reader]) -> Array:
    """Rows from the one that tells most, ``(I, I)``; errors of each count by their share of its variance."""
    parts = [(reader.whitened(), reader.spread) for reader in readers]
    back = parts[0][0][2]
    stacked = np.concatenate([white / np.sqrt(spread) for (white, _, _), spread in parts], axis=1)
    left = np.linalg.eigh(stacked @ stacked.T)[1][:, ::-1]
    return left.T @ back


def sibling_sets(net: Net, sample: Sample) -> Iterator[tuple[str, list[Reader]]]:
    """Convolutions of stride 1 that read the same value, where there are several."""
    sets: dict[str, list[Node]] = {}
    for conv in net.convs():
        if tuple(conv.get("strides", (1, 1))) == (1, 1):
            sets.setdefault(conv.inputs[0], []).append(conv)
    found: dict[str, list[Reader]] = {}

    def before(node: Node, values: dict) -> None:
        several = sets.get(node.inputs[0], [])
        if node not in several or len(several) < 2:
            return
        x = sample.patches(net, node, values[node.inputs[0]])
        flat = x.reshape(len(x), -1)
        flat = flat - flat.mean(0)
        gram = (flat.T @ flat / len(flat)).astype(np.float64).reshape(*x.shape[1:], *x.shape[1:])
        weight = net.weight(node).astype(np.float64).reshape(*net.weight(node).shape[:2], -1)
        found.setdefault(node.inputs[0], []).append(Reader(weight, gram))

    walk(net, sample.images, before=before)
    yield from found.items()


def apart(readers: Sequence[Reader], budget: float) -> tuple[float, float]:
    """Mean share missed, and the cost, where each has its own factor or stays dense, as greed chooses.

    The smallest rank of all may cost more than the budget.
    """
    curves = []
    for reader in readers:
        basis, (outs, ins, taps) = basis_of([reader]), reader.weight.shape
        ranks = [r for r in range(_GRID, ins, _GRID) if r * (ins + outs * taps) < reader.dense]
        curves.append(
            [
                (0.0, 1.0),
                *((r * (ins + outs * taps), reader.missed(basis[:r])) for r in ranks),
                (reader.dense, 0.0),
            ]
        )
    at = [1 if len(curve) > 2 else len(curve) - 1 for curve in curves]
    while True:
        spent = sum(curve[i][0] for curve, i in zip(curves, at, strict=True))
        gains = [
            ((curve[at[n]][1] - curve[i][1]) / (curve[i][0] - curve[at[n]][0]), n, i)
            for n, curve in enumerate(curves)
            for i in range(at[n] + 1, len(curve))
            if spent + curve[i][0] - curve[at[n]][0] <= budget
        ]
        if not gains:
            return float(np.mean([curve[i][1] for curve, i in zip(curves, at, strict=True)])), spent
        _, n, at_ = max(gains)
        at[n] = at_


def dropped(readers: Sequence[Reader], rank: int) -> float:
    """Mean share missed where so many channels are kept instead, the one that helps most first."""
    channels, kept = readers[0].weight.shape[1], list[int]()
    spreads = [reader.spread for reader in readers]
    grams = [reader.gram.copy() for reader in readers]
    cross = [np.einsum("oit,itjs->ojs", r.weight, r.gram, optimize=True) for r in readers]
    for _ in range(rank):
        gains = np.zeros(channels)
        for gram, to, spread in zip(grams, cross, spreads, strict=True):
            own = np.einsum("itis->its", gram) + 1e-9 * np.eye(gram.shape[1])
            gains += np.einsum("ojs,jst,ojt->j", to, np.linalg.pinv(own, 1e-6), to, optimize=True) / spread
        gains[kept] = -np.inf
        best = int(np.argmax(gains))
        kept.append(best)
        for gram, to in zip(grams, cross, strict=True):
            inverse = np.linalg.pinv(gram[best, :, best] + 1e-9 * np.eye(gram.shape[1]), 1e-6)
            to -= np.einsum("ot,ts,sjq->ojq", to[:, best], inverse, gram[best].copy(), optimize=True)
            row = gram[best].copy()
            gram -= np.einsum("tiq,ts,sjr->iqjr", row, inverse, row, optimize=True)
    basis = np.eye(channels)[kept]
    return float(np.mean([reader.missed(basis) for reader in readers]))


TIMED_SETS = ((192, (64, 48, 64), 35, 48), (768, (128, 128, 192), 17, 96), (1280, (448, 384, 320), 8, 208))
"""Channels read, those of 1×1 siblings, the map, and the rank for all: blocks of Inception-v3."""


def _sibling_model(form: str, ins: int, several: Sequence[int], size: int, ranks: tuple[int, int]) -> bytes:
    """1×1 siblings between a 1×1 before and one that reads all; ``ranks`` for all and for each."""
    graph = _Graph()
    value = graph.other("Relu", graph.conv("x", _AROUND, ins))
    if form == "around alone":
        return graph.model(graph.conv(value, ins, _AROUND), size)
    shared = graph.conv(value, ins, ranks[0]) if form == "one for all" else ""
    made = []
    for outs in several:
        if form == "dense":
            name, width = value, ins
        elif shared:
            name, width = shared, ranks[0]
        else:
            name, width = graph.conv(value, ins, ranks[1]), ranks[1]
        made.append(graph.other("Relu", graph.conv(name, width, outs)))
    both = graph.other("Concat", *made, axis=1)
    return graph.model(graph.conv(both, sum(several), _AROUND), size)


def sibling_times(seconds: float) -> None:
    """Of 1×1 siblings with one factor for all and with one each, at about the same multiplications."""
    print("| set | rank for all | one for all, time | multiplications | rank of each | one each | |")
    for ins, several, size, rank in TIMED_SETS:
        cost, dense = rank * (ins + sum(several)), ins * sum(several)
        slope = sum(ins + outs for outs in several)
        each = max(round(cost / slope / _GRID), 1) * _GRID
        forms = ("around alone", "dense", "one for all", "one each")
        models = [(form, _sibling_model(form, ins, several, size, (rank, each))) for form in forms]
        x = np.random.default_rng(1).normal(size=(1, _AROUND, size, size)).astype(np.float32)
        rounds = open_and_time(TIMING, models, [{"x": x}], seconds=seconds)
        whole, together, single = (rounds.median_ms(i) - rounds.median_ms(0) for i in (1, 2, 3))
        name = f"{ins} → {' '.join(map(str, several))}, {size}²"
        print(f"| {name} | {rank} | {together / whole:.2f} | {cost / dense:.2f} ", end="")
        print(f"| {each} | {single / whole:.2f} | {each * slope / dense:.2f} |", flush=True)


def siblings(net: Net, sample: Sample) -> None:
    """Errors of one first factor for all, of one each at the same multiplications, and of fewer channels."""
    print("| read | siblings | rank | of dense | one for all | one each | channels dropped |")
    for value, readers in sibling_sets(net, sample):
        ins = readers[0].weight.shape[1]
        dense = sum(reader.dense for reader in readers)
        after = sum(reader.dense / ins for reader in readers)
        basis = basis_of(readers)
        ranks = {int(share * dense / (ins + after)) // _GRID * _GRID for share in (0.35, 0.6)}
        for rank in sorted(ranks - {0}):
            if rank >= ins:
                continue
            cost = rank * (ins + after)
            together = float(np.mean([reader.missed(basis[:rank]) for reader in readers]))
            alone, spent = apart(readers, cost)
            widths = " ".join(f"{len(r.weight)}({r.weight.shape[2]})" for r in readers)
            fewer = min(int(cost / after) // _GRID * _GRID, ins)
            gone = f"{dropped(readers, fewer):.3f} ({fewer})" if fewer < ins else "all kept"
            print(
                f"| {value} {ins} | {widths} | {rank} | {cost / dense:.2f} | {together:.3f} "
                f"| {alone:.3f} at {spent / dense:.2f} | {gone} |",
                flush=True,
            )
