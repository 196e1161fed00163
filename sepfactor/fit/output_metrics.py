"""What the layers that read an answer make of errors in it, site by site."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from sepfactor.factor.output_metric import OutputMetric
from sepfactor.graph.consumers import consumer_grams
from sepfactor.graph.survey import Site

_MOST_WEIGHED = 1024
"""Output channels of a group up to which errors are weighed: the metric is a matrix of that size."""


def output_metrics(model: ir.Model, sites: Iterable[Site]) -> dict[str, OutputMetric]:
    """The metric of each site whose answer convolutions read, by the name of the answer.

    Args:
        model: the prepared network.
        sites: of it.
    """
    stages = {s.output: s.stage for s in sites if s.stage is not None and s.kind.has_channels_second}
    stages = {name: s for name, s in stages.items() if s.out_channels // s.group <= _MOST_WEIGHED}
    grams = consumer_grams(model, {name: stage.out_channels for name, stage in stages.items()})
    return {name: OutputMetric.of(gram, stages[name].group) for name, gram in grams}
