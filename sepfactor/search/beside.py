"""What lies between the layers, and may compute in eight bits as well: its times, and what borders cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from sepfactor.budgets import CostLimit
from sepfactor.fit.viewing import sizes_of
from sepfactor.graph.instrument import serialized, value_of, with_node_names
from sepfactor.graph.int8 import Unit, added_around, in_eight_bits_for_timing, int8_units, raw
from sepfactor.graph.lower import border_model
from sepfactor.measure.engine import NodeTime
from sepfactor.measure.engines import open_and_time
from sepfactor.measure.profile import scaled_to
from sepfactor.plans.knapsack import Border
from sepfactor.plans.knapsack import Options as Columns
from sepfactor.study.profiling import CONVOLUTIONS
from sepfactor.study.study import Study

TIME, LOSS, INT8, FLOAT = "time", "loss", "int8", "float"
"""Quantities that every option has, beside those that a budget limits; the last two count what is in
eight bits, and what is not though it may be."""

_RUNS = 20

_SIDES = (28, 112, 224)
"""Of maps of 64 channels, that borders are timed on."""

_PUSHED = 8.0
"""Times that it costs more to go into eight bits behind a MaxPool: onnxruntime does so before it, and has no
kernel for integers there that works on maps in its order of axes and is fast."""


@dataclass(frozen=True, eq=False)
class Beside:
    """Nodes beside the layers that have a form in eight bits, and the values between all of them.

    Attributes:
        names: of the nodes, as units are called.
        extra_ms: by node, what eight bits take longer than float; less than nothing where they are faster.
        borders: between layers, which come first, and these nodes, in milliseconds.
        losses: by node, divergence at the output where it alone is in eight bits.
    """

    names: tuple[str, ...] = ()
    extra_ms: tuple[float, ...] = ()
    borders: tuple[Border, ...] = ()
    losses: tuple[float, ...] = ()

    def with_losses(self, losses: Sequence[float]) -> Beside:
        """The same with what each loses that is alone in eight bits."""
        return replace(self, losses=(*losses,) or (0.0,) * len(self.names))

    def columns(self, limits: Iterable[CostLimit] = ()) -> list[Columns]:
        """The options of each: float, or eight bits."""
        side = np.array([0.0, 1.0])
        return [
            Columns(
                {
                    TIME: extra * side,
                    LOSS: loss * side,
                    INT8: side,
                    FLOAT: 1.0 - side,
                    **{limit.option: (extra if limit.of_time else 0.0) * side for limit in limits},
                },
                side,
            )
            for extra, loss in zip(self.extra_ms, self.losses, strict=True)
        ]

    def counted(self, limits: Iterable[CostLimit] = ()) -> list[Border]:
        """The borders, with the quantities that their times count in."""
        names = (TIME, *(limit.option for limit in limits if limit.of_time))
        return [replace(border, quantities=names) for border in self.borders]


def gather_beside(study: Study, floats: Sequence[NodeTime]) -> tuple[Beside, dict[str, float]]:
    """Time the network in eight bits beside itself in float, node by node, and what changing between costs.

    Args:
        study: the run, with a network in which something has a form in eight bits.
        floats: times of its nodes in float, in milliseconds of one run.

    Returns:
        The nodes beside the layers; and by output name of a layer, its milliseconds dense in eight bits.
    """
    model, feeds = study.prepared, study.splits.judged_on
    units = int8_units(model)
    whole = in_eight_bits_for_timing(model)
    rounds = open_and_time(
        study.engine, [("in eight bits", serialized(whole))], feeds, seconds=0.5, seed=study.options.seed
    )
    nodes = study.engine.profile(with_node_names(whole), feeds[0], runs=_RUNS)
    ints = _by_value(scaled_to(nodes, rounds.median_ms(0)))
    beside = _by_value(node for node in floats if node.op_type not in CONVOLUTIONS)
    sites = {site.output: number for number, site in enumerate(study.sites)}
    numbers, names, extra, dense = dict[str, int](), list[str](), list[float](), dict[str, float]()
    for unit in units.values():
        own = str(unit.node.outputs[0].name)
        called = dict.fromkeys((*_called(own, unit.name), *added_around(unit.name)))
        took = sum(ints.get(value, 0.0) for value in called)
        if own in sites:
            numbers[unit.name], dense[own] = sites[own], took
            continue
        numbers[unit.name] = len(sites) + len(names)
        names.append(unit.name)
        before = sum(beside.get(value, 0.0) for value in _called(own, unit.name))
        extra.append(took - before)
    borders = tuple(_borders(study, units, numbers))
    return Beside(tuple(names), tuple(extra), borders, (0.0,) * len(names)), dense


def _called(*values: str) -> dict[str, None]:
    """What events of a unit are called after: what its nodes write, also where another took over its name."""
    return dict.fromkeys((*values, *map(raw, values)))


def _by_value(nodes: Iterable[NodeTime]) -> dict[str, float]:
    """Milliseconds by the value that events are called after."""
    found: dict[str, float] = {}
    for node in nodes:
        name = value_of(node.name)
        found[name] = found.get(name, 0.0) + node.median_ms
    return found


def _borders(study: Study, units: Mapping[str, Unit], numbers: Mapping[str, int]) -> list[Border]:
    rates = _Rates.measured(study)
    by_node = {unit.node: unit for unit in units.values()}
    values = dict.fromkeys(value for unit in units.values() for value in (*unit.inputs, unit.output))
    feed, names = study.splits.judged_on[0], [str(value.name) for value in values]
    sizes = sizes_of(study.prepared, names, feed, study.exact)
    found = []
    for value, name in zip(values, names, strict=True):
        size, made, unit = sizes[name], value.producer(), units.get(name)
        readers = [by_node.get(use.node) for use in value.uses()]
        read = [None if reader is None else numbers[reader.name] for reader in readers]
        if value.is_graph_output():
            read.append(None)
        maker = numbers.get(name)
        up, down = rates.of(rates.up, size), rates.of(rates.down, size)
        up *= _PUSHED if made is not None and made.op_type == "MaxPool" else 1.0
        found.append(Border(maker, tuple(dict.fromkeys(read)), up, down))
        if unit is not None and unit.is_weighted:
            found += (
                Border(maker, (numbers[reader.name],), 0.0, rates.of(rates.sums, size))
                for reader in readers
                if reader is not None and reader.node.op_type == "Add"
            )
    return found


@dataclass(frozen=True, eq=False)
class _Rates:
    """Milliseconds a number, of crossing borders with maps of some sizes: large ones do not stay in caches.

    Attributes:
        sizes: of maps, in numbers, rising.
        up: of bringing an activation into eight bits.
        down: of bringing it back.
        sums: of a sum with what comes back: in float alone it would be part of the convolution before it.
    """

    sizes: tuple[int, ...]
    up: tuple[float, ...]
    down: tuple[float, ...]
    sums: tuple[float, ...]

    @classmethod
    def measured(cls, study: Study) -> _Rates:
        """On this machine."""
        found = []
        for side in _SIDES:
            up, down, size = _between(study, side, summed=False)
            _, behind, _ = _between(study, side, summed=True)
            found.append((size, up / size, down / size, max(behind - down, 0.0) / size))
        sizes, ups, downs, sums = zip(*found, strict=True)
        return cls(sizes, ups, downs, sums)

    def of(self, rates: Sequence[float], size: int) -> float:
        """Milliseconds for a map of this size, by one of the rates."""
        return size * float(np.interp(math.log(max(size, 1)), np.log(self.sizes), rates))


def _between(study: Study, side: int, *, summed: bool) -> tuple[float, float, int]:
    """Milliseconds between three convolutions, the middle one in eight bits; and the size of maps."""
    model, middle, shape = border_model(side=side, summed=summed)
    mixed = in_eight_bits_for_timing(model, [middle])
    nodes = study.engine.profile(with_node_names(mixed), {"x": np.zeros(shape, np.float32)}, runs=_RUNS)
    convolutions = [i for i, node in enumerate(nodes) if "Conv" in node.op_type]
    between = [sum(node.median_ms for node in nodes[a + 1 : b]) for a, b in pairwise(convolutions)]
    up, down = between if len(between) == 2 else (sum(between) / 2,) * 2
    return up, down, math.prod(shape)
