"""What lies between the layers, and may compute in eight bits as well: its times, and what borders cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sepfactor.budgets import CostLimit
from sepfactor.fit.viewing import sizes_of
from sepfactor.graph.int8 import Unit, int8_units
from sepfactor.measure.engine import NodeTime
from sepfactor.plans.knapsack import Border
from sepfactor.plans.knapsack import Options as Columns
from sepfactor.plans.machine import BorderTimes, Int8Times
from sepfactor.search.int8_times import measured_int8
from sepfactor.study.study import Study

TIME, LOSS, INT8, FLOAT = "time", "loss", "int8", "float"
"""Quantities that every option has, beside those that a budget limits; the last two count what is in
eight bits, and what is not though it may be."""

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
        times: what all of that was made from; None where nothing has a form in eight bits.
    """

    names: tuple[str, ...] = ()
    extra_ms: tuple[float, ...] = ()
    borders: tuple[Border, ...] = ()
    losses: tuple[float, ...] = ()
    times: Int8Times | None = None

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


def gather_beside(study: Study, floats: Sequence[NodeTime]) -> Beside:
    """What lies beside the layers, by times of the machine that is planned for: measured, or of its profile.

    Args:
        study: the run, with a network in which something has a form in eight bits.
        floats: times of its nodes in float, in milliseconds of one run.
    """
    units = int8_units(study.prepared)
    if study.machine is not None:
        times = study.machine.int8 or Int8Times()
    else:
        times = study.journal.remember(
            "all of it in eight bits", Int8Times, lambda: measured_int8(study, units, floats)
        )
    sites = {site.output: number for number, site in enumerate(study.sites)}
    numbers, names = dict[str, int](), list[str]()
    for unit in units.values():
        own = str(unit.node.outputs[0].name)
        if own in sites:
            numbers[unit.name] = sites[own]
        else:
            numbers[unit.name] = len(sites) + len(names)
            names.append(unit.name)
    extra = tuple(times.nodes.get(name, 0.0) for name in names)
    borders = tuple(_borders(study, units, numbers, times.borders))
    return Beside(tuple(names), extra, borders, (0.0,) * len(names), times)


def _borders(
    study: Study, units: Mapping[str, Unit], numbers: Mapping[str, int], rates: BorderTimes
) -> list[Border]:
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
