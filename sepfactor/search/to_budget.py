"""Choose for the whole network, to a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sepfactor.budgets import LOSSLESS, Budget, QualityLimits, verdict_of
from sepfactor.codes import BudgetVerdict
from sepfactor.fit.build import Built, build
from sepfactor.fit.evidence import Evidence
from sepfactor.fit.settings import fit_method
from sepfactor.measure.quality import Judge
from sepfactor.progress import TakeBest
from sepfactor.results import Budget as BudgetResult
from sepfactor.results import FrontPoint, JudgedOn, LimitResult, OutputTask, Quality, QualityKind
from sepfactor.search.finals import build_dense_int8, build_of_one_precision, time_in_turns
from sepfactor.search.gathering import gather_space
from sepfactor.search.judges import judge_of, last_word_of, try_metric
from sepfactor.search.layer_timing import LayerTimer
from sepfactor.search.planner import Planner
from sepfactor.search.points import Point
from sepfactor.search.sensitivity import measure_sensitivity
from sepfactor.search.settings import SearchSettings
from sepfactor.search.space import LayerChoices, SearchSpace
from sepfactor.search.telling import told
from sepfactor.search.tuned import tune_faster, tune_within
from sepfactor.study.recipe import expecting, make_plan
from sepfactor.study.study import Study
from sepfactor.user_code import open_metric
from sepfactor.words import plural


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of planning to a budget.

    Attributes:
        built: the network to hand out, with its plan.
        point: the same as predicted and judged; None where all is kept.
        space: what there was to choose from.
        points: every plan that was built on the way.
        verdict: whether the budget is kept.
        limits: each of its limits.
        counts: what is counted as loss; None where nothing is limited.
        quality: that the verdict goes by; None where all is kept.
        tasks: what outputs were taken for.
        notes: what a reader must know of how outputs are judged, in sentences.
    """

    built: Built
    point: Point | None
    space: SearchSpace
    points: Sequence[Point]
    verdict: BudgetVerdict
    limits: tuple[LimitResult, ...] = ()
    counts: QualityKind | None = None
    quality: Quality | None = None
    tasks: tuple[OutputTask, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[LayerChoices, ...]:
        """What there was to choose from for each layer."""
        return self.space.layers

    def described(self) -> BudgetResult:
        """What was asked of the whole network, and what came of it."""
        point = self.point
        return BudgetResult(
            verdict=self.verdict,
            limits=self.limits,
            counts=self.counts,
            predicted_speedup=None if point is None else self.space.original_ms / point.predicted.ms,
            quality=self.quality,
        )

    def front(self) -> tuple[FrontPoint, ...]:
        """Every plan that was built, by speed; speeds are predicted where they were not timed."""
        points = [front_point(self.space, point, point is self.point) for point in self.points]
        return tuple(sorted(points, key=lambda point: point.speedup or 0.0))


def front_point(space: SearchSpace, point: Point, chosen: bool = False) -> FrontPoint:
    """One plan that was built."""
    quality, speed = point.quality, point.speed
    is_noise = quality.is_noise
    return FrontPoint(
        label=point.label,
        speedup=space.original_ms / point.predicted.ms if speed is None else speed.ratio,
        interval=None if speed is None else (speed.low, speed.high),
        drop=None if is_noise else quality.drop,
        snr_db=quality.expected if is_noise and np.isfinite(quality.expected) else None,
        chosen=chosen,
    )


def make_planner(study: Study, evidence: Sequence[Evidence], settings: SearchSettings) -> Planner:
    """Everything that choosing rests on: candidates, times, sensitivities, and a judge on held-out data.

    Raises:
        OptionError: the budget does not fit what the network puts out.
    """
    budget = Budget.of(study.options)
    original = study.exact.open(study.loaded.runnable)
    splits = study.splits
    metric = open_metric(study.options.metric)
    if metric is not None:
        try_metric(metric, study.exact.open(study.loaded.runnable), splits.judged_on[0])
    data = splits.chosen_on if len(splits.chosen_on) else splits.fit
    known: JudgedOn = "made-up" if data.synthetic else "held-out" if len(splits.held_out) else "fitted"
    units = (
        (splits.judged_units or len(splits.judged_on)) if splits.decided_nothing else None
    )  # what is chosen is to be confirmed
    judge = judge_of(original, data, study, budget, metric, known, units=units)
    limit = budget.quality_limit(judge.kinds, judge.original_score)  # before the work, if it does not fit
    last_word = last_word_of(study, budget, judge, metric)
    if known == "held-out":
        judge.learn(splits.fitted_only, splits.fitted_only.labels)
    space = gather_space(
        study, evidence, settings, LayerTimer.of(study, settings), by_size=budget.is_of_size_alone
    )
    # The first images are those candidates were fitted to; the last ones show what that misses.
    fresh = study.exact.open(study.loaded.runnable)  # what draws at random starts anew, as candidates do
    tried = Judge(fresh, splits.fit[-settings.sensitivity_images :], like=judge, pool=study.pool)
    space = measure_sensitivity(study, space, tried, settings)
    if fit_method(study).is_sequential:
        space = space.learn_shares(())
    return Planner(study, evidence, settings, budget, limit, space, judge, last_word)


def plan_to_budget(study: Study, evidence: Sequence[Evidence], settings: SearchSettings) -> Outcome:
    """The plan that keeps the budget, built with care, or the closest to it.

    Raises:
        OptionError: the budget does not fit what the network puts out.
    """
    planner = make_planner(study, evidence, settings)
    try:
        if planner.budget.costs:
            outcome = _within(planner)
        else:
            assert planner.limit is not None
            outcome = _as_fast_as_allowed(planner, planner.limit)
    except TakeBest:
        outcome = _broken_off(planner)
    study.progress("plan", len(planner.points), len(planner.points), "")  # no more will be built
    return outcome


def _broken_off(planner: Planner) -> Outcome:
    """The best of what was built before somebody had enough.

    Raises:
        KeyboardInterrupt: nothing that was built keeps the budget.
    """
    built = plural(len(planner.points), "plan")
    best = planner.best()
    if best is None:
        raise KeyboardInterrupt(f"None of {built} built so far keeps the budget on data that decided nothing")
    said = f"taking the best so far, {told(best, planner.limit, planner.original)}"
    planner.study.progress("stop", 0, 1, f"{said}; once more leaves without it")
    outcome = _outcome(planner, best)
    note = f"The search was broken off: this is the best of {built} built until then."
    return replace(outcome, notes=(*outcome.notes, note))


def _within(planner: Planner) -> Outcome:
    """The least loss within the limits on cost."""
    asked = planner.budget.costs_text
    is_tidied = planner.study.network.is_tidied
    if is_tidied and planner.budget.keeps_costs(planner.original, planner.space.tidied):
        return _keep_all(planner, "kept", asked)
    if planner.space.is_empty:
        return _keep_all(planner, "nothing-faster", f"nothing can be made faster ({asked})")
    build_dense_int8(planner)
    found = planner.within()
    if found is not None:
        _careful_within(planner, found)
        found = planner.best()
    if found is not None and planner.study.options.tune is not None:
        tune_within(planner, found)
        found = planner.best()
    if found is not None:
        return _outcome(planner, found)
    if not any(planner.keeps_costs(point) for point in planner.points):
        planner.in_full(planner.build(_extreme(planner), "as little as it gets"))
        found = planner.best()
    point = found or planner.closest()
    failed = f"no plan keeps the budget ({asked}): the closest comes to "
    return _outcome(planner, point, "" if planner.keeps_costs(point) else failed)


def _extreme(planner: Planner) -> tuple[int, ...]:
    """The options that come closest to limits on cost that cannot all be kept, whatever they lose."""
    limits, bounds = planner.budget.costs, planner.budget.bounds(planner.original)
    options = []
    for layer in planner.space.layers:
        table = layer.columns(limits).quantities
        shares = [table[limit.option] / max(bounds[limit.option], 1e-9) for limit in limits]
        options.append(int(np.argmin(np.sum(shares, axis=0))))
    return tuple(options)


def _careful_within(planner: Planner, point: Point) -> None:
    """Fit the plan with care; if the same shapes are slower this time, find a faster one."""
    careful = planner.in_full(point)
    if planner.keeps_costs(careful):
        return
    bounds = planner.budget.bounds(planner.original)
    costs = planner.budget.costs
    again = planner.within(
        {one.option: one.next_aim(bounds[one.option], bounds[one.option], careful.cost) for one in costs}
    )
    if again is not None:
        planner.in_full(again)


def _as_fast_as_allowed(planner: Planner, limit: QualityLimits) -> Outcome:
    """The least time within a loss: the plan fitted with care, stepping back while that loses too much."""
    none = f"no plan of factors keeps the budget ({limit.text})"
    if planner.space.is_empty:
        return _keep_all(planner, "nothing-faster", "nothing can be made faster")
    start = limit.most if limit.exponent == 1.0 else limit.most * 2  # classes lose far less than they diverge
    dense = build_dense_int8(planner)
    point = planner.cheapest(limit, start) or planner.mildest(limit)
    point = _stepping_back(planner, limit, point, lambda point: point)  # first as fitted in haste
    _stepping_back(planner, limit, point, planner.in_full)
    if dense is not None:
        build_of_one_precision(planner, limit, start)
    tune_faster(planner, limit, start)
    if dense is not None:
        time_in_turns(planner)
    best = planner.best()
    return _keep_all(planner, "no-plan", none) if best is None else _shown(planner, best)


def _shown(planner: Planner, best: Point) -> Outcome:
    """The best plan if data show that it keeps the budget; else what needs no showing, if that gains."""
    found, study = _outcome(planner, best), planner.study
    if found.verdict.is_met or study.options.force or not study.network.is_tidied:
        return found
    return _keep_all(planner, found.verdict.code, f"of the best plan of factors, {found.verdict.text}")


def _stepping_back(
    planner: Planner, limit: QualityLimits, point: Point | None, fitted: Callable[[Point], Point]
) -> Point | None:
    """A plan up to as strong as ``point`` that may be handed out once it is ``fitted``, or the last tried."""
    predicted = 0.0 if point is None else point.predicted_loss
    for _ in range(planner.settings.retries):
        if point is None:
            break
        tried = fitted(point)
        if planner.may_hand_out(tried):
            break
        predicted *= _step(planner.lost(tried, limit) / max(limit.most, 1e-12), limit.exponent)
        predicted, options = _milder(planner, predicted, point)
        if options is None or not any(options):
            return None
        point = planner.build(options, f"a milder one, loss of {predicted:.2g} predicted")
    return point


def _step(excess: float, exponent: float) -> float:
    """The share of the predicted loss to aim at, where it came to so often what is allowed.

    Of that much only a part is what the plan loses, the rest is how sure that is; so steps are small.
    """
    return float(np.clip(excess ** (-1 / exponent), 0.5, 0.8)) if 0 < excess < np.inf else 0.5


def _milder(planner: Planner, predicted: float, point: Point) -> tuple[float, tuple[int, ...] | None]:
    """A predicted loss up to this one whose plan is another than ``point``, and its options, if any."""
    for _ in range(_MOST_STEPS):
        options = planner.solve("time", {"loss": predicted})
        if options != point.options:
            return predicted, options
        predicted *= 0.8
    return predicted, None


_MOST_STEPS = 30


def _outcome(planner: Planner, point: Point, failed: str = "") -> Outcome:
    quality, results, counts = planner.last_word_on(point)
    verdict = verdict_of(results)
    if failed:
        verdict = BudgetVerdict("no-plan", False, failed + verdict.text)
    elif verdict.is_met and not planner.study.trusts_data and quality.divergence > LOSSLESS:
        text = f"{verdict.text}; but what is lost cannot be told of made-up inputs: give --data"
        verdict = BudgetVerdict("no-data", False, text)
    if verdict.is_met and quality.is_ruined:
        text = f"{verdict.text}; but what is left of the network answers nothing like the original"
        verdict = BudgetVerdict("ruined", False, text)
    plan = expecting(point.plan, expected_of(planner, point, quality, verdict))
    built = replace(point.built, plan=plan)
    points, judge = tuple(planner.points), planner.judge
    return Outcome(
        built,
        point,
        planner.space,
        points,
        verdict,
        results,
        counts,
        quality,
        tasks=judge.described(),
        notes=(*judge.notes, *judge.left_out(quality)),
    )


def expected_of(
    planner: Planner, point: Point, quality: Quality, verdict: BudgetVerdict
) -> Mapping[str, Any]:
    """What was predicted and judged of the whole."""
    return {
        "verdict": verdict.text,
        "speedup": planner.space.original_ms / point.predicted.ms,
        "original_ms": planner.space.original_ms,
        "quality": quality.model_dump(mode="json"),
    }


def _keep_all(planner: Planner, code: str, text: str) -> Outcome:
    """Nothing factored; ``text`` says why, or what is kept all the same."""
    space = planner.space
    plan = make_plan(planner.study, space.planned((0,) * len(space.layers)))
    built = build(planner.study, planner.evidence, plan)
    limits = planner.budget.results(space.original, space.tidied, "measured")
    is_met = all(limit.is_met for limit in limits)
    if is_met and planner.study.network.is_tidied:
        text = f"kept without loss, by exact rewriting alone: {text}"
    verdict = BudgetVerdict(code, is_met, text)
    points, judge = tuple(planner.points), planner.judge
    return Outcome(
        built,
        None,
        space,
        points,
        verdict,
        limits,
        planner.counts,
        tasks=judge.described(),
        notes=judge.notes,
    )
