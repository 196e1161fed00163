"""Find the plan: predict, build, measure, correct the prediction, until the budget is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Any

from sepfactor.budgets import Budget, Cost, CostLimit, QualityLimits
from sepfactor.fit.build import Built, build
from sepfactor.fit.evidence import Evidence
from sepfactor.fit.settings import Effort, fit_method
from sepfactor.graph.instrument import serialized
from sepfactor.measure.engines import open_and_time
from sepfactor.measure.quality import Judge
from sepfactor.plans.document import Tune
from sepfactor.results import LimitResult, Quality, QualityKind, Ratio
from sepfactor.search.beside import LOSS, TIME
from sepfactor.search.gathering import profile_runs, timed_seconds
from sepfactor.search.loss_search import LossSearch
from sepfactor.search.points import Judged, LastWord, Making, Point
from sepfactor.search.settings import SearchSettings
from sepfactor.search.space import SearchSpace
from sepfactor.search.telling import trying
from sepfactor.study.profiling import profile_layers
from sepfactor.study.recipe import make_plan
from sepfactor.study.study import Study


@dataclass
class Planner:
    """Chooses from a search space by building and measuring.

    Attributes:
        study: the run.
        evidence: of its sites.
        settings: of the search.
        budget: what is asked for.
        limit: on what is lost; None where cost alone counts.
        space: what may be chosen; its times are corrected by what is built.
        judge: on held-out data.
        last_word: on data given to judge on; None where there are none.
        points: everything built so far.
        in_turns: milliseconds of those that were timed in turns with each other.
    """

    study: Study
    evidence: Sequence[Evidence]
    settings: SearchSettings
    budget: Budget
    limit: QualityLimits | None
    space: SearchSpace
    judge: Judge
    last_word: LastWord | None = None
    points: list[Point] = field(default_factory=list)
    in_turns: Mapping[Point, float] = field(default_factory=dict)

    @property
    def original(self) -> Cost:
        """What the network as handed in costs."""
        return self.space.original

    @property
    def counts(self) -> QualityKind | None:
        """What is counted as loss; None where cost alone counts."""
        return None if self.limit is None else self.limit.kind

    def last_word_on(self, point: Point) -> tuple[Quality, tuple[LimitResult, ...], QualityKind | None]:
        """The quality that counts in the end, whether each limit is kept, and what is counted as loss."""
        quality, limit = point.quality, self.limit
        if self.last_word is not None:
            quality, limit = self._last_quality(self.last_word, point), self.last_word.limit
        results = self.budget.results(self.original, point.cost, point.how, limit, quality)
        return quality, results, None if limit is None else limit.kind

    def _last_quality(self, last_word: LastWord, point: Point) -> Quality:
        def judged() -> Quality:
            return last_word.judge(self.study.engine.open(serialized(point.built.model)))

        what = ["last word", *self.recipe_of(point)]
        return self.study.journal.remember(what, Quality, judged)

    def recipe_of(self, point: Point) -> list[Any]:
        """All that a plan that was built depends on in this run, as JSON."""
        return self._recipe(point.options, point.effort, point.tune)

    def _recipe(self, options: Sequence[int], effort: Effort, tune: Tune | None) -> list[Any]:
        """All that what is built depends on in this run, as JSON."""
        planned = [(one.output, one.scheme, one.rank, one.precision) for one in self.space.planned(options)]
        int8 = self.space.int8(options)
        documents = [None if one is None else one.model_dump(mode="json") for one in (int8, tune)]
        return [planned, effort, *documents]

    def may_hand_out(self, point: Point) -> bool:
        """Whether it keeps the budget where plans are chosen, and on data that decided nothing."""
        return self.keeps(point) and self._is_confirmed(point)

    def lost(self, point: Point, limit: QualityLimits) -> float:
        """The loss that stands against its being handed out: where plans are chosen, or at the last."""
        lost, last = limit.loss(point.quality), self.last_word
        if last is None or last.limit is None:
            return lost
        return max(lost, last.limit.loss(self._last_quality(last, point)))

    def _is_confirmed(self, point: Point) -> bool:
        last = self.last_word
        return last is None or last.limit is None or last.limit.is_kept(self._last_quality(last, point))

    def keeps(self, point: Point) -> bool:
        """Whether its figures are within all of them, whether or not so few samples show it."""
        return (self.limit is None or self.limit.is_kept(point.quality)) and self.keeps_costs(point)

    def keeps_costs(self, point: Point) -> bool:
        """Whether it keeps the limits on cost."""
        return self.budget.keeps_costs(self.original, point.cost)

    @property
    def may_compare(self) -> bool:
        """Whether another plan to compare with is worth its time."""
        splits = self.study.splits
        work = (len(splits.fit) + len(splits.held_out)) * self.original.macs
        most = max(self.settings.fewest_builds, int(self.settings.build_macs // max(work, 1)))
        return len(self.points) < most

    def best(self) -> Point | None:
        """Of everything built, what keeps the budget and is best by what was asked; None if nothing does.

        Under limits on cost that is the least loss, and where only size is limited, of about the same loss
        the least time; else the least time, and of about the same time the least loss. Plans that were timed
        in turns with each other go before others.
        """
        kept = self.eligible()
        kept = [point for point in kept if point in self.in_turns] or kept
        if self.budget.is_of_size_alone and kept:
            least = min(point.quality.divergence for point in kept)
            ties = [p for p in kept if p.quality.divergence <= self.settings.near_tie * least]
            return min(ties, key=lambda point: self.space.milliseconds(point.options))
        if not self.budget.costs and kept:
            fastest = min(map(self.milliseconds, kept))
            kept = [p for p in kept if self.milliseconds(p) <= self.settings.same_time * fastest]
        return min(kept, key=lambda point: point.quality.divergence, default=None)

    def eligible(self) -> list[Point]:
        """All that keeps the budget, from mild to strong; what was fitted in full alone, if any was.

        On data that decided nothing, plans are tested from mild to strong, and none behind the first that
        fails: so many tests leave the level of each as it is (fixed sequence testing, Maurer et al. 1995).
        """
        kept = [point for point in self.points if self.keeps(point) and any(point.options)]
        kept = self._careful(kept)
        return [*takewhile(self._is_confirmed, sorted(kept, key=lambda point: point.quality.divergence))]

    def milliseconds(self, point: Point) -> float:
        """What a plan takes: as timed in turns with others, if it was; else by all that was learned.

        By its own timing where that says something else.
        """
        if point in self.in_turns:
            return self.in_turns[point]
        learned = self.space.milliseconds(point.options)
        return learned if point.cost.ms <= self.settings.unsure * learned else point.cost.ms

    def mildest(self, limit: QualityLimits) -> Point | None:
        """Of everything built, what loses least; None if nothing was."""
        return min(self.points, key=lambda point: limit.loss(point.quality), default=None)

    def closest(self) -> Point:
        """Of everything built, the closest to the limits on cost; of what keeps them, what loses least."""
        full = self._careful(self.points)
        if kept := [point for point in full if self.keeps_costs(point)]:
            return min(kept, key=lambda point: point.quality.divergence)
        return min(full, key=lambda point: self.budget.excess(self.original, point.cost))

    def cheapest(self, limit: QualityLimits, start: float, **within: float) -> Point | None:
        """The fastest plan that keeps ``limit``, and bounds of other quantities; or None."""
        if not within:
            self._calibrate(start)
        losses = [layer.columns().quantities[LOSS] for layer in self.space.layers]
        search = LossSearch(limit.most, limit.exponent, float(sum(layer.max() for layer in losses)))
        kept: list[Point] = []
        most = len(self.points) + self.settings.builds
        for predicted in search.steps(start):
            if len(self.points) >= most or (kept and not self.may_compare):
                break
            options = self.solve(TIME, {LOSS: predicted, **within})
            if options is None or not any(options):
                search.tell(predicted, 0.0)
                continue
            point = self.build(options, f"a loss of {predicted:.2g} predicted")
            if limit.is_kept(point.quality):
                kept.append(point)
                search.tell(predicted, limit.loss(point.quality))
            else:  # no less would do, until the next plan down
                search.tell(point.predicted_loss, limit.loss(point.quality))
        if not kept:
            return None
        best = min(kept, key=self.milliseconds)
        return self._compared(
            best, {TIME: self.space.milliseconds(best.options) - self.space.fixed_ms, **within}
        )

    def _calibrate(self, start: float) -> None:
        """Learn from a first build, of about this predicted loss, what of such losses is left."""
        options = self.solve(TIME, {LOSS: start})
        if options is not None and any(options) and fit_method(self.study).is_sequential:
            self.build(options, "a first one, for what layers behind make up")
            self.learn_shares()

    def learn_shares(self) -> None:
        """Correct what is expected to be left of the losses by all that was built."""
        if fit_method(self.study).is_sequential:
            built = [(p.options, p.quality.divergence) for p in self.points if not p.is_tuned]
            self.space = self.space.learn_shares(built)

    def within(self, tightened: Mapping[str, float] | None = None) -> Point | None:
        """The plan of least loss among those built here that keep the limits on cost; None if none does.

        Args:
            tightened: limits to aim at instead of the budget's, by option.
        """
        bounds = {**self.budget.bounds(self.original), **(tightened or {})}
        asked = {one.option: bounds[one.option] * self._margin(one) for one in self.budget.costs}
        tried, begin = list[Point](), len(self.points)
        for number in range(self.settings.retries):
            self.learn_shares()
            aimed_at = self._of_layers(asked)
            options = self.least_loss(aimed_at)
            if options is None:
                break
            point = self.build(options, "within the bounds")
            tried.append(point)
            if not number:
                point = self._compared(point, aimed_at)
            if self._is_close(point, bounds):
                break
            for limit in self.budget.costs:
                aim = limit.next_aim(asked[limit.option], bounds[limit.option], point.cost)
                asked[limit.option] = aim * self._margin(limit)
        kept = [point for point in (*tried, *self.points[begin:]) if self.keeps_costs(point)]
        return min(kept, key=lambda point: point.quality.divergence, default=None)

    def _is_close(self, point: Point, bounds: Mapping[str, float]) -> bool:
        """Whether no other plan need be built: the limits are kept, and the time allowed is used."""
        used = [
            limit.quantity(point.cost) / bounds[limit.option] for limit in self.budget.costs if limit.of_time
        ]
        if not self.keeps_costs(point):
            return False
        return not used or not self.study.may_time or max(used) >= self.settings.slack or not self.may_compare

    def _margin(self, limit: CostLimit) -> float:
        """The share of what is allowed that is aimed at: times come out differently, sizes do not."""
        return self.settings.inside if limit.of_time else 1.0

    def least_loss(self, bounds: Mapping[str, float], trust: float = 1.0) -> tuple[int, ...] | None:
        """The options that lose least within bounds of what the layers add up to; None if nothing keeps them.

        Where only size is limited, layers get slower only if nothing else keeps the bounds, nor any plan that
        was built, and of plans that lose about the same the fastest is taken.
        """
        if not self.budget.is_of_size_alone:
            return self.solve(LOSS, bounds, trust)
        for slower in (False, True):
            if slower and any(self.keeps(point) for point in self.points):
                break
            options = self.solve(LOSS, bounds, trust, slower=slower)
            if options is not None:
                most = self.settings.near_tie * self._loss(options, trust)
                return self.solve(TIME, {**bounds, LOSS: most}, trust, slower=slower) or options
        return None

    def _loss(self, options: Sequence[int], trust: float) -> float:
        """What options are expected to lose, where sensitivities are trusted so far."""
        columns = [layer.columns(trust=trust).quantities[LOSS] for layer in self.space.layers]
        pairs = zip(columns, self.space.of_layers(options), strict=True)
        return float(sum(losses[k] for losses, k in pairs)) + self.space.loss_beside(options)

    def _compared(self, point: Point, bounds: Mapping[str, float]) -> Point:
        """``point``, or the plan within the same bounds that trusts sensitivities less and diverges less.

        After those, the plan that is expected to lose least by all that was learned from them.
        """
        found = [point]
        for trust in (*self.settings.trusts, 1.0):
            self.learn_shares()
            options = self.least_loss(bounds, trust)
            if options is not None and any(options) and self.may_compare:
                found.append(self.build(options, f"single layers' losses trusted to {100 * trust:g} %"))
        return min(found, key=lambda p: p.quality.divergence)

    def fastest(self) -> tuple[int, ...]:
        """The options of least time, whatever they lose."""
        return self.space.solve(TIME, {}) or ()

    def solve(
        self, minimise: str, bounds: Mapping[str, float], trust: float = 1.0, *, slower: bool = True
    ) -> tuple[int, ...] | None:
        """The best options, or None if nothing keeps the bounds of what the layers add up to."""
        return self.space.solve(minimise, bounds, self.budget.costs, trust, slower=slower)

    def _of_layers(self, bounds: Mapping[str, float]) -> dict[str, float]:
        """Bounds of the network as bounds of what the layers add up to."""
        rest = Cost(ms=self.space.fixed_ms)
        return {one.option: bounds[one.option] - one.quantity(rest) for one in self.budget.costs}

    def _careful(self, points: list[Point]) -> list[Point]:
        """What was fitted in full alone, with what has nothing to fit; all of them where nothing was."""
        full = [point for point in points if point.effort == "full"]
        return full if any(self._is_fitted(point.options) for point in full) else points

    def in_full(self, point: Point) -> Point:
        """The same plan fitted with care."""
        if point.effort == "full":
            return point
        return self.build(point.options, "the plan chosen, fitted with care", "full")

    def _is_fitted(self, options: Sequence[int]) -> bool:
        """Whether a choice has anything to fit: factors, in a run that fits them."""
        pairs = zip(self.space.layers, self.space.of_layers(options), strict=True)
        return fit_method(self.study).is_fitted and any(k not in (0, one.dense_int8) for one, k in pairs)

    def build(
        self, options: tuple[int, ...], label: str, effort: Effort = "search", tune: Tune | None = None
    ) -> Point:
        """Build, perhaps tune, and judge, unless that was done before; and learn what its layers take."""
        effort = effort if self._is_fitted(options) else "full"
        for point in self.points:
            if (point.options, point.effort, point.is_tuned) == (options, effort, tune is not None):
                return point
        number, most = len(self.points), self.settings.builds + len(self.settings.trusts) + 3
        predicted, loss = self.space.cost(options), self.space.loss(options)
        kept = filter(self.may_hand_out, self.points)
        told = trying(label, predicted, self.original, kept, self.limit)
        self.study.progress("plan", number, max(number + 1, most), told)
        plan = make_plan(self.study, self.space.planned(options), self.space.int8(options))
        recipe = plan.model_copy(update={"effort": effort, "tune": tune})
        make = Making(partial(build, self.study, self.evidence, recipe))
        found = self.study.journal.remember(
            ["built", *self._recipe(options, effort, tune)],
            Judged,
            lambda: self._judged(make(), predicted),
            unless=lambda judged: judged.is_disturbed,
        )
        point = Point(
            label, options, effort, predicted, loss, make, tune, found.quality, found.speed, found.cost
        )
        self.points.append(point)
        if found.layer_ms:
            self.space = self.space.learn(options, found.layer_ms, found.cost.ms)
        self.forget_all_but(point, self.best())
        return point

    def forget_all_but(self, *kept: Point | None) -> None:
        """Let go of networks that are not likely to be asked for: each is as large as the original."""
        for point in self.points:
            if point not in kept:
                point.make.forget()

    def _judged(self, built: Built, predicted: Cost) -> Judged:
        quality = self.judge(self.study.engine.open(serialized(built.model)))
        speed = self._speed(built) if self.study.may_time else None
        cost = self._cost(built, predicted.ms if speed is None else self.original.ms / speed.ratio)
        return Judged(quality, speed, cost, self._layer_ms(built, speed, cost.ms))

    def _cost(self, built: Built, ms: float) -> Cost:
        pairs = zip(built.layers, self.space.layers, strict=True)
        written = sum(
            layer.parameters * choices.bytes_of(layer.planned.precision) for layer, choices in pairs
        )
        return Cost(ms, built.macs, built.parameters, written)

    def _speed(self, built: Built) -> Ratio:
        """Of what was built over the original file, as timed."""
        study = self.study
        rounds = open_and_time(
            study.engine,
            [("the original", study.loaded.runnable), ("the plan", serialized(built.model))],
            study.splits.judged_on,
            seconds=timed_seconds(study, self.settings),
            min_rounds=self.settings.fewest_rounds,
            seed=study.options.seed,
        )
        return rounds.ratio(1, seed=study.options.seed)

    def _layer_ms(self, built: Built, speed: Ratio | None, whole_ms: float) -> tuple[float | None, ...]:
        """What stands for each site takes in the network, to correct what is expected of its options."""
        study = self.study
        if speed is None or speed.is_disturbed or speed.high > self.settings.unsure * speed.low:
            return ()  # that says more of what else the machine did
        times = profile_layers(
            built.model,
            study.splits.judged_on[0],
            study.engine,
            profile_runs(whole_ms, self.settings.built_runs, self.settings),
            whole_ms=whole_ms,
        )
        return times.of_rebuilt(study.sites, built.site_of)
