"""Find the plan: predict, build, measure, correct the prediction, until the budget is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sepfactor.amounts import Amount
from sepfactor.errors import OptionError
from sepfactor.fit.build import Built, build
from sepfactor.fit.sequential import FitSettings
from sepfactor.graph.instrument import serialized
from sepfactor.graph.survey import Site
from sepfactor.measure.quality import Judge, Quality
from sepfactor.measure.session import open_session, run
from sepfactor.measure.timing import Ratio, interleave, ratio
from sepfactor.options import Options
from sepfactor.plans.knapsack import solve
from sepfactor.search.loss_search import LossSearch
from sepfactor.search.space import FEW_ROUNDS, Menu
from sepfactor.study.profiling import profile_layers, times_after
from sepfactor.study.study import Job

DEFAULT_MAX_DROP = Amount(0.01, True)
DEFAULT_MIN_SNR = 35.0

_LESS_TRUST = {0.5: "sensitivities half believed", 0.0: "all layers alike"}
"""Plans to compare with the one that takes sensitivities as measured: what is handed out beats them."""

_BUILDS = 4
"""Plans built and judged at most while looking for the one that just keeps the limit."""

_SLACK = 0.955
"""A plan that takes less than this share of the time allowed gives some accuracy away."""

_INSIDE = 0.985
"""Aim so far inside the time allowed: half of what is aimed at the edge falls outside."""

_USUAL_BUILDS = _BUILDS + 5
"""In all, with a first one to learn from, three to compare with, and the last, with care."""

_WORK = 1.2e12
"""Multiply-accumulates on all images that plans may be built for: of large networks fewer are."""

_FEWEST = 3
"""Plans built at least, if so many are wanted. No clock is asked: the same input gives the same network."""

_RETRIES = 4
"""Builds more where the time, or the final fit, turned out other than predicted."""


@dataclass(frozen=True)
class Limit:
    """What may be lost, as a number that rises with the loss.

    Attributes:
        text: as people say it. most: of :meth:`loss`.
        exponent: how that number goes with divergence.
    """

    kind: str
    text: str
    most: float
    exponent: float

    def loss(self, quality: Quality) -> float:
        """Of this quality: noise over signal, or the expected drop."""
        if self.kind in ("snr", "psnr"):
            return float(10 ** (-quality.expected / 10))
        return max(quality.drop, 0.0)

    def is_kept(self, quality: Quality) -> bool:
        """Whether it is within the limit."""
        return self.loss(quality) <= self.most * (1 + 1e-9)


_UNSURE = 1.2
"""An interval of a speedup that is wider teaches nothing."""


@dataclass(frozen=True, eq=False)
class Point:
    """A plan that was built and judged.

    Attributes:
        label: why it was built. options: by row of the menu.
        predicted_ms, predicted_loss: before building.
        built: the network. quality: on held-out data.
        speed: over the original file, where it was timed.
    """

    label: str
    options: tuple[int, ...]
    predicted_ms: float
    predicted_loss: float
    built: Built
    quality: Quality
    speed: Ratio | None = None


@dataclass
class Planner:
    """Chooses from a menu by building and measuring.

    Attributes:
        job: the run. menu: what may be chosen; its times are corrected by what is built.
        judge: on held-out data. quick: settings of fits while searching; None for those of the job.
        points: everything built so far.
    """

    job: Job
    menu: Menu
    judge: Judge
    quick: FitSettings | None = None
    points: list[Point] = field(default_factory=list)

    def cheapest(self, limit: Limit, start: float) -> Point | None:
        """The fastest plan that keeps ``limit``, or None."""
        self._calibrate(start)
        losses = [row.columns().quantities["loss"] for row in self.menu.rows]
        search = LossSearch(limit.most, limit.exponent, float(sum(row.max() for row in losses)))
        kept: list[Point] = []
        most = len(self.points) + _BUILDS
        for predicted in search.steps(start):
            if len(self.points) >= most or (kept and not self.may_compare):
                break
            options = self.solve("time", {"loss": predicted})
            if options is None or not any(options):
                search.tell(predicted, 0.0)
                continue
            point = self.build(options, f"predicted loss {predicted:.2g}")
            if limit.is_kept(point.quality):
                kept.append(point)
                search.tell(predicted, limit.loss(point.quality))
            else:  # no less would do, until the next plan down
                search.tell(point.predicted_loss, limit.loss(point.quality))
        if not kept:
            return None
        best = min(kept, key=lambda p: self.menu.milliseconds(p.options))
        return self._better(best, {"time": self.menu_time(best.options)})

    @property
    def may_compare(self) -> bool:
        """Whether another plan to compare with is worth its time."""
        runs = len(self.job.data.fit) + len(self.job.data.held_out)
        work = runs * sum(macs_of(self.job, site) for site in self.job.sites)
        return len(self.points) < max(_FEWEST, int(_WORK // max(work, 1)))

    def _calibrate(self, start: float) -> None:
        """Learn from a first build, of about this predicted loss, what of such losses is left."""
        options = self.solve("time", {"loss": start})
        if options is not None and any(options) and self.job.method.sequential:
            self.build(options, "to see what those behind make up for")
            self.learn_shares()

    def learn_shares(self) -> None:
        """Correct what is expected to be left of the losses by all that was built."""
        if self.job.method.sequential:
            self.menu = self.menu.learn_shares([(p.options, p.quality.divergence) for p in self.points])

    def within(self, bounds: Mapping[str, float]) -> Point | None:
        """The plan of least loss whose time, multiply-accumulates and parameters stay within ``bounds``.

        ``time`` is of the whole network, milliseconds, and is checked by timing what was built.
        """
        asked = dict(bounds)
        if "time" in asked:
            asked["time"] *= _INSIDE
        best: Point | None = None
        for _ in range(_RETRIES):
            self.learn_shares()
            options = self.solve("loss", self._of_rows(asked))
            if options is None:
                return best
            point = self.build(options, "within the bounds")
            if best is None:
                point = self._better(point, self._of_rows(asked))
            if "time" not in bounds or not self.job.may_time:
                return point
            assert point.speed is not None
            reached = self.menu.original_ms / point.speed.speedup
            if best is None or _is_better(point, best, self.menu.original_ms / bounds["time"]):
                best = point
            if reached <= bounds["time"] and (bounds["time"] * _SLACK <= reached or not self.may_compare):
                break
            asked["time"] *= _INSIDE * bounds["time"] / reached
        return best

    def _better(self, point: Point, bounds: Mapping[str, float]) -> Point:
        """``point``, or the plan within the same bounds that trusts sensitivities less and diverges less.

        After those, the plan that is expected to lose least by all that was learned from them.
        """
        found = [point]
        for trust, label in (*_LESS_TRUST.items(), (1.0, "by what these lost")):
            self.learn_shares()
            options = self.solve("loss", bounds, trust)
            if options is not None and any(options) and self.may_compare:
                found.append(self.build(options, label))
        return min(found, key=lambda p: p.quality.divergence)

    def fastest(self) -> tuple[int, ...]:
        """The options of least time, whatever they lose."""
        return tuple(int(np.argmin(row.columns().quantities["time"])) for row in self.menu.rows)

    def solve(self, minimise: str, bounds: Mapping[str, float], trust: float = 1.0) -> tuple[int, ...] | None:
        """The best options, or None if nothing keeps the bounds."""
        return solve([row.columns(trust) for row in self.menu.rows], minimise, bounds)

    def menu_time(self, options: Sequence[int]) -> float:
        """Expected time of the rows alone."""
        return self.menu.milliseconds(options) - self.menu.fixed_ms

    def build(self, options: tuple[int, ...], label: str, settings: FitSettings | None = None) -> Point:
        """Build and judge, unless these options were built before; and learn what its layers take."""
        chosen = settings or self.quick
        for point in self.points:
            if point.options == options and settings is None:
                return point
        number = len(self.points)
        self.job.progress("plan", number, max(number + 1, _USUAL_BUILDS), label)
        built = build(self.job, self.menu.decisions(self.job, options), chosen)
        session = open_session(serialized(built.rebuilt.model), self.job.runtime)
        quality = self.judge(session)
        predicted = self.menu.milliseconds(options), self.menu.loss(options)
        speed = self._speed(built) if self.job.may_time else None
        point = Point(label, options, *predicted, built, quality, speed)
        self.points.append(point)
        self._learn(point)
        return point

    def _speed(self, built: Built) -> Ratio:
        """Of what was built over the original file, as timed."""
        feed = dict(self.job.data.judged_on[0])
        calls = []
        for model in (self.job.loaded.runnable, serialized(built.rebuilt.model)):
            session = open_session(model, self.job.runtime)
            run(session, feed)
            calls.append(lambda s=session: s.run(None, feed))
        samples = interleave(
            calls,
            budget_s=self.job.timing_seconds,
            min_rounds=FEW_ROUNDS,
            precision=0.005,
            seed=self.job.options.seed,
        )
        return ratio(samples[0], samples[1], seed=self.job.options.seed)

    def _learn(self, point: Point) -> None:
        """Correct the expected time of every option that was built by its time in the network."""
        if point.speed is None or point.speed.high > _UNSURE * point.speed.low:
            return  # that says more of what else the machine did
        rebuilt = point.built.rebuilt
        profile = profile_layers(
            rebuilt.model, self.job.data.judged_on[0], self.job.runtime, runs=self._runs(point)
        )
        after = times_after(profile, rebuilt.site_of)
        # A profile costs time itself; what a layer takes of it, it takes of the run that was timed.
        reached = self.menu.original_ms / point.speed.speedup
        scale = reached / (sum(profile.operators.values()) or 1.0)
        measured = {name: scale * ms for name, ms in after.items()}
        self.menu = self.menu.learn(point.options, measured, reached)

    def _runs(self, point: Point) -> int:
        assert point.speed is not None
        return self.job.profile_runs(self.menu.original_ms / point.speed.speedup, 10)

    def _of_rows(self, bounds: Mapping[str, float]) -> dict[str, float]:
        """Bounds of the network as bounds of what the rows add up to."""
        job, menu = self.job, self.menu
        rows = {row.site.output for row in menu.rows}
        found = dict(bounds)
        if "time" in found:
            found["time"] -= menu.fixed_ms
        others = [s for s in job.sites if s.output not in rows and s.stage is not None]
        if "macs" in found:
            found["macs"] -= sum(macs_of(job, site) for site in others)
        if "parameters" in found:
            found["parameters"] -= sum(parameters_of(site) for site in others)
        return found


def macs_of(job: Job, site: Site) -> int:
    """Multiply-accumulates of a site on its map; 0 where that is unknown."""
    seen = job.observed.get(site.output)
    return 0 if site.stage is None or seen is None or not seen.size else site.stage.macs(seen.size)


def parameters_of(site: Site) -> int:
    """Weights and biases of a site."""
    return 0 if site.stage is None else site.stage.parameters + (0 if site.bias is None else site.bias.size)


_COUNTED = {
    "top-1": "top-1",
    "agreement": "agreement with the original",
    "estimate": "estimated top-1",
}
"""What is lost, by kind of quality."""


def limit_of(options: Options, judge: Judge) -> Limit:
    """What may be lost: as asked, or the default for this kind of output.

    Raises:
        OptionError: the limit asked for does not fit the outputs.
    """
    kind = judge.kind
    asked = options.max_drop or options.max_estimated_drop
    if kind in ("snr", "psnr"):
        if asked is not None:
            flag = "--max-drop" if options.max_drop is not None else "--max-estimated-drop"
            raise OptionError(
                f"{flag} counts classes, and no output of this network holds class scores. Say "
                "--min-snr 35 (dB against the original's output), --min-psnr, or give a --metric."
            )
        least = options.min_snr if options.min_snr is not None else options.min_psnr
        least = DEFAULT_MIN_SNR if least is None else least
        return Limit(kind, f"{kind.upper()} at least {least:g} dB", float(10 ** (-least / 10)), 1.0)
    drop = asked or DEFAULT_MAX_DROP
    if kind == "metric":
        return Limit(kind, f"at most {drop} of the metric lost", drop.of(abs(judge.original_score)), 0.7)
    if not 0 <= drop.value < 1:
        raise OptionError(
            f"A drop of {drop} leaves no class right. Say --max-drop 1% for one point of a hundred."
        )
    unit = "point" if drop.value == 0.01 else "points"
    # Flips go with the root of the divergence, and so does what one of them costs where leads are counted.
    exponent = 0.9 if kind == "estimate" else 0.7
    return Limit(kind, f"at most {100 * drop.value:g} {unit} of {_COUNTED[kind]} lost", drop.value, exponent)


def _is_better(one: Point, other: Point, speedup: float) -> bool:
    """Whether ``one`` reaches the speedup and the other does not, or loses less, or else is faster."""
    assert one.speed is not None
    assert other.speed is not None
    reach = [point.speed.speedup >= speedup for point in (one, other) if point.speed is not None]
    if reach == [True, True]:
        return one.quality.divergence < other.quality.divergence
    if reach == [False, False]:
        return one.speed.speedup > other.speed.speedup
    return reach[0]
