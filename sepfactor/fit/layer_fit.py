"""Fit one site to what it reads and should answer: the best of several ridges, by held-out rows.

Where a ReLU follows, factors are fitted to what it lets through; and errors count by what the layers make of
them that read the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sepfactor.factor import Factorization, Scheme, Stage, select_schemes
from sepfactor.factor.moments import Moments
from sepfactor.factor.output_metric import OutputMetric
from sepfactor.factor.refit import refit
from sepfactor.factor.scheme import Rank
from sepfactor.factor.statistics import on_grid
from sepfactor.fit.relu import error_behind_relu, refit_behind_relu
from sepfactor.fit.samples import Rows
from sepfactor.fit.settings import FitSettings, ridge_bytes
from sepfactor.graph.survey import Site
from sepfactor.resources import Resources
from sepfactor.threads import map_in_order, one_blas_thread

_BROAD, _BROAD_RIDGES = 1000, (1e-3, 1e-2, 1e-1)
"""Entries per patch from which a layer is fitted with less effort, and what it chooses from."""

_WIDE, _WIDE_RIDGES = 2000, (1e-3, 1e-2)
"""The same for still less, without regard to a ReLU."""

_ONE_RIDGE = (1e-2,)
"""What both get where plans are only compared."""

_LEAST_GAIN = 1e-3
"""A kept layer gets new weights only if they miss so much less of the held-out variance, relatively."""

_LEAST_ERROR = 1e-3
"""A kept layer that is off by less has nothing to correct: what it reads is as it was, or rounding."""


@dataclass(frozen=True, eq=False)
class FitTask:
    """What is to become of a site.

    Attributes:
        site: where.
        schemes: what to factor it into; the held-out data choose where there are several. Without any it
            stays dense and is corrected.
        rank: of the factors.
        fixed: or exactly this, unfitted, as for lossless rewrites.
        metric: of errors of factors, behind the ReLU if there is one; None counts channels alike.
    """

    site: Site
    schemes: tuple[str, ...] = ()
    rank: Rank = ()
    fixed: Factorization | None = None
    metric: OutputMetric | None = None

    @property
    def is_correction(self) -> bool:
        """Whether the layer stays dense, and only makes up for errors before it."""
        return not self.schemes and self.fixed is None


@dataclass(frozen=True, eq=False)
class Fit:
    """A site after fitting.

    Attributes:
        factorization: what it becomes; a single dense stage for a layer that is only corrected.
        scheme: which of those asked for.
        ridge: the one the held-out data chose; None if the unfitted factors were better.
        before: error at this layer on held-out data without fitting it (weight-space factors with
            their best bias; the layer as it was where it is only corrected).
        after: the same as fitted. Both are of the network compressed so far against the original,
            relative to the spread of the original's answers: errors made before are in them. Where
            the fit looked at a ReLU that follows, they are behind it. Channels count alike in both, though
            the fit was chosen by what the layers that read the answer make of errors.
    """

    factorization: Factorization
    scheme: str
    ridge: float | None
    before: float
    after: float


def fit_layer(
    task: FitTask,
    seen: Rows,
    held: Rows,
    settings: FitSettings,
    metric: OutputMetric | None,
    resources: Resources,
) -> Fit | None:
    """The best fit of one site; None where a correction gains nothing.

    Args:
        task: what to fit.
        seen: rows to fit to.
        held: rows to judge on.
        settings: of the method.
        metric: of errors of the answer; None counts channels alike.
        resources: to try ridges side by side.
    """
    with one_blas_thread():
        moments, judged = seen.moments(), held.moments()
        before_relu = metric.behind(seen.both_positive()) if metric is not None and seen.kept else metric
        found = _fit_moments(task, moments, judged, settings, before_relu, resources)
        if found is None:
            return None
        fitted = found.factorization
        unfitted = fitted if task.fixed is not None else _unfitted(task, found.scheme, moments)
        if found.ridge is None or not seen.kept:
            stage = _stage(task.site)
            return replace(found, before=_error(unfitted, judged, stage), after=_error(fitted, judged, stage))
        fitted = _behind_relu(task, found, (seen, held), moments, settings, (metric, before_relu))
        before, after = (error_behind_relu(one, held) for one in (unfitted, fitted))
    return replace(found, factorization=fitted, before=before, after=after)


def _behind_relu(
    task: FitTask,
    found: Fit,
    parts: tuple[Rows, Rows],
    moments: Moments,
    settings: FitSettings,
    metrics: tuple[OutputMetric | None, OutputMetric | None],
) -> Factorization:
    """``found``, fitted again to what the ReLU lets through, in the metrics behind it and before it."""
    dense, sweeps = _stage(task.site), min(settings.sweeps, 1)
    assert found.ridge is not None
    ridge = found.ridge
    behind, before = (None if one is None else one.for_form(found.factorization) for one in metrics)

    def again(start: Factorization, moved: Moments) -> Factorization:
        if before is None:
            return refit(dense, start, moved.ridged(dense.weight, ridge), sweeps=sweeps)
        stage, aims = before.whiten_stage(dense), before.whiten_moments(moved)
        ridged = refit(stage, before.whiten(start), aims.ridged(stage.weight, ridge), sweeps=sweeps)
        return before.unwhiten(ridged)

    return refit_behind_relu(
        found.factorization,
        parts,
        moments,
        rounds=settings.relu_rounds,
        again=again,
        metric=behind,
    )


def _fit_moments(
    task: FitTask,
    seen: Moments,
    held: Moments,
    settings: FitSettings,
    metric: OutputMetric | None,
    resources: Resources,
) -> Fit | None:
    """The best fit; its errors are relative ones as ``metric`` has it, to choose by."""
    stage = _stage(task.site)
    if task.fixed is not None:
        return Fit(task.fixed, "", None, 0.0, 0.0)
    if not task.schemes:
        unfitted = _unfitted(task, "", seen)
        if _error(unfitted, held, stage) < _LEAST_ERROR:
            return None
        found = _best(
            unfitted, stage, seen, held, settings, lambda target, _: Factorization.of(target), resources
        )
        return found if found.after < (1 - _LEAST_GAIN) * found.before else None
    schemes = select_schemes(task.schemes)
    choices = [_factored(task, scheme, seen, held, settings, metric, resources) for scheme in schemes]
    return min(choices, key=lambda choice: choice.after)


def within_reason(settings: FitSettings, task: FitTask) -> FitSettings:
    """The settings, with less effort where each step takes seconds, or where nothing gains by it."""
    stage = _stage(task.site)
    entries = stage.weight[0].size
    if entries >= _BROAD:
        ridges = _fewer(settings.ridges, _WIDE_RIDGES if entries >= _WIDE else _BROAD_RIDGES)
        rounds = 0 if entries >= _WIDE else settings.relu_rounds // 2
        return replace(
            settings, sweeps=settings.sweeps // 2, ridges=ridges, relu_rounds=rounds, sweeps_at_last=True
        )
    if task.fixed is not None or (not task.schemes and stage.is_pointwise):
        return replace(settings, relu_rounds=0)
    return settings


def _fewer(asked: tuple[float, ...], few: tuple[float, ...]) -> tuple[float, ...]:
    """``few`` ridges instead of many, one instead of hardly more, and one where one is asked for."""
    return asked if len(asked) == 1 else few if len(asked) > len(few) else _ONE_RIDGE


def _unfitted(task: FitTask, scheme: str, moments: Moments) -> Factorization:
    """Weight-space factors with their best bias; the layer as it was without a scheme."""
    stage = _stage(task.site)
    if not scheme:
        return Factorization.of(stage, task.site.bias)
    (chosen,) = select_schemes((scheme,))
    return _with_bias(Factorization(chosen.decompose(stage).build(task.rank)), moments, stage)


def _factored(
    task: FitTask,
    scheme: Scheme,
    seen: Moments,
    held: Moments,
    settings: FitSettings,
    metric: OutputMetric | None,
    resources: Resources,
) -> Fit:
    stage, unfitted = _stage(task.site), _unfitted(task, scheme.name, seen)
    weighed = None if metric is None else metric.for_form(unfitted)
    if weighed is not None:
        stage, unfitted = weighed.whiten_stage(stage), weighed.whiten(unfitted)
        seen, held = weighed.whiten_moments(seen), weighed.whiten_moments(held)

    early = 0 if settings.sweeps_at_last else settings.sweeps

    def build(target: Stage, moments: Moments) -> Factorization:
        start = Factorization(scheme.decompose(target, moments).build(task.rank))
        return refit(stage, start, moments, sweeps=early)

    found = _best(unfitted, stage, seen, held, settings, build, resources)
    if found.ridge is not None and settings.sweeps > early:
        moments = seen.ridged(stage.weight, found.ridge)
        swept = refit(stage, replace(found.factorization, bias=None), moments, sweeps=settings.sweeps)
        swept = _with_bias(swept, seen, stage)
        if (error := _error(swept, held, stage)) < found.after:
            found = replace(found, factorization=swept, after=error)
    fitted = found.factorization if weighed is None else weighed.unwhiten(found.factorization)
    return replace(found, factorization=fitted, scheme=scheme.name)


def _best(
    unfitted: Factorization,
    stage: Stage,
    seen: Moments,
    held: Moments,
    settings: FitSettings,
    build: Callable[[Stage, Moments], Factorization],
    resources: Resources,
) -> Fit:
    """Of the unfitted factors and fits of every ridge, those with the least error on the held-out part."""
    before = _error(unfitted, held, stage)

    def fitted(ridge: float) -> Fit:
        with resources.pool.at_work(ridge_bytes(stage)):
            moments = seen.ridged(stage.weight, ridge)
            found = _with_bias(build(replace(stage, weight=moments.target()), moments), seen, stage)
            return Fit(found, "", ridge, before, _error(found, held, stage))

    fits = map_in_order(resources.executor, fitted, settings.ridges)
    return min([Fit(unfitted, "", None, before, before), *fits], key=lambda fit: fit.after)


def _with_bias(factorization: Factorization, moments: Moments, stage: Stage) -> Factorization:
    return replace(factorization, bias=moments.bias(on_grid(stage, factorization)))


def _error(factorization: Factorization, held: Moments, stage: Stage) -> float:
    none = np.zeros(stage.out_channels)
    weight = on_grid(stage, factorization)
    return held.error(weight, none if factorization.bias is None else factorization.bias)


def _stage(site: Site) -> Stage:
    assert site.stage is not None  # only sites with numbers are fitted
    return site.stage
