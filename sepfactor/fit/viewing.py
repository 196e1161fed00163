"""Networks that show what their sites read, as they run."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.data import Feed
from sepfactor.errors import ModelError
from sepfactor.graph.bodies import Probe, exposed
from sepfactor.graph.instrument import with_outputs, with_shapes
from sepfactor.graph.partition import Partition
from sepfactor.graph.survey import Site
from sepfactor.measure.engine import Engine, Session

Values = dict[str, NDArray[Any]]


class Walk:
    """A network that is run part by part, and shows at each what the sites there read.

    Only what one part shows is in memory, and what the parts behind it read.

    Args:
        model: the network.
        parts: sites of its graph, none of them in a body, in its order.
        engine: what runs it.
    """

    def __init__(self, model: ir.Model, parts: Sequence[Sequence[Site]], engine: Engine) -> None:
        self._partition, self._engine = Partition(model), engine
        self._ends = [max(self._partition.position(site.output) for site in part) for part in parts]
        self._segments = []
        begin = 0
        for part, end in zip(parts, self._ends, strict=True):
            segment = self._partition.segment(begin, end)
            made = {name for node in segment.nodes for name in node.output}
            shown = (site.input for site in part if site.input in made)
            self._segments.append(replace(segment, outputs=(*dict.fromkeys((*segment.outputs, *shown)),)))
            begin = end
        self._sessions: list[Session | None] = []

    def values(self, feed: Feed) -> Iterator[Values]:
        """Part by part, what it shows of a run."""
        state: Values = dict(feed)
        for number, (segment, end) in enumerate(zip(self._segments, self._ends, strict=True)):
            if number == len(self._sessions):
                opened = self._engine.open(segment.model(state), level="basic") if segment.outputs else None
                self._sessions.append(opened)
            session = self._sessions[number]
            if session is not None:
                made = session.run({name: state[name] for name in segment.inputs})
                state |= zip(segment.outputs, made, strict=True)
                del made
            yield state
            for name in [name for name in state if not self._partition.is_live(name, end)]:
                del state[name]


class Within:
    """A network that shows what sites in its bodies read.

    Args:
        model: the network.
        probes: what to look at.
        engine: what runs it.
    """

    def __init__(self, model: ir.Model, probes: Collection[Probe], engine: Engine) -> None:
        self._model, self._engine = model, engine
        self._open(probes)

    def _open(self, probes: Collection[Probe]) -> None:
        view = with_outputs(self._model, (), [*probes])
        self._probes, self._session = probes, self._engine.open(view, level="basic")

    def values(self, feed: Feed) -> Values:
        """What it shows of a run.

        Turns of a Scan whose maps differ in size do not stack: then no body is looked into any more.
        """
        try:
            found = self._session.run(feed)
        except ModelError:
            if self.is_blind:
                raise
            self._open(())
            return self.values(feed)
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, found, strict=True))

    @property
    def is_blind(self) -> bool:
        """Whether it looks into no body."""
        return not self._probes

    def turns(self, values: Mapping[str, NDArray[Any]], probe: Probe) -> Mapping[int, NDArray[Any]]:
        """What a probe saw, turn by turn."""
        return {} if self.is_blind else exposed(values, probe)


def in_parts(
    model: ir.Model, sites: Sequence[Site], feed: Feed, engine: Engine, most: int
) -> list[list[Site]]:
    """Sites in parts, so that what those of a part read in one run is ``most`` bytes, or one map.

    Args:
        model: the network.
        sites: of its graph, in its order.
        feed: one run's inputs.
        engine: what runs it.
        most: bytes.
    """
    names = [*dict.fromkeys(site.input for site in sites)]
    sizes = sizes_of(model, names, feed, engine) if len(names) > 1 else {}
    parts: list[list[Site]] = []
    held: dict[str, int] = {}
    for site in sites:
        size = {site.input: sizes.get(site.input, 0) * np.dtype(site.dtype).itemsize}
        if not parts or sum((held | size).values()) > most:
            parts.append([])
            held = {}
        parts[-1].append(site)
        held |= size
    return parts


def sizes_of(model: ir.Model, names: Sequence[str], feed: Feed, engine: Engine) -> dict[str, int]:
    """How many numbers each of some values of a run is; none of them is kept.

    Args:
        model: the network.
        names: of values of its graph.
        feed: one run's inputs.
        engine: what runs it.
    """
    if not names:
        return {}
    shapes = engine.open(with_shapes(model, names), level="basic", use="shapes").run(feed)
    return dict(zip(names, (math.prod(shape.tolist()) for shape in shapes), strict=True))
