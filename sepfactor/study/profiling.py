"""How long networks and their layers take, traced back to the convolutions of the original."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from sepfactor.graph.instrument import (
    convolution_times,
    product_times,
    upstream_conv,
    value_of,
    with_node_names,
)
from sepfactor.measure.profile import profile_nodes
from sepfactor.measure.session import Runtime, open_session, run
from sepfactor.measure.timing import interleave, ratio, summarise
from sepfactor.report.model import Speed

CONVOLUTIONS = ("Conv", "FusedConv")
PRODUCTS = ("Gemm", "FusedGemm", "MatMul", "FusedMatMul", "ConvTranspose")
OTHERS = ("Add", "AveragePool", "GlobalAveragePool", "Mul")
_PROFILE_RUNS = 10

Feed = Mapping[str, np.ndarray]
Watch = Callable[[float], None]


def time_networks(
    models: Mapping[str, Path | bytes],
    feed: Feed,
    runtime: Runtime,
    seconds: float,
    seed: int,
    watch: Watch | None = None,
) -> Speed:
    """Interleave whole networks.

    Args:
        models: ``original``, perhaps ``prepared``, and ``result``.
        feed: one run's inputs.
        runtime: threads and provider, the same for all.
        seconds: how long.
        seed: of order and bootstrap.
        watch: told which share of it is done.
    """
    calls = []
    for model in models.values():
        session = open_session(model, runtime)
        run(session, feed)  # fails with a sentence here, not in the middle of the timing
        calls.append(lambda s=session: s.run(None, dict(feed)))
    rows = interleave(calls, budget_s=seconds, precision=0.005, seed=seed, watch=watch)
    samples = dict(zip(models, rows, strict=True))
    prepared_matters = (
        "prepared" in models and ratio(samples["original"], samples["prepared"], seed=seed).measurable
    )
    against = {
        name: ratio(samples[name], samples["result"], seed=seed).as_dict()
        for name in ("original", "prepared")
        if name == "original" or prepared_matters
    }
    return Speed(
        runs={name: summarise(row).as_dict() for name, row in samples.items()},
        speedup=against["original"],
        factorisation=against.get("prepared"),
    )


@dataclass(frozen=True, eq=False)
class LayerTimes:
    """Milliseconds of one run, from a profile.

    Attributes:
        convolutions: output name of a Conv, ConvTranspose, Gemm or MatMul → time.
        others: output name of an Add that did not fuse, or of what averages → time.
        operators: operator type → time.
    """

    convolutions: Mapping[str, float]
    others: Mapping[str, float]
    operators: Mapping[str, float]


def profile_layers(
    model: ir.Model, feed: Feed, runtime: Runtime, runs: int = _PROFILE_RUNS, watch: Watch | None = None
) -> LayerTimes:
    """Profile ``model`` in a session of its own, and trace events back to its Conv nodes."""
    nodes = profile_nodes(with_node_names(model), feed, runtime, runs=runs, watch=watch)
    operators: dict[str, float] = {}
    for node in nodes:
        operators[node.op_type] = operators.get(node.op_type, 0.0) + node.median_ms
    convolutions, products = (
        {node.name: node.median_ms for node in nodes if node.op_type in kinds}
        for kinds in (CONVOLUTIONS, PRODUCTS)
    )
    others = {value_of(node.name): node.median_ms for node in nodes if node.op_type in OTHERS}
    layers = convolution_times(model, convolutions) | product_times(model, products)
    return LayerTimes(layers, others, operators)


def times_before(model: ir.Model, times: LayerTimes, outputs: Iterable[str]) -> dict[str, float]:
    """Milliseconds by the output value of a site, where ``model`` is the original, not yet folded."""
    found = {}
    for output in outputs:
        conv = upstream_conv(model, output)
        if conv is not None and conv in times.convolutions:
            found[output] = times.convolutions[conv]
    return found


def times_after(times: LayerTimes, site_of: Mapping[str, str]) -> dict[str, float]:
    """Milliseconds by site of a rebuilt model: everything that stands for a site, added up.

    Args:
        times: the profile of the rebuilt model.
        site_of: output name of a new node → output name of the site it belongs to.
    """
    total: dict[str, float] = {}
    for output, milliseconds in times.convolutions.items():
        site = site_of.get(output, output)
        total[site] = total.get(site, 0.0) + milliseconds
    for output, milliseconds in times.others.items():
        if output in site_of:
            total[site_of[output]] = total.get(site_of[output], 0.0) + milliseconds
    return total
