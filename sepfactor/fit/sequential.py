"""Fit every factor to what its layer reads in the network compressed so far, and should answer.

Layers are taken in the order of the graph. The original network walks beside the one being
compressed: the first tells what a layer should answer, the second what it reads by now. So an error
made early is corrected later instead of growing. Layers that stay dense are corrected the same way.
A part of the data is held out: it picks how hard a fit is pulled towards the original weights, and
whether the fit is kept at all. Where a ReLU follows, factors are fitted to what it lets through; and
errors count by what the layers make of them that read the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from sepfactor.data import Feed
from sepfactor.factor import Factorization, Scheme, Stage, select_schemes
from sepfactor.factor.moments import Moments
from sepfactor.factor.output_metric import OutputMetric
from sepfactor.factor.refit import refit
from sepfactor.factor.scheme import Rank
from sepfactor.factor.statistics import on_grid
from sepfactor.fit.output_metrics import output_metrics
from sepfactor.fit.propagation import Walk
from sepfactor.fit.relu import error_behind_relu, refit_behind_relu
from sepfactor.fit.samples import Rows
from sepfactor.fit.sampling import read_rows
from sepfactor.graph.lower import lower
from sepfactor.graph.survey import Site
from sepfactor.measure.session import Runtime
from sepfactor.progress import Progress
from sepfactor.threads import blas_threads

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 3e-1)
"""Ridge towards the original weights, in shares of the mean input variance; held-out data choose."""

_ENTRIES = 4e7
"""At most so many numbers (patches × entries) are read per layer; four times fewer cost ESPCN 0.02 dB."""

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
class Wish:
    """What is to become of a site.

    Attributes:
        site: where.
        schemes, rank: what to factor it into; the held-out data choose where there are several
            schemes. Without a scheme it stays dense and is corrected.
        fixed: or exactly this, unfitted, as for lossless rewrites.
    """

    site: Site
    schemes: tuple[str, ...] = ()
    rank: Rank = ()
    fixed: Factorization | None = None


@dataclass(frozen=True, eq=False)
class Fitted:
    """A site after fitting.

    Attributes:
        factorization: what it becomes; a single dense stage for a layer that is only corrected.
        scheme: which of the wished schemes.
        ridge: the ridge the held-out data chose; None if the unfitted factors were better.
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


@dataclass(frozen=True)
class FitSettings:
    """Choices of the method; the defaults are what won (``benchmarks/ablation.py``).

    Attributes:
        sweeps: alternations over the factors; 0 solves for the last ones only.
        ridges: ridges to choose from.
        sweeps_at_last: choose the ridge by the last factors alone, and alternate with that one only.
        sequential: read from the network compressed so far, not from the original.
        residual: where the answer goes into a residual sum, aim at the original's sum.
        correct_kept: refit layers that stay dense behind one that was replaced.
        relu_rounds: refits to what a following ReLU lets through; 0 fits to all of the answer.
        weigh_by_readers: count errors of factors by what the layers that read the answer make of them.
        entries: bound on what is read per layer. Where a ReLU follows, up to twice as many float32
            are held while the layer is fitted.
    """

    sweeps: int = 2
    ridges: tuple[float, ...] = RIDGES
    sweeps_at_last: bool = False
    sequential: bool = True
    residual: bool = True
    correct_kept: bool = True
    relu_rounds: int = 2
    weigh_by_readers: bool = True
    entries: float = _ENTRIES


SEARCH = FitSettings(sweeps=1, ridges=(1e-3, 1e-1), relu_rounds=1, entries=1e7)
"""Less effort, to compare plans by; what it costs is in ``benchmarks/results/experiments.md``."""


