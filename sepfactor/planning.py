"""``plan``, ``apply`` and ``profile``: choosing apart from building, here or for another machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sepfactor import __version__
from sepfactor.deliver.describe import describe_budget, describe_data, describe_options, front_of, front_point
from sepfactor.errors import NothingToReplace, within_means
from sepfactor.graph.load import ModelSource, load
from sepfactor.measure.session import environment
from sepfactor.measure.timing_cache import RecordingCache
from sepfactor.options import make_options
from sepfactor.pipeline import Result, check_sites, chooses_by_layer, compress
from sepfactor.plans.document import Plan
from sepfactor.plans.machine import MachineProfile
from sepfactor.progress import Progress, silent
from sepfactor.report.model import FrontPoint, Planning
from sepfactor.search.follow import expected_of, fingerprint, plan_of
from sepfactor.search.layer_timing import Stopwatch
from sepfactor.search.rules import decide
from sepfactor.search.space import gather_menu
from sepfactor.search.to_budget import explore, plan_to_budget
from sepfactor.study.study import Job, open_job


@within_means()
def plan(
    model: ModelSource,
    *,
    pareto: bool = False,
    config: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
    **options: Any,
) -> tuple[Planning, tuple[Plan, ...]]:
    """Choose a scheme and a rank for every convolution of ``model``, and build nothing to keep.

    Args:
        model: path, bytes, ModelProto or ir.Model; never modified.
        pareto: find a handful of plans from mild to strong instead of one within the budget.
        config: TOML file of options.
        progress: called as the work goes on.
        **options: the fields of :class:`sepfactor.options.Options`.

    Returns:
        What was predicted and measured on the way, and the plans: one, or those of the front, in the
        order of its points.

    Raises:
        SepfactorError: a child of it for each kind of trouble.
    """
    asked = make_options(options, Path(config) if config is not None else None)
    loaded = load(model)
    job = open_job(loaded, asked, progress)
    check_sites(job.sites, asked, loaded.name)
    if pareto:
        return _front(job)
    if chooses_by_layer(job):
        decisions = decide(job)
        return _planning(job), (plan_of(job, decisions, {}, {}),)
    outcome = plan_to_budget(job)
    found = plan_of(job, outcome.built.decisions, *expected_of(outcome))
    planning = _planning(job).model_copy(
        update={"budget": describe_budget(outcome), "front": front_of(outcome)}
    )
    return planning, (found,)


def _front(job: Job) -> tuple[Planning, tuple[Plan, ...]]:
    menu, outcomes = explore(job)
    if not outcomes:
        raise NothingToReplace(f"Nothing in {job.loaded.name} can be made faster: no candidate was.")
    points: tuple[FrontPoint, ...] = tuple(
        front_point(menu, o.point) for o in outcomes if o.point is not None
    )
    plans = tuple(plan_of(job, o.built.decisions, *expected_of(o)) for o in outcomes)
    return _planning(job).model_copy(update={"front": points}), plans


def _planning(job: Job) -> Planning:
    return Planning(
        sepfactor_version=__version__,
        model=job.loaded.name,
        options=describe_options(job.options),
        environment=environment(job.runtime).as_dict(),
        data=describe_data(job.data, job.options),
        budget=None,
        front=(),
        notes=job.notes,
    )


@within_means()
def apply(
    model: ModelSource,
    plan: Plan | str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    progress: Progress = silent,
    **options: Any,
) -> Result:
    """Build what a plan says, and measure it. The same model, plan and data give the same bytes.

    Args:
        model: path, bytes, ModelProto or ir.Model; that the plan was made for, or one of the same shape
            with other weights.
        plan: from :func:`plan`, or its file.
        output: file to write.
        progress: called as the work goes on.
        **options: go before what the plan says; ``data`` must be given if it was an object when the plan
            was made.

    Raises:
        PlanError: the plan cannot be read, or does not fit the model.
        SepfactorError: other trouble.
    """
    return compress(model, output, progress=progress, plan=plan, **options)


@within_means()
def profile(
    model: ModelSource,
    *,
    config: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
    **options: Any,
) -> MachineProfile:
    """Measure how long ``model``, its layers and their candidates take on this machine.

    Which ranks are candidates depends on the data; give those the plan is to be made with.

    Args:
        model: path, bytes, ModelProto or ir.Model.
        config: TOML file of options.
        progress: called as the work goes on.
        **options: the fields of :class:`sepfactor.options.Options`.

    Raises:
        SepfactorError: a child of it for each kind of trouble.
    """
    asked = make_options(options, Path(config) if config is not None else None)
    loaded = load(model)
    job = open_job(loaded, asked, progress)
    check_sites(job.sites, asked, loaded.name)
    noted = RecordingCache(job.timing_cache)
    menu = gather_menu(job, Stopwatch(job.runtime, asked.seed, noted))
    return MachineProfile(
        sepfactor_version=__version__,
        model=loaded.name,
        fingerprint=fingerprint(job.sites),
        environment=environment(job.runtime).as_dict(),
        original_ms=menu.original_ms,
        prepared_ms=menu.prepared_ms,
        layers={row.site.output: row.ms for row in menu.rows},
        times=noted.entries,
        notes=job.notes,
    )
