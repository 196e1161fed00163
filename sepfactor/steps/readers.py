"""What the layers that read an answer make of errors in it, site by site."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from sepfactor.factor.output_metric import OutputMetric
from sepfactor.graph.readers import reading_grams
from sepfactor.graph.survey import Site

_MOST_WEIGHED = 1024
"""Output channels of a group up to which errors are weighed: the metric is a matrix of that size."""


def output_metrics(model: ir.Model, sites: Iterable[Site]) -> dict[str, OutputMetric]:
    """The metric of each site whose answer convolutions read, by the name of the answer.

    Args:
        model: the prepared network.
        sites: of it.
    """
    stages = {site.output: site.stage for site in sites if site.stage is not None}
    wanted = [name for name, s in stages.items() if s.out_channels // s.group <= _MOST_WEIGHED]
    return {
        name: OutputMetric.of(gram, stages[name].group)
        for name, gram in reading_grams(model, wanted).items()
        if len(gram) == stages[name].out_channels
    }
