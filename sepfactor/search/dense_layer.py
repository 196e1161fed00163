"""A convolution to find candidates for: its numbers, what it sees, and how its errors count."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sepfactor.factor import Factorization, Stage, Statistics
from sepfactor.factor.moments import Moments
from sepfactor.factor.output_metric import OutputMetric, both_positive
from sepfactor.factor.stage import Array, Ints
from sepfactor.layout import BLOCK

WIDE = 1000
"""Entries per patch from which candidates are compared roughly: in float32, last factors not solved for."""


@dataclass(frozen=True, eq=False)
class PlainLayer:
    """A convolution on a map.

    Attributes:
        stage: the dense convolution.
        bias: ``(out,)`` or None.
        size: its input map.
    """

    stage: Stage
    bias: Array | None
    size: Ints

    @property
    def dense(self) -> Factorization:
        """The layer itself."""
        return Factorization.of(self.stage, self.bias)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the dense layer."""
        return self.stage.macs(self.size)


@dataclass(frozen=True, eq=False)
class DenseLayer(PlainLayer):
    """A convolution to find candidates for.

    Attributes:
        statistics: patches it sees.
        epsilon: of the dtype its weights are stored in.
        block: widths are multiples of it, where the layer is that wide.
        ridge: ridge towards the weights for fitting to the patches; None to factor the bare weights.
        metric: of errors of its answer, behind the ReLU if there is one; None counts channels alike.
        rectified: whether it is only seen behind a ReLU.
        offset: ``(out,)``, added to the answer before that.
    """

    statistics: Statistics
    epsilon: float
    ridge: float | None = None
    block: int = BLOCK
    metric: OutputMetric | None = None
    rectified: bool = False
    offset: Array | None = None

    @cached_property
    def parts(self) -> tuple[Statistics, Statistics]:
        """Patches to fit on, and patches to judge on: all of them where nothing is fitted."""
        return (self.statistics, self.statistics) if self.ridge is None else self.statistics.parts()

    @cached_property
    def moments(self) -> Moments | None:
        """What to fit to."""
        if self.ridge is None:
            return None
        moments = self.parts[0].moments(self.stage, self.bias, spread=self.metric is not None)
        moments = moments.ridged(self.stage.weight, self.ridge)
        return moments.single() if self.is_wide else moments

    @cached_property
    def metric_before_relu(self) -> OutputMetric | None:
        """What fits are to be weighed by."""
        if self.metric is None or not self.rectified:
            return self.metric
        answers = self.parts[0].outputs(self.stage.weight, self.stage.group)
        bias = _sum(self.bias, self.offset)
        if bias is not None:
            answers = answers + bias.astype(np.float32)
        return self.metric.behind(both_positive(answers, self.stage.group))

    def weighted_error(self, replacement: Factorization) -> float:
        """Relative error of a replacement as those see it who read the answer."""
        bias, shifted = (_sum(one, self.offset) for one in (self.bias, replacement.bias))
        found = replace(replacement, bias=shifted)
        return self.parts[1].weighted_error(self.stage, found, bias, self.metric, self.rectified)

    @property
    def plain(self) -> PlainLayer:
        """The same without what it sees."""
        return PlainLayer(self.stage, self.bias, self.size)

    @property
    def is_wide(self) -> bool:
        """Whether patches have so many entries that solving for factors takes seconds."""
        return bool(self.stage.weight[0].size >= WIDE)


def _sum(bias: Array | None, offset: Array | None) -> Array | None:
    return bias if offset is None else offset if bias is None else bias + offset
