"""What averaging before a layer instead of behind it would do, as its averages tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.codes import Reason
from sepfactor.factor.average_first import FORM, NAME, average_first, blocks, grid
from sepfactor.factor.stage import Ints
from sepfactor.fit.evidence import Evidence
from sepfactor.graph.averages import Averaged as AveragedSite
from sepfactor.graph.averages import move_averages
from sepfactor.graph.instrument import with_outputs
from sepfactor.search.candidate import Averaged, Candidate
from sepfactor.search.candidates import Proposal
from sepfactor.search.dense_layer import PlainLayer
from sepfactor.search.settings import SearchSettings
from sepfactor.study.study import Study


def propose_averages(
    study: Study, seen: Evidence, layer: PlainLayer, settings: SearchSettings, most: float | None = None
) -> Proposal:
    """The site on averages over blocks, mildest first, or why there is nothing of the kind.

    Args:
        study: the run.
        seen: of the site.
        layer: the same as numbers.
        settings: of the search.
        most: error allowed; lossless ones always are.
    """
    asked = study.options.for_layer(seen.site.name, seen.site.output).scheme
    if asked and NAME not in asked:
        return Proposal(())
    if seen.averaged is None:
        return Proposal((), Reason("not-averaged", "it is no 1×1 layer whose answers are only averaged"))
    tried = _Comparison(study, layer, seen, settings)
    found = [tried.candidate(block) for block in _worth_trying(seen.averaged, layer.size)]
    cheaper = [c for c in found if c.macs < layer.macs and np.isfinite(c.output_error)]
    if not cheaper:
        return Proposal((), Reason("average-saves-nothing", "averaging first saves nothing"))
    allowed = [c for c in cheaper if c.exact or most is None or c.output_error <= most]
    if not allowed:
        least = min(c.output_error for c in cheaper)
        return Proposal(
            (), Reason("average-too-far-off", "averaged first it is off by too much", f"{least:.3g} at least")
        )
    return Proposal(tuple(allowed))


def lossless_or_all(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Only what loses nothing, if there is any of it: errors multiply on their way through a network."""
    return [c for c in candidates if c.exact] or [*candidates]


def relative_error(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Of answers ``(C, n)``, relative to how far they spread around the mean of each channel; ∞ of NaN."""
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is looked at below
        off, spread = np.sum((after - before) ** 2), np.sum((before - before.mean(1, keepdims=True)) ** 2)
    if not np.isfinite(off):
        return float(np.inf)
    if not spread > 0:  # a single answer
        spread = np.sum(before**2)
    return float(np.sqrt(off / spread)) if spread > 0 else float(off > 0)


class _Comparison:
    """Runs of a network with one site on averages, against runs of it as it is."""

    def __init__(self, study: Study, layer: PlainLayer, seen: Evidence, settings: SearchSettings) -> None:
        assert seen.averaged is not None
        self._study, self._site, self._layer, self._averaged = study, seen.site, layer, seen.averaged
        fit = study.splits.fit
        self._feeds = [fit[i] for i in range(min(len(fit), settings.averaged_runs))]
        self._before = self._averages(study.prepared)

    def candidate(self, block: Ints) -> Averaged:
        """The site on averages over this block; its errors are those of the averages of what it answers."""
        layer = self._layer
        after = self._averages(move_averages(self._study.prepared, {self._site.output: block}).model)
        error = relative_error(self._before, after)
        whole = block or layer.size
        # What an AveragePool leaves over of the map, it leaves over before the layer as well.
        size = tuple(n - n % b for n, b in zip(layer.size, whole, strict=True))
        size = size if self._averaged.block else layer.size
        return Averaged(
            scheme=NAME,
            form=FORM,
            rank=block,
            macs=layer.stage.macs(grid(layer.size, whole)),
            weight_error=0.0,
            output_error=error,
            weighted_error=error,
            exact=self._averaged.linear,
            dense=layer.dense,
            timed=average_first(layer.stage, layer.bias, whole, size),
        )

    def _averages(self, model: ir.Model) -> NDArray[np.float64]:
        """The averages, ``(C, n)``, of all runs."""
        answer = self._averaged.answer
        session = self._study.exact.open(with_outputs(model, [answer]))
        at = [output.name for output in session.get_outputs()].index(answer)
        found = [session.run(feed)[at] for feed in self._feeds]
        rows = [np.moveaxis(x, 1, 0).reshape(x.shape[1], -1) for x in found]
        return np.concatenate(rows, axis=1).astype(np.float64)


def _worth_trying(averaged: AveragedSite, size: Ints) -> list[Ints]:
    if averaged.block:
        return [averaged.block]
    if averaged.linear or averaged.size != size:  # nothing is lost, or maps have no size to make blocks of
        return [()]
    return [*blocks(size)[:-1], ()]
