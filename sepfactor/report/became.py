"""What became of each layer, as a drawing: the network before and after, in the order of the graph.

A layer that was replaced is a row: its kernel as a box, what stands for it as boxes in chains, and two bars
under one another whose lengths are what both take. Layers that stay are counted between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from sepfactor.report.charts import what_became
from sepfactor.results import Layer, StageRow
from sepfactor.words import change, count, kernel_text, milliseconds, plural, sort_of

OPEN_TO = 60
"""So many rows are shown without being asked for."""


class Chain(NamedTuple):
    """Stages in a row, and how many such chains are summed."""

    times: int
    stages: tuple[str, ...]


class Became(NamedTuple):
    """A layer that was replaced.

    Attributes:
        number: of the layer in the table.
        name: of it.
        kernel: that it had.
        chains: what stands for it, summed; one that has no stages is told by ``form`` instead.
        form: scheme and rank.
        cost: before → after, in words.
        before: length of its bar, percent of the longest.
        after: the same of what stands for it.
        parts: shares of the second bar, a stage each.
    """

    number: int
    name: str
    kernel: str
    chains: tuple[Chain, ...]
    form: str
    cost: str
    before: float
    after: float
    parts: tuple[float, ...]


class Drawing(NamedTuple):
    """Rows in the order of the graph: a layer that was replaced, or how many stay in between, in words."""

    rows: tuple[Became | str, ...]
    unit: str
    is_open: bool


def drawing(layers: Sequence[Layer]) -> Drawing | None:
    """The network before and after; None where nothing was replaced."""
    replaced = [layer for layer in layers if layer.replaced]
    if not replaced:
        return None
    timed = all(None not in (one.milliseconds_before, one.milliseconds_after) for one in replaced)
    costs = {id(one): _cost(one, timed) for one in replaced}
    longest = max((side for cost in costs.values() for side in cost), default=0) or 1.0
    rows = tuple(_rows(layers, {key: (a / longest, b / longest) for key, (a, b) in costs.items()}, timed))
    unit = "milliseconds in the whole network" if timed else "multiply-accumulates"
    return Drawing(rows, unit, len(rows) <= OPEN_TO)


def _cost(layer: Layer, timed: bool) -> tuple[float, float]:
    before, after = (
        (layer.milliseconds_before, layer.milliseconds_after)
        if timed
        else (layer.macs_before, layer.macs_after)
    )
    return float(before or 0), float(after or 0)


def _rows(
    layers: Sequence[Layer], lengths: dict[int, tuple[float, float]], timed: bool
) -> Iterator[Became | str]:
    numbered = enumerate(layers, 1)
    for replaced, group in groupby(numbered, lambda pair: pair[1].replaced):
        if replaced:
            yield from (_became(number, layer, lengths[id(layer)], timed) for number, layer in group)
        else:
            kept = [layer for _, layer in group]
            sort = sort_of(layer.weight_shape for layer in kept)
            yield plural(len(kept), sort.removesuffix("s")) + (" stays" if len(kept) == 1 else " stay")


def _became(number: int, layer: Layer, length: tuple[float, float], timed: bool) -> Became:
    ms = change(layer.milliseconds_before, layer.milliseconds_after, milliseconds)
    cost = f"{ms} ms" if timed else f"{change(layer.macs_before, layer.macs_after, count)} MACs"
    chains = [tuple(_stage(stage) for stage in chain) for chain in layer.chains]
    macs = [float(stage.macs or 0) for chain in layer.chains for stage in chain]
    whole = sum(macs)
    return Became(
        number=number,
        name=layer.name or layer.output,
        kernel=kernel_text(layer.weight_shape, layer.group, layer.strides),
        chains=tuple(Chain(len([*same]), stages) for stages, same in groupby(chains)),
        form=what_became(layer) + (f": {layer.form}" if layer.form else ""),
        cost=cost,
        before=100 * length[0],
        after=100 * length[1],
        parts=tuple(one / whole for one in macs) if whole else (1.0,),
    )


def _stage(stage: StageRow) -> str:
    return kernel_text(stage.weight_shape, stage.group, stage.strides)
