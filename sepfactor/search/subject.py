"""A convolution to find replacements for, and what one of them is like."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sepfactor.factor import Factorization, Rank, Stage, Statistics
from sepfactor.factor.moments import Moments
from sepfactor.factor.output_metric import OutputMetric, both_positive
from sepfactor.factor.stage import Array, Ints
from sepfactor.layout import BLOCK

WIDE = 1000
"""Entries per patch from which candidates are compared roughly: in float32, last factors not solved for."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One scheme at one rank for one site.

    Attributes:
        scheme: name of the scheme. form: its chain in a few signs. rank: () where a scheme has none.
        factorization: what to build.
        macs: multiply-accumulates on the site's map.
        weight_error: relative, ``‖W − W'‖ / ‖W‖``.
        output_error: relative, on the sample of patches.
        weighted_error: the same as those who read the answer see it: behind a ReLU,
            and as their kernels weigh it.
        exact: nothing but rounding is lost.
        block: pixels of the blocks its input is averaged over first, () for the whole map; else None.
        timed: what takes as long, where more than the factorization is written.
    """

    scheme: str
    form: str
    rank: Rank
    factorization: Factorization
    macs: int
    weight_error: float
    output_error: float
    weighted_error: float
    exact: bool
    block: Ints | None = None
    timed: Factorization | None = None

    @property
    def to_time(self) -> Factorization:
        """What takes as long as it, as numbers."""
        return self.timed or self.factorization

    def parameters(self, bias: Array | None) -> int:
        """Weights and biases of what is written; ``bias`` is that of the layer, which it takes over."""
        inherited = 0 if bias is None or self.factorization.bias is not None else bias.size
        return self.factorization.parameters + inherited

    @property
    def label(self) -> str:
        """Scheme and rank, for people."""
        return f"{self.scheme} {rank_text(self.rank)}".strip()


@dataclass(frozen=True, eq=False)
class Subject:
    """A convolution to find candidates for.

    Attributes:
        stage: the dense convolution. bias: ``(out,)`` or None. size: its input map.
        statistics: patches it sees.
        epsilon: of the dtype its weights are stored in.
        block: widths are multiples of it, where the layer is that wide.
        ridge: ridge towards the weights for fitting to the patches; None to factor the bare weights.
        metric: of errors of its answer, behind the ReLU if there is one; None counts channels alike.
        rectified: whether it is only seen behind a ReLU. offset: ``(out,)``, added to the answer before that.
    """

    stage: Stage
    bias: Array | None
    size: Ints
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
    def dense(self) -> Factorization:
        """The layer itself."""
        return Factorization.of(self.stage, self.bias)

    @property
    def is_wide(self) -> bool:
        """Whether patches have so many entries that solving for factors takes seconds."""
        return bool(self.stage.weight[0].size >= WIDE)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the dense layer."""
        return self.stage.macs(self.size)


def rank_text(rank: Rank) -> str:
    """``32``, ``16×48`` or nothing."""
    return "×".join(map(str, rank))


def _sum(bias: Array | None, offset: Array | None) -> Array | None:
    return bias if offset is None else offset if bias is None else bias + offset
