"""How long networks and their layers take, traced back to the convolutions of the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from sepfactor.graph.instrument import (
    convolution_times,
    in_blocked_layout,
    product_times,
    upstream_convs,
    value_of,
    with_node_names,
)
from sepfactor.graph.survey import Site
from sepfactor.measure.engine import Engine, Feed, NodeTime, Watch
from sepfactor.measure.engines import open_and_time
from sepfactor.measure.profile import scaled_to
from sepfactor.results import LayoutTimes, Speed
from sepfactor.scratch import scratch_folder

CONVOLUTIONS = ("Conv", "FusedConv", "QLinearConv")
PRODUCTS = ("Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "ConvTranspose")
OTHERS = ("Add", "QLinearAdd", "AveragePool", "GlobalAveragePool", "Mul")
_PROFILE_RUNS = 10


def time_networks(
    models: Mapping[str, Path | bytes],
    feeds: Sequence[Feed],
    engine: Engine,
    seconds: float,
    seed: int,
    watch: Watch | None = None,
) -> Speed:
    """Time whole networks in turns.

    Args:
        models: ``original``, perhaps ``prepared``, and ``result``.
        feeds: inputs of runs.
        engine: what runs them.
        seconds: how long.
        seed: of order and bootstrap.
        watch: told which share of it is done.

    Raises:
        ModelError: one of them cannot be run.
    """
    rounds = open_and_time(engine, [*models.items()], feeds, seconds=seconds, seed=seed, watch=watch)
    at = {name: number for number, name in enumerate(models)}
    times = {name: rounds.timing(number) for name, number in at.items()}
    tidying = factoring = None
    if "prepared" in at:
        tidied = rounds.ratio(at["prepared"], at["original"], seed=seed)
        if tidied.measurable:
            tidying, factoring = tidied, rounds.ratio(at["result"], at["prepared"], seed=seed)
    return Speed(
        **dict(rounds.ratio(at["result"], at["original"], seed=seed)),
        original=times["original"],
        result=times["result"],
        prepared=times.get("prepared"),
        tidying=tidying,
        factoring=factoring,
    )


@dataclass(frozen=True, eq=False)
class LayerTimes:
    """Milliseconds of one run, from a profile.

    Attributes:
        convolutions: output name of a Conv, ConvTranspose, Gemm or MatMul → time.
        others: output name of an Add that did not fuse, or of what averages → time.
        operators: operator type → time.
        nodes: all of them, in the order they run in.
    """

    convolutions: Mapping[str, float]
    others: Mapping[str, float]
    operators: Mapping[str, float]
    nodes: Sequence[NodeTime] = ()

    @property
    def whole(self) -> float:
        """Milliseconds of all operators."""
        return sum(self.operators.values())

    def of_sites(self, sites: Sequence[Site]) -> tuple[float | None, ...]:
        """Milliseconds of each site, where the network they were found in was profiled."""
        return tuple(self.convolutions.get(site.output) for site in sites)

    def of_original(self, model: ir.Model, sites: Sequence[Site]) -> tuple[float | None, ...]:
        """Milliseconds of each site, where ``model``, the original, was profiled: it is not folded yet."""
        upstream = upstream_convs(model, (site.output for site in sites))
        return tuple(None if conv is None else self.convolutions.get(conv) for conv in upstream)

    def of_rebuilt(self, sites: Sequence[Site], site_of: Mapping[str, str]) -> tuple[float | None, ...]:
        """Milliseconds of all that stands for each site in a rebuilt network, which was profiled.

        Args:
            sites: of the network before.
            site_of: output name of a new node → output name of the site it stands for.
        """
        total: dict[str, float] = {}
        for output, milliseconds in self.convolutions.items():
            site = site_of.get(output, output)
            total[site] = total.get(site, 0.0) + milliseconds
        for output, milliseconds in self.others.items():
            if output in site_of:
                total[site_of[output]] = total.get(site_of[output], 0.0) + milliseconds
        return tuple(total.get(site.output) for site in sites)


def profile_layers(
    model: ir.Model,
    feed: Feed,
    engine: Engine,
    runs: int = _PROFILE_RUNS,
    watch: Watch | None = None,
    whole_ms: float | None = None,
) -> LayerTimes:
    """Profile ``model`` in a session of its own, and trace events back to its Conv nodes.

    Args:
        model: the network.
        feed: one run's inputs.
        engine: what runs it.
        runs: how many the times are medians of.
        watch: told which share of them is done.
        whole_ms: what one run takes when it is not profiled. A profile costs time itself: what a layer
            takes of it, it takes of such a run. None leaves its milliseconds alone.
    """
    nodes = scaled_to(engine.profile(with_node_names(model), feed, runs=runs, watch=watch), whole_ms)
    operators: dict[str, float] = {}
    for node in nodes:
        operators[node.op_type] = operators.get(node.op_type, 0.0) + node.median_ms
    convolutions, products = (
        {node.name: node.median_ms for node in nodes if node.op_type in kinds}
        for kinds in (CONVOLUTIONS, PRODUCTS)
    )
    others = {value_of(node.name): node.median_ms for node in nodes if node.op_type in OTHERS}
    layers = convolution_times(model, convolutions) | product_times(model, products)
    return LayerTimes(layers, others, operators, nodes)


_REORDERS = ("ReorderInput", "ReorderOutput")


def layout_times(model: ir.Model, times: LayerTimes, engine: Engine) -> LayoutTimes | None:
    """Milliseconds by layout; None where the engine does not show the graph it runs.

    Args:
        model: that was profiled.
        times: of it.
        engine: what ran it.

    Raises:
        ModelError: the network cannot be loaded.
    """
    with scratch_folder() as folder:
        optimised = Path(folder) / "optimised.onnx"
        engine.open(with_node_names(model), optimised_path=optimised)
        if not optimised.exists():
            return None
        blocked = in_blocked_layout(optimised)
    reorders = sum(node.median_ms for node in times.nodes if node.op_type in _REORDERS)
    inside = sum(node.median_ms for node in times.nodes if node.name in blocked)
    return LayoutTimes(blocked=inside, reorders=reorders, plain=max(times.whole - inside - reorders, 0.0))
