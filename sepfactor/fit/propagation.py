"""Run a network along its convolutions with all calibration images at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.errors import ModelError
from sepfactor.graph.bodies import Probe, exposed
from sepfactor.graph.chance import draws_at_random
from sepfactor.graph.partition import Partition, Values
from sepfactor.graph.survey import Site
from sepfactor.measure.engine import Engine
from sepfactor.memory import Stored
from sepfactor.resources import Resources
from sepfactor.threads import Executor, Threads, map_in_order

_ABREAST = 4
"""Images per thread from which threads share out the images: no layer is too small for that."""


class Propagation:
    """The state of every image at one place of the network, and the way to the next place.

    Args:
        model: the network.
        feeds: the images.
        engine: what runs it.
        resources: for the states, and to run images side by side.
    """

    def __init__(
        self,
        model: ir.Model,
        feeds: Sequence[Mapping[str, NDArray[Any]]],
        engine: Engine,
        resources: Resources | None = None,
    ) -> None:
        self.partition = Partition(model)
        resources = resources or Resources()
        self._pool = pool = resources.pool
        self._states = [{name: pool.put(value) for name, value in feed.items()} for feed in feeds]
        # The threads of a session must not hang on the cores of a machine: its sums may round otherwise.
        wanted: Executor = resources.executor if engine.threads == 1 else Threads(engine.threads)
        abreast = wanted.workers > 0 and len(feeds) >= _ABREAST * wanted.workers
        abreast = abreast and not draws_at_random(model)
        self._executor = wanted if abreast else Threads()
        self._engine = engine.with_threads(1) if abreast else engine
        self._position = 0
        self._looks: dict[Probe, Callable[[Mapping[str, Stored]], dict[int, NDArray[Any]]]] = {}

    def advance(self, position: int) -> None:
        """Run every image up to the node at ``position``, that one excluded."""
        segment = self.partition.segment(self._position, position)
        session = None
        if segment.outputs:
            session = self._engine.open(segment.model(self.sample(segment.inputs)), level="all")

        def step(state: dict[str, Stored]) -> None:
            if session is not None:
                made = session.run({name: state[name].load() for name in segment.inputs})
                state.update(zip(segment.outputs, map(self._pool.put, made), strict=True))
            for name in [name for name in state if not self.partition.is_live(name, position)]:
                del state[name]

        map_in_order(self._executor, step, self._states)
        self._position = position
        self._looks = {}

    def advance_for_input(self, site: Site) -> None:
        """Run every image up to what the site reads."""
        self.advance(self.partition.position(site.output))

    def advance_for_answers(self, site: Site) -> None:
        """Run every image until the site has answered, or up to the node whose body it is in."""
        self.advance(self.partition.position(site.output) + (not site.nested))

    def reads(self, image: int, site: Site) -> dict[int, NDArray[Any]]:
        """What the site that is next reads for an image, turn by turn: one turn, unless it is in a body."""
        return self._look(image, site, "input") if site.nested else {0: self.value(image, site.input)}

    def answers(self, image: int, site: Site) -> dict[int, NDArray[Any]]:
        """What it answers there."""
        return self._look(image, site, "output") if site.nested else {0: self.value(image, site.output)}

    def _look(self, image: int, site: Site, role: Literal["input", "output"]) -> dict[int, NDArray[Any]]:
        """Into a body; run anew each time, for all turns of all images would take too much memory."""
        probe = Probe(site.output, role, site.dtype)
        if probe not in self._looks:
            around = replace(self.partition.segment(self._position, self._position + 1), outputs=())
            session = self._engine.open(around.model(self.sample(around.inputs), [probe]), level="all")

            def look(state: Mapping[str, Stored]) -> dict[int, NDArray[Any]]:
                try:
                    values = session.run({name: state[name].load() for name in around.inputs})
                except ModelError:  # turns of a Scan that differ in size for this image do not stack
                    return {}
                return exposed(dict(zip(probe.outputs, values, strict=True)), probe)

            self._looks[probe] = look
        return self._looks[probe](self._states[image])

    def __len__(self) -> int:
        return len(self._states)

    def value(self, image: int, name: str) -> NDArray[Any]:
        """One value of one image."""
        return self._states[image][name].load()

    def shape(self, image: int, name: str) -> tuple[int, ...]:
        """Of one value of one image."""
        return self._states[image][name].shape

    def sample(self, names: Iterable[str]) -> Values:
        """Values of the first image, for their types."""
        return {name: np.empty(0, self._states[0][name].dtype) for name in names}

    def has(self, name: str) -> bool:
        """Whether this value is at hand."""
        return name in self._states[0]

    @property
    def bytes(self) -> int:
        """What the state of all images takes."""
        return sum(value.nbytes for state in self._states for value in state.values())
