"""The way through: load → prepare → survey → observe → propose → choose → rebuild → verify → report."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from sepfactor.deliver.verify import Trial, verify
from sepfactor.errors import ModelError, NothingToReplace, OptionError, within_means
from sepfactor.fit.build import Built, build, network_to_write
from sepfactor.graph.load import Loaded, ModelSource, external_files, load
from sepfactor.graph.save import are_same, check_destination, data_files, publish, staged
from sepfactor.graph.survey import Site
from sepfactor.options import Options, make_options
from sepfactor.plans.document import Plan
from sepfactor.progress import Progress, silent
from sepfactor.report.model import Report
from sepfactor.report.verdict import speed_line
from sepfactor.report.words import sort_of
from sepfactor.search.follow import building_options, expected_of, follow, open_plan, plan_of
from sepfactor.search.rules import decide
from sepfactor.search.to_budget import Outcome, plan_to_budget
from sepfactor.study.study import Job, open_job


@dataclass(frozen=True, eq=False)
class Result:
    """What :func:`compress` returns.

    Attributes:
        report: everything done and measured.
        model: the rewritten graph; where nothing was worth replacing, the prepared original.
        path: where it was written, None if it was not.
        plan: what was done, to be written, edited and applied again.
    """

    report: Report
    model: ir.Model
    path: Path | None
    plan: Plan

    @property
    def is_met(self) -> bool:
        """Whether the budget is kept, if one was set."""
        return self.report.budget is None or self.report.budget.is_met

    def __repr__(self) -> str:
        sums, speed = self.report.totals, self.report.speed
        sort = sort_of(layer.weight_shape for layer in self.report.layers)
        verdict = speed_line(speed) if speed else "not timed"
        return f"<Result {sums.replaced} of {sums.convolutions} {sort} replaced, {verdict}>"

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


@within_means()
def compress(
    model: ModelSource,
    output: str | os.PathLike[str] | None = None,
    *,
    config: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Result:
    """Replace convolutions of ``model`` by factorisations, and measure what that did.

    Args:
        model: path, bytes, ModelProto or ir.Model; never modified.
        output: file to write; without it the result is only returned.
        config: TOML file of options.
        progress: called as the work goes on.
        **options: the fields of :class:`sepfactor.options.Options`.

    Returns:
        The report, the model and the plan. Where nothing was worth replacing, or a budget cannot be kept
        (unless ``force``), nothing is written.

    Raises:
        SepfactorError: a child of it for each kind of trouble, see :mod:`sepfactor.errors`.
    """
    asked, plan = effective(options, config)
    target = Path(output) if output is not None else None
    loaded = load(model)
    if target is not None:
        check_target(target, loaded, asked)
    job = open_job(loaded, asked, progress)
    check_sites(job.sites, asked, loaded.name)
    outcome = None
    if plan is not None:
        built = build(job, follow(job, plan))
    elif chooses_by_layer(job):
        built = build(job, decide(job))
    else:
        outcome = plan_to_budget(job)
        built = outcome.built
    return _finish(job, built, outcome, target, plan)


def effective(
    options: Mapping[str, Any], config: str | os.PathLike[str] | None = None
) -> tuple[Options, Plan | None]:
    """The options that hold, and the plan to build, if one is given.

    Args:
        options: keyword arguments, which go before the config file.
        config: TOML file of options, which goes before what a plan says of how to build it.

    Raises:
        OptionError: an option is unknown, or does not fit.
        PlanError: the plan cannot be read.
    """
    file = Path(config) if config is not None else None
    asked = make_options(options, file)
    if asked.plan is None:
        return asked, None
    plan = open_plan(asked.plan)
    return make_options(options, file, building_options(plan)), plan


def chooses_by_layer(job: Job) -> bool:
    """Whether each layer is decided on its own.

    So it is by request; and where a classifier would be judged on made-up pictures, which say nothing of
    what it loses.
    """
    asked = job.options
    if asked.limits_quality or asked.limits_cost:
        return False
    return (
        asked.has_rule
        or any(o.rank or o.max_error is not None for o in asked.layers.values())
        or (job.data.is_synthetic and not job.method.trusts_data)
    )


def _finish(
    job: Job, built: Built, outcome: Outcome | None, target: Path | None, followed: Plan | None
) -> Result:
    """Write, verify what was written, and put it in its place."""
    model = network_to_write(job, built)
    with ExitStack() as stack:
        place = target or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model.onnx"
        written = stack.enter_context(staged(model, place))
        report = verify(Trial(job, built, written, outcome, followed))
        plan = plan_of(job, built.decisions, *expected_of(outcome))
        may_write = built.is_changed and (outcome is None or outcome.is_met or job.options.force)
        if target is None or not may_write:
            return Result(report, model, None, plan)
        publish(written, target, overwrite=job.options.overwrite)
        return Result(report.model_copy(update={"output": str(target)}), model, target, plan)


def check_target(target: Path, loaded: Loaded, options: Options) -> None:
    """Fail early where the output could not be written, or would replace an input."""
    given = (options.data, options.eval_data, options.labels, options.targets)
    for source in (loaded.path, *external_files(loaded.model), *given):
        if not isinstance(source, str | os.PathLike):
            continue
        if any(are_same(place, Path(source)) for place in (target, *data_files(target))):
            raise OptionError(f"{target} is an input itself, and those are never touched. Choose another -o.")
    check_destination(target, overwrite=options.overwrite)


def check_sites(sites: Sequence[Site], options: Options, name: str) -> None:
    """Fail where there is no convolution, or one that makes the network compute NaN."""
    if not sites:
        raise NothingToReplace(f"{name} has no Conv at all, so there is nothing to factor.")
    for site in sites:
        if site.broken and not options.for_layer(site.name, site.output).keep:
            raise ModelError(
                f"The Conv {site.name!r} in {name} cannot be used: {site.skipped}, so the network computes "
                f"NaN. Export the model again, or leave the layer out with --ignore {site.name!r}."
            )
