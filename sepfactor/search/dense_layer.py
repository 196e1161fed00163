"""A convolution to find candidates for: its numbers, what it sees, and how its errors count."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from sepfactor.factor import Factorization, Stage, Statistics
from sepfactor.factor.moments import Moments
from sepfactor.factor.output_metric import OutputMetric, both_positive
from sepfactor.factor.stage import Array, Ints
from sepfactor.factor.statistics import ReplacementErrors
from sepfactor.layout import BLOCK
from sepfactor.memory import Pool

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
class Aim:
    """What candidates of a layer are fitted to.

    Attributes:
        target: the layer, as those see its answer who read it.
        moments: what it reads, and should answer so.
        metric: takes factors back to answers as they are; None where these count alike.
    """

    target: Stage
    moments: Moments
    metric: OutputMetric | None = None


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
        pool: keeps the factors of candidates; None for memory without a bound.
    """

    statistics: Statistics
    epsilon: float
    ridge: float | None = None
    block: int = BLOCK
    metric: OutputMetric | None = None
    rectified: bool = False
    offset: Array | None = None
    pool: Pool | None = None
    _aims: dict[bool | None, Aim] = field(default_factory=dict, init=False, repr=False)

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

    def aim_for(self, form: Factorization | None) -> Aim | None:
        """What factors of this form are fitted to; None where nothing is fitted.

        It is one of three: where answers count as those have it who read them, in full or channel by channel,
        and without a form alike.
        """
        if self.moments is None:
            return None
        whole = self.metric_before_relu
        metric = None if whole is None or form is None else whole.for_form(form)
        weighed = None if metric is None else metric is whole
        if weighed not in self._aims:
            self._aims[weighed] = self._aim(self.moments, metric)
        return self._aims[weighed]

    def _aim(self, moments: Moments, metric: OutputMetric | None) -> Aim:
        target = self.stage
        if metric is not None:
            target, moments = metric.whiten_stage(target), metric.whiten_moments(moments)
        weight = target.weight.astype(moments.inputs.dtype, copy=False)
        return Aim(replace(target, weight=weight), moments, metric)

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

    @cached_property
    def errors(self) -> ReplacementErrors:
        """Of replacements, where they are judged, and as those see them who read the answer."""
        return ReplacementErrors(
            self.parts[1], self.stage, self.bias, self.offset, self.metric, rectified=self.rectified
        )

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
