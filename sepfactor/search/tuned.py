"""What a budget gains by tuning: stronger plans than it allows as they are fitted, tuned and judged too."""

from __future__ import annotations

import math

from sepfactor.budgets import QualityLimits
from sepfactor.plans.document import Tune
from sepfactor.search.beside import LOSS, TIME
from sepfactor.search.planner import Planner
from sepfactor.search.points import Point


def tune_within(planner: Planner, point: Point) -> None:
    """Tune a plan that keeps the limits on cost: it takes as long, and loses less."""
    seconds = planner.study.options.tune
    if seconds is not None:
        planner.build(point.options, "the plan chosen, tuned", "full", Tune(seconds=seconds))


def tune_faster(planner: Planner, limit: QualityLimits, start: float) -> None:
    """Tune plans that lose too much as they are fitted, each for a share of the seconds.

    The first is expected to lose so many times what the best plan so far does. What each comes to says how
    strong the next may be; the range between the strongest that keeps the limit and the mildest that does
    not gets smaller.

    Args:
        planner: has built and judged what it would do without tuning.
        limit: on what is lost.
        start: expected loss to begin at where nothing keeps the limit so far.
    """
    seconds, tries = planner.study.options.tune, planner.settings.tuned_plans
    if seconds is None:
        return
    best = planner.best()
    kept = start / planner.settings.tuned_gain if best is None else best.predicted_loss
    failed, aim = math.inf, kept * planner.settings.tuned_gain
    if best is None:
        kept = 0.0
    tried: set[tuple[int, ...]] = set()
    for _ in range(tries):
        options = planner.solve(TIME, {LOSS: aim})
        if options is None or not any(options) or options in tried:
            return
        tried.add(options)
        label = f"tuned, predicted loss {aim:.2g}"
        point = planner.build(options, label, "full", Tune(seconds=seconds / tries))
        excess = planner.lost(point, limit) / max(limit.most, 1e-12)
        step = excess ** (-1 / limit.exponent) if 0 < excess < math.inf else math.nan
        if planner.may_hand_out(point):
            kept = aim
            aim *= min(max(step, 1.25), planner.settings.tuned_gain)
            aim = aim if aim < failed else math.sqrt(kept * failed)
        else:
            failed = aim
            aim *= max(min(step, 0.8), 0.4)
            aim = aim if aim > kept else math.sqrt(kept * failed)
