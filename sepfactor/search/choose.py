"""Choose what becomes of every layer: by a plan that is given, by a rule, or to a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sepfactor.factor.scheme import Spectrum
from sepfactor.fit.build import Built
from sepfactor.fit.evidence import Evidence
from sepfactor.options import Options
from sepfactor.plans.document import Plan, Tune
from sepfactor.search.layer_timing import LayerTimer
from sepfactor.search.rules import by_rule
from sepfactor.search.settings import DEFAULT, SearchSettings
from sepfactor.search.to_budget import Outcome, plan_to_budget
from sepfactor.study.recipe import fitting_plan, make_plan
from sepfactor.study.study import Study


@dataclass(frozen=True, eq=False)
class Chosen:
    """A plan, and how it was found.

    Attributes:
        plan: what to build.
        spectra: of each layer, scheme → error by rank, as candidates were looked for; empty of a plan given.
        outcome: of the search, where there was a budget.
        given: the plan as it was handed in, if one was.
    """

    plan: Plan
    spectra: Sequence[Mapping[str, Spectrum]] = ()
    outcome: Outcome | None = None
    given: Plan | None = None

    @property
    def built(self) -> Built | None:
        """The network, where the search built it already."""
        return None if self.outcome is None else self.outcome.built

    @property
    def is_met(self) -> bool:
        """Whether the budget is kept, if there was one."""
        return self.outcome is None or self.outcome.verdict.is_met


def choose(
    study: Study,
    evidence: Sequence[Evidence],
    given: Plan | None = None,
    settings: SearchSettings = DEFAULT,
) -> Chosen:
    """A plan for every layer.

    Args:
        study: the run.
        evidence: of its sites.
        given: a plan to go by.
        settings: of the search.

    Raises:
        PlanError: the plan given does not fit the network.
        OptionError: the budget does not fit what the network puts out.
    """
    if given is not None:
        return Chosen(fitting_plan(study, given), given=given)
    if is_by_rule(study):
        layers = by_rule(study, evidence, settings, LayerTimer.of(study, settings))
        plan = make_plan(study, [layer.planned(len(layer.candidates)) for layer in layers])
        if study.options.tune is not None:
            plan = plan.model_copy(update={"tune": Tune(seconds=study.options.tune)})
        return Chosen(plan, [layer.spectra for layer in layers])
    outcome = plan_to_budget(study, evidence, settings)
    return Chosen(outcome.built.plan, [layer.spectra for layer in outcome.layers], outcome)


def is_by_rule(study: Study) -> bool:
    """Whether each layer is decided on its own.

    So it is by request; and where a classifier would be judged on made-up pictures, which say nothing of
    what it loses.
    """
    asked = study.options
    if asked.limits_quality or asked.limits_cost or asked.metric is not None:
        return False
    return asks_for_a_rule(asked) or not study.trusts_data


def asks_for_a_rule(asked: Options) -> bool:
    """Whether a rank, or an error that each layer may have, was asked for."""
    return asked.has_rule or any(own.rank or own.max_error is not None for own in asked.layers.values())
