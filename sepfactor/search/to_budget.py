"""Choose for the whole network, to a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sepfactor.data import load_function
from sepfactor.fit.build import Built, build
from sepfactor.fit.sequential import SEARCH
from sepfactor.measure.quality import Dense, Judge
from sepfactor.measure.session import open_session
from sepfactor.options import Options
from sepfactor.report.words import count, points, signed
from sepfactor.search.layer_timing import Stopwatch
from sepfactor.search.planner import Limit, Planner, Point, limit_of, macs_of, parameters_of
from sepfactor.search.sensitivity import measure_sensitivity
from sepfactor.search.space import Menu, gather_menu, with_losses
from sepfactor.study.study import Job

_FRONT = 6
"""Plans on the front, evenly spaced in the logarithm of time."""

_TRIED_ON = 32
"""Images that sensitivity is measured on."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of planning.

    Attributes:
        built: the network to hand out. point: its plan as predicted and judged; None where all is kept.
        limit: what might be lost; None where only cost was bounded.
        is_met: whether the budget is kept. verdict: in words.
        points: every plan that was built on the way.
        menu: what there was to choose from.
    """

    built: Built
    point: Point | None
    limit: Limit | None
    is_met: bool
    verdict: str
    points: Sequence[Point]
    menu: Menu


def make_planner(job: Job) -> tuple[Planner, Judge]:
    """Everything that choosing rests on: candidates, times, sensitivities, and a judge on held-out data."""
    stopwatch = Stopwatch(job.runtime, job.options.seed, job.timing_cache, job.may_time)
    menu = gather_menu(job, stopwatch)
    original = open_session(job.loaded.runnable, job.runtime)
    asked = job.options
    dense: Dense = "snr" if asked.min_snr is not None else "psnr" if asked.min_psnr is not None else None
    metric: Any = load_function(asked.metric) if isinstance(asked.metric, str) else asked.metric
    # The first images are those candidates were fitted to; the last ones show what that misses.
    tried = Judge(original, job.data.fit[-_TRIED_ON:], dense=dense)
    menu = with_losses(menu, measure_sensitivity(job, menu, tried))
    data = job.data.held_out if len(job.data.held_out) else job.data.judged_on
    estimate = asked.max_estimated_drop is not None
    judge = Judge(original, data, data.labels, dense=dense, metric=metric, estimate=estimate)
    if data is job.data.held_out:
        judge.learn(job.data.fit, job.data.fit.labels)
    if job.method.sequential:
        menu = menu.learn_shares(())
    return Planner(job, menu, judge, SEARCH if job.method.settings is not None else None), judge


def plan_to_budget(job: Job) -> Outcome:
    """The plan that keeps the budget, built with care, or the closest to it.

    Raises:
        OptionError: the budget does not fit what the network puts out.
    """
    planner, judge = make_planner(job)
    options = job.options
    limit = limit_of(options, judge) if options.limits_quality or not options.limits_cost else None
    if not planner.menu.rows:
        return _keep_all(job, planner, limit, "nothing can be made faster")
    if options.limits_cost:
        return _within(job, planner, limit)
    assert limit is not None
    point = planner.cheapest(limit, _start(limit))
    if point is None:
        return _keep_all(job, planner, limit, f"no faster plan keeps the budget ({limit.text})")
    return _with_care(job, planner, point, limit)


def _start(limit: Limit) -> float:
    """A predicted loss to begin with; classes lose far less than they diverge."""
    return limit.most if limit.exponent == 1.0 else limit.most * 2


def _within(job: Job, planner: Planner, limit: Limit | None) -> Outcome:
    bounds = cost_bounds(job, planner.menu)
    point = planner.within(bounds)
    if point is None:
        point = planner.build(planner.fastest(), "as fast as it gets")
        came_to = _reached(job, planner, point)
        failure = f"no plan keeps the budget ({cost_text(job.options)}), the fastest comes to {came_to}"
        return _outcome(job, planner, point, limit, failure)
    careful = _careful(planner, point)
    if careful.speed is not None and _over_cost(job, planner, careful):
        # The same shapes, but slower this time.
        reached = planner.menu.original_ms / careful.speed.speedup
        point = planner.within(bounds | {"time": bounds["time"] ** 2 / reached})
        again = careful if point is None else _careful(planner, point)
        careful = careful if _over_cost(job, planner, again) else again
    return _outcome(job, planner, careful, limit)


def _with_care(job: Job, planner: Planner, point: Point, limit: Limit) -> Outcome:
    """Fit the chosen plan with care; step back while that does not keep the limit."""
    predicted = point.predicted_loss
    for _ in range(3):
        careful = _careful(planner, point)
        if limit.is_kept(careful.quality):
            return _outcome(job, planner, careful, limit)
        predicted *= 0.7
        options = planner.solve("time", {"loss": predicted})
        if options is None or not any(options):
            break
        point = planner.build(options, f"predicted loss {predicted:.2g}")
    return _keep_all(job, planner, limit, f"no faster plan keeps the budget ({limit.text})")


def _careful(planner: Planner, point: Point) -> Point:
    if planner.quick is None:
        return point
    return planner.build(point.options, "the plan chosen, fitted with care", planner.job.method.settings)


def _outcome(job: Job, planner: Planner, point: Point, limit: Limit | None, failure: str = "") -> Outcome:
    _planned(job, planner)
    verdicts = []
    options = job.options
    if options.limits_cost:
        failure = failure or _over_cost(job, planner, point)
        verdicts.append(failure or f"{cost_text(options)}: kept, {_reached(job, planner, point)}")
    kept = limit is None or limit.is_kept(point.quality)
    if limit is not None:
        verdicts.append(f"{limit.text}: {'kept' if kept else 'not kept'}, {_said(point)}")
    met = kept and not failure
    return Outcome(point.built, point, limit, met, "; ".join(verdicts), tuple(planner.points), planner.menu)


def _planned(job: Job, planner: Planner) -> None:
    """Say that no more plans will be built."""
    job.progress("plan", len(planner.points), len(planner.points), "")


def _said(point: Point) -> str:
    quality = point.quality
    if quality.kind in ("snr", "psnr"):
        return f"{quality.expected:.1f} dB on {quality.samples} held-out runs"
    return (
        f"{points(quality.drop)} expected from {quality.samples} held-out samples "
        f"({signed(100 * (quality.original - quality.result), 2)} counted)"
        if quality.kind != "metric"
        else f"{quality.original:.4g} → {quality.result:.4g} on {quality.samples} held-out runs"
    )


def _reached(job: Job, planner: Planner, point: Point) -> str:
    """What the plan comes to, for each bound of cost."""
    options, menu = job.options, planner.menu
    how = "predicted" if point.speed is None else "measured"
    speedup = menu.original_ms / point.predicted_ms if point.speed is None else point.speed.speedup
    chosen = [(d.site, d.choice.candidate) for d in menu.decisions(job, point.options)]
    macs = sum(macs_of(job, site) if candidate is None else candidate.macs for site, candidate in chosen)
    parameters = sum(
        parameters_of(site) if candidate is None else candidate.parameters(site.bias)
        for site, candidate in chosen
    )
    said = [
        (options.speedup, f"{speedup:.2f}× {how}"),
        (options.latency_ms, f"{menu.original_ms / speedup:.3g} ms {how}"),
        (options.max_macs, _share(macs, sum(macs_of(job, site) for site in job.sites))),
        (options.max_params, _share(parameters, sum(parameters_of(site) for site in job.sites))),
    ]
    return ", ".join(text for value, text in said if value is not None)


def _share(part: float, whole: float) -> str:
    return f"{count(part)}, which is {100 * part / max(whole, 1):.1f}%"


def _over_cost(job: Job, planner: Planner, point: Point) -> str:
    """Which bound of cost is not kept, in words; nothing if all are."""
    options = job.options
    how = "predicted" if point.speed is None else "measured"
    predicted = planner.menu.original_ms / point.predicted_ms
    speedup = predicted if point.speed is None else point.speed.speedup
    if options.speedup is not None and speedup < options.speedup:
        return f"{speedup:.2f}× {how} where {options.speedup:g}× was asked for"
    reached = planner.menu.original_ms / speedup
    if options.latency_ms is not None and reached > options.latency_ms:
        return f"{reached:.3g} ms {how} where {options.latency_ms:g} ms were asked for"
    return ""


def cost_bounds(job: Job, menu: Menu) -> dict[str, float]:
    """The bounds asked for, of the whole network."""
    options = job.options
    bounds: dict[str, float] = {}
    times = [t for t in (options.latency_ms, _ms(options, menu)) if t is not None]
    if times:
        bounds["time"] = min(times)
    if options.max_macs is not None:
        bounds["macs"] = options.max_macs.of(sum(macs_of(job, site) for site in job.sites))
    if options.max_params is not None:
        bounds["parameters"] = options.max_params.of(sum(parameters_of(site) for site in job.sites))
    return bounds


def _ms(options: Options, menu: Menu) -> float | None:
    return None if options.speedup is None else menu.original_ms / options.speedup


def cost_text(options: Options) -> str:
    """The bounds of cost as people say them."""
    said = [
        (options.speedup, "{:g}× faster"),
        (options.latency_ms, "{:g} ms"),
        (options.max_macs, "{} of the multiply-accumulates"),
        (options.max_params, "{} of the parameters"),
    ]
    return ", ".join(text.format(value) for value, text in said if value is not None)


def _keep_all(job: Job, planner: Planner, limit: Limit | None, verdict: str) -> Outcome:
    _planned(job, planner)
    options = (0,) * len(planner.menu.rows)
    built = build(job, planner.menu.decisions(job, options))
    return Outcome(built, None, limit, True, verdict, tuple(planner.points), planner.menu)


def explore(job: Job) -> tuple[Menu, list[Outcome]]:
    """A handful of plans from mild to strong, each the least loss for its time, built, judged and timed."""
    planner, _ = make_planner(job)
    outcomes: list[Outcome] = []
    if not planner.menu.rows:
        return planner.menu, outcomes
    for number in range(1, _FRONT + 1):
        planner.learn_shares()
        menu = planner.menu
        fastest = menu.milliseconds(planner.fastest())
        whole = menu.prepared_ms * (fastest / menu.prepared_ms) ** (number / _FRONT)
        options = planner.solve("loss", {"time": whole - menu.fixed_ms})
        if (
            options is None
            or not any(options)
            or any(o.point and o.point.options == options for o in outcomes)
        ):
            continue
        label = f"plan {number} of {_FRONT}"
        point = replace(_careful(planner, planner.build(options, label)), label=label)
        outcomes.append(Outcome(point.built, point, None, True, point.label, (point,), planner.menu))
    _planned(job, planner)
    return planner.menu, outcomes
