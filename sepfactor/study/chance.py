"""Networks that draw at random, with the same draws in all that is measured of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx_ir as ir

from sepfactor.factor.stage import Ints
from sepfactor.graph.chance import Seeds, seeded, seeds_for, unseeded
from sepfactor.graph.instrument import serialized
from sepfactor.graph.load import Loaded, load
from sepfactor.graph.rebuild import Replacement
from sepfactor.measure.engine import Engine
from sepfactor.study.network import Network, open_network


@dataclass(frozen=True, eq=False)
class Drawing(Network):
    """A network whose nodes that draw at random are given seeds while it is worked on.

    Attributes:
        original: as it was handed in.
        seeds: that its nodes have in ``loaded`` and ``prepared``, and not in what is written.
    """

    original: Loaded = field(kw_only=True)
    seeds: Seeds = field(kw_only=True)

    @property
    def may_be_rewritten(self) -> bool:
        """What draws at random is never the same twice, so whether it computes the same cannot be seen."""
        return False

    @property
    def source(self) -> Loaded:
        """The network as it was handed in."""
        return self.original

    def to_write(
        self, rebuilt: ir.Model, replacements: Sequence[Replacement], blocks: Mapping[str, Ints]
    ) -> ir.Model:
        """What is run became ``rebuilt``: the same without seeds."""
        return unseeded(rebuilt, self.seeds)

    def runnable(self, written: Path) -> bytes:
        """What a file holds, with the seeds."""
        return serialized(seeded(load(written).model, self.seeds))


def open_drawing(
    loaded: Loaded, engine: Engine, *, dequantize: bool = False, linear_layers: bool = False
) -> Network:
    """As :func:`~sepfactor.study.network.open_network`; nodes that draw at random draw alike in all copies.

    Raises:
        ModelError: it cannot be run, and nothing that could be gained from would be left of it.
    """
    seeds = seeds_for(loaded.model)
    if seeds:
        model = seeded(loaded.model, seeds)
        note = (
            f"The network draws at random in {len(seeds)} of its nodes, without a seed. All copies that are "
            "measured draw alike; the file written draws as the original does."
        )
        alike = replace(loaded, model=model, runnable=serialized(model), notes=(*loaded.notes, note))
        found = open_network(alike, engine, dequantize=dequantize, linear_layers=linear_layers)
        if not found.is_stand_in:
            return Drawing(
                alike, found.prepared, found.sites, (*found.notes, note), original=loaded, seeds=seeds
            )
    return open_network(loaded, engine, dequantize=dequantize, linear_layers=linear_layers)
