"""What a network takes in eight bits: all of it that can be there, node by node, and what borders cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from sepfactor.graph.instrument import serialized, value_of, with_node_names
from sepfactor.graph.int8 import Unit, added_around, in_eight_bits_for_timing, raw
from sepfactor.graph.lower import border_model
from sepfactor.measure.engine import NodeTime
from sepfactor.measure.engines import open_and_time
from sepfactor.measure.profile import scaled_to
from sepfactor.plans.machine import BorderTimes, Int8Times
from sepfactor.study.profiling import CONVOLUTIONS
from sepfactor.study.study import Study

_RUNS = 20

_SIDES = (28, 112, 224)
"""Of maps of 64 channels, that borders are timed on."""


def measured_int8(study: Study, units: Mapping[str, Unit], floats: Sequence[NodeTime]) -> Int8Times:
    """Time the network in eight bits beside itself in float, node by node, and what changing between costs.

    Args:
        study: the run.
        units: of its network, by name.
        floats: times of its nodes in float, in milliseconds of one run.
    """
    feeds, whole = study.splits.judged_on, in_eight_bits_for_timing(study.prepared)
    rounds = open_and_time(
        study.engine, [("in eight bits", serialized(whole))], feeds, seconds=0.5, seed=study.options.seed
    )
    nodes = study.engine.profile(with_node_names(whole), feeds[0], runs=_RUNS)
    ints = _by_value(scaled_to(nodes, rounds.median_ms(0)))
    beside = _by_value(node for node in floats if node.op_type not in CONVOLUTIONS)
    sites = {site.output for site in study.sites}
    layers, others = dict[str, float](), dict[str, float]()
    for unit in units.values():
        own = str(unit.node.outputs[0].name)
        called = _called(own, unit.name)
        took = sum(ints.get(value, 0.0) for value in dict.fromkeys((*called, *added_around(unit.name))))
        if own in sites:
            layers[own] = took
        else:
            others[unit.name] = took - sum(beside.get(value, 0.0) for value in called)
    return Int8Times(layers=layers, nodes=others, borders=_measured_borders(study))


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


def _measured_borders(study: Study) -> BorderTimes:
    """On this machine."""
    found = []
    for side in _SIDES:
        up, down, size = _between(study, side, summed=False)
        _, behind, _ = _between(study, side, summed=True)
        found.append((size, up / size, down / size, max(behind - down, 0.0) / size))
    sizes, ups, downs, sums = zip(*found, strict=True)
    return BorderTimes(sizes=sizes, up=ups, down=downs, sums=sums)


def _between(study: Study, side: int, *, summed: bool) -> tuple[float, float, int]:
    """Milliseconds between three convolutions, the middle one in eight bits; and the size of maps."""
    model, middle, shape = border_model(side=side, summed=summed)
    mixed = in_eight_bits_for_timing(model, [middle])
    nodes = study.engine.profile(with_node_names(mixed), {"x": np.zeros(shape, np.float32)}, runs=_RUNS)
    convolutions = [i for i, node in enumerate(nodes) if "Conv" in node.op_type]
    between = [sum(node.median_ms for node in nodes[a + 1 : b]) for a, b in pairwise(convolutions)]
    up, down = between if len(between) == 2 else (sum(between) / 2,) * 2
    return up, down, math.prod(shape)