def fit(
    model: ir.Model,
    wishes: Sequence[Wish],
    feeds: Sequence[Feed],
    runtime: Runtime,
    seed: int,
    progress: Progress,
    settings: FitSettings = FitSettings(),
    held_out: Sequence[Feed] = (),
    metrics: Mapping[str, OutputMetric] | None = None,
) -> dict[str, Fitted]:
    """What each site becomes, by the name of its output value; sites better left alone are absent.

    Args:
        model: the prepared network.
        wishes: sites in the order of the graph.
        feeds: calibration data.
        runtime: threads and provider.
        seed: of the split and of the sampled positions.
        progress: called per layer.
        settings: of the method.
        held_out: data to judge fits on; without any, a quarter of ``feeds`` is set aside.
        metrics: of the answers of sites, by output, where they are known already.
    """
    together = [*feeds, *held_out]
    if held_out or len(together) == 1:
        held = set(range(len(feeds), len(together)))
    else:
        order = np.random.default_rng(seed).permutation(len(together))
        held = set(order[: max(1, len(together) // 4)].tolist())
    original, compressed = Walk(model, together, runtime), Walk(model, together, runtime)
    if metrics is None:
        metrics = output_metrics(model, [wish.site for wish in wishes if wish.schemes])
    done: dict[str, Fitted] = {}
    for number, wish in enumerate(wishes):
        site = wish.site
        progress("fit", number, len(wishes), site.name)
        if not wish.schemes and wish.fixed is None and not (done and settings.correct_kept):
            continue
        compressed.advance_for_input(site)
        original.advance_for_answers(site)
        chosen = _within_reason(settings, wish)
        metric = metrics.get(site.output) if wish.schemes and settings.weigh_by_readers else None
        read = read_rows(
            site,
            original,
            compressed,
            held,
            seed + number,
            entries=chosen.entries,
            residual=chosen.residual,
            rectified=chosen.relu_rounds > 0,
            spread=metric is not None,
        )
        found = None if read is None else _fit_site(wish, *read, chosen, metric)
        del read  # before the next ones are
        if found is None or not _can_be_stored(found.factorization, site.dtype):
            continue
        done[site.output] = found
        if settings.sequential:
            _put(compressed, site, found.factorization)
    progress("fit", len(wishes), len(wishes), "")
    return done


def affordable(model: ir.Model, stops: Sequence[str], feed: Feed, runtime: Runtime, memory: int) -> int:
    """How many images two walks may carry within ``memory`` bytes, at least two.

    Args:
        model: the prepared network.
        stops: output names of the sites.
        feed: one image.
        runtime: threads and provider.
        memory: bytes.
    """
    walk = Walk(model, [feed], runtime)
    most = walk.bytes
    for stop in stops:
        walk.advance(walk.cutter.position(stop) + 1)
        most = max(most, walk.bytes)
    return max(2, int(memory // max(2 * most, 1)))


def _can_be_stored(factorization: Factorization, dtype: np.dtype[np.floating]) -> bool:
    """Whether its numbers are within the range of a type: what is nearly 0 asks for huge factors."""
    arrays = [stage.weight for chain in factorization.chains for stage in chain.stages]
    arrays += [] if factorization.bias is None else [factorization.bias]
    with np.errstate(over="ignore"):
        return all(bool(np.isfinite(array.astype(dtype)).all()) for array in arrays)


def _put(walk: Walk, site: Site, factorization: Factorization) -> None:
    x, y = ir.val(site.input), ir.val(site.output)
    lowered = lower(
        factorization,
        x,
        y,
        kind=site.kind,
        prefix=f"{site.output}/fitted",
        dtype=site.dtype,
        opset=walk.cutter.opset,
    )
    walk.cutter.replace(site.output, lowered.nodes, lowered.initializers)


def _fit_site(
    wish: Wish, seen: Rows, held: Rows, settings: FitSettings, metric: OutputMetric | None
) -> Fitted | None:
    moments, judged = seen.moments(), held.moments()
    with blas_threads(moments.covariance.shape[-1]):
        before_relu = metric.behind(seen.both_positive()) if metric is not None and seen.kept else metric
        found = _fit_moments(wish, moments, judged, settings, before_relu)
        if found is None:
            return None
        fitted = found.factorization
        unfitted = fitted if wish.fixed is not None else _unfitted(wish, found.scheme, moments)
        if found.ridge is None or not seen.kept:
            stage = _stage(wish.site)
            return replace(found, before=_error(unfitted, judged, stage), after=_error(fitted, judged, stage))
        fitted = _behind_relu(wish, found, (seen, held), moments, settings, (metric, before_relu))
        before, after = (error_behind_relu(one, held) for one in (unfitted, fitted))
    return replace(found, factorization=fitted, before=before, after=after)


def _behind_relu(
    wish: Wish,
    found: Fitted,
    parts: tuple[Rows, Rows],
    moments: Moments,
    settings: FitSettings,
    metrics: tuple[OutputMetric | None, OutputMetric | None],
) -> Factorization:
    """``found``, fitted again to what the ReLU lets through, in the metrics behind it and before it."""
    dense, sweeps = _stage(wish.site), min(settings.sweeps, 1)
    assert found.ridge is not None
    ridge = found.ridge
    behind, before = (None if one is None else one.for_form(found.factorization) for one in metrics)

    def again(start: Factorization, moved: Moments) -> Factorization:
        if before is None:
            return refit(dense, start, moved.ridged(dense.weight, ridge), sweeps=sweeps)
        stage, aims = before.whiten_stage(dense), before.whiten_moments(moved)
        pulled = refit(stage, before.whiten(start), aims.ridged(stage.weight, ridge), sweeps=sweeps)
        return before.unwhiten(pulled)

    return refit_behind_relu(
        found.factorization,
        parts,
        moments,
        rounds=settings.relu_rounds,
        again=again,
        metric=behind,
    )


def _fit_moments(
    wish: Wish, seen: Moments, held: Moments, settings: FitSettings, metric: OutputMetric | None
) -> Fitted | None:
    """The best fit; its errors are relative ones as ``metric`` has it, to choose by."""
    stage = _stage(wish.site)
    if wish.fixed is not None:
        return Fitted(wish.fixed, "", None, 0.0, 0.0)
    if not wish.schemes:
        unfitted = _unfitted(wish, "", seen)
        if _error(unfitted, held, stage) < _LEAST_ERROR:
            return None
        found = _best(unfitted, stage, seen, held, settings, lambda target, _: Factorization.of(target))
        return found if found.after < (1 - _LEAST_GAIN) * found.before else None
    schemes = select_schemes(wish.schemes)
    choices = [_factored(wish, scheme, seen, held, settings, metric) for scheme in schemes]
    return min(choices, key=lambda choice: choice.after)


def _within_reason(settings: FitSettings, wish: Wish) -> FitSettings:
    """Less effort where a patch has so many entries that each step takes seconds, or it gains nothing."""
    stage = _stage(wish.site)
    entries = stage.weight[0].size
    if entries >= _BROAD:
        ridges = _fewer(settings.ridges, _WIDE_RIDGES if entries >= _WIDE else _BROAD_RIDGES)
        rounds = 0 if entries >= _WIDE else settings.relu_rounds // 2
        return replace(
            settings, sweeps=settings.sweeps // 2, ridges=ridges, relu_rounds=rounds, sweeps_at_last=True
        )
    if wish.fixed is not None or (not wish.schemes and stage.is_pointwise):
        return replace(settings, relu_rounds=0)
    return settings


def _fewer(asked: tuple[float, ...], few: tuple[float, ...]) -> tuple[float, ...]:
    """``few`` ridges instead of many, one instead of hardly more, and one where one is asked for."""
    return asked if len(asked) == 1 else few if len(asked) > len(few) else _ONE_RIDGE


def _unfitted(wish: Wish, scheme: str, moments: Moments) -> Factorization:
    """Weight-space factors with their best bias; the layer as it was without a scheme."""
    stage = _stage(wish.site)
    if not scheme:
        return Factorization.of(stage, wish.site.bias)
    (chosen,) = select_schemes((scheme,))
    return _with_bias(Factorization(chosen.decompose(stage).build(wish.rank)), moments, stage)


def _factored(
    wish: Wish,
    scheme: Scheme,
    seen: Moments,
    held: Moments,
    settings: FitSettings,
    metric: OutputMetric | None,
) -> Fitted:
    stage, unfitted = _stage(wish.site), _unfitted(wish, scheme.name, seen)
    weighed = None if metric is None else metric.for_form(unfitted)
    if weighed is not None:
        stage, unfitted = weighed.whiten_stage(stage), weighed.whiten(unfitted)
        seen, held = weighed.whiten_moments(seen), weighed.whiten_moments(held)

    early = 0 if settings.sweeps_at_last else settings.sweeps

    def build(target: Stage, moments: Moments) -> Factorization:
        start = Factorization(scheme.decompose(target, moments).build(wish.rank))
        return refit(stage, start, moments, sweeps=early)

    found = _best(unfitted, stage, seen, held, settings, build)
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
) -> Fitted:
    """Of the unfitted factors and fits of every ridge, those with the least error on the held-out part."""
    before = _error(unfitted, held, stage)
    best = Fitted(unfitted, "", None, before, before)
    for ridge in settings.ridges:
        moments = seen.ridged(stage.weight, ridge)
        found = _with_bias(build(replace(stage, weight=moments.target()), moments), seen, stage)
        error = _error(found, held, stage)
        if error < best.after:
            best = Fitted(found, "", ridge, before, error)
    return best


def _with_bias(factorization: Factorization, moments: Moments, stage: Stage) -> Factorization:
    return replace(factorization, bias=moments.bias(on_grid(stage, factorization)))


def _error(factorization: Factorization, held: Moments, stage: Stage) -> float:
    none = np.zeros(stage.out_channels)
    weight = on_grid(stage, factorization)
    return held.error(weight, none if factorization.bias is None else factorization.bias)


def _stage(site: Site) -> Stage:
    assert site.stage is not None  # only sites with numbers are wished for
    return site.stage
