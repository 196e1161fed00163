"""The front of speed over loss: plans from mild to strong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sepfactor.codes import BudgetVerdict
from sepfactor.fit.evidence import Evidence
from sepfactor.plans.document import Tune
from sepfactor.search.settings import SearchSettings
from sepfactor.search.to_budget import Outcome, expected_of, make_planner
from sepfactor.study.recipe import expecting
from sepfactor.study.study import Study


def explore(study: Study, evidence: Sequence[Evidence], settings: SearchSettings) -> list[Outcome]:
    """A handful of plans from mild to strong, each the least loss for its time, built, judged and timed."""
    planner = make_planner(study, evidence, settings)
    found: list[Outcome] = []
    for number in range(1, settings.front + 1):
        planner.learn_shares()
        space = planner.space
        fastest = space.milliseconds(planner.fastest())
        whole = space.prepared_ms * (fastest / space.prepared_ms) ** (number / settings.front)
        options = planner.solve("loss", {"time": whole - space.fixed_ms})
        known = any(outcome.point is not None and outcome.point.options == options for outcome in found)
        if options is None or not any(options) or known:
            continue
        label = f"plan {number} of {settings.front}"
        point = planner.in_full(planner.build(options, label))
        if study.options.tune is not None:
            share = Tune(seconds=study.options.tune / settings.front)
            point = planner.build(options, label, "full", share)
        point = replace(point, label=label)
        verdict = BudgetVerdict("front", True, label)
        plan = expecting(point.plan, expected_of(planner, point, point.quality, verdict))
        built = replace(point.built, plan=plan)
        found.append(Outcome(built, point, planner.space, (point,), verdict, quality=point.quality))
    study.progress("plan", len(planner.points), len(planner.points), "")
    return found
