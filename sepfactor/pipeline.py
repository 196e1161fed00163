"""``compress``, ``plan``, ``apply`` and ``profile``: ``compress = apply ∘ plan``, on a page.

A study is opened, evidence is taken of it, and a plan chosen: by a rule, to a budget, or as it is given. The
plan is built, the result written, verified as it was written, and described.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

import sepfactor.report  # noqa: F401  # so that notebooks show results
from sepfactor import __version__
from sepfactor.deliver.describe import describe_data, describe_memory, describe_options, two_engines
from sepfactor.deliver.provenance import with_budget
from sepfactor.deliver.result import Result, deliver
from sepfactor.errors import ModelError, NothingToReplace, OptionError, SepfactorError, within_means
from sepfactor.fit.build import build
from sepfactor.fit.evidence import Evidence, observe
from sepfactor.fit.settings import fit_method
from sepfactor.graph.load import Loaded, ModelSource, external_files, load
from sepfactor.graph.save import check_destination, data_files, data_of
from sepfactor.graph.survey import Site
from sepfactor.measure.engines import open_engine
from sepfactor.measure.machine import machine_load
from sepfactor.options import Options, make_options
from sepfactor.outputs import check_outputs
from sepfactor.plans.document import Plan
from sepfactor.plans.machine import Int8Times, MachineProfile
from sepfactor.progress import Progress, silent
from sepfactor.reads import files_read
from sepfactor.results import Planning
from sepfactor.search.choose import choose
from sepfactor.search.front import explore
from sepfactor.search.gathering import gather_space
from sepfactor.search.layer_timing import LayerTimer
from sepfactor.search.settings import DEFAULT, MOST_PLANS
from sepfactor.search.to_budget import Outcome, front_point
from sepfactor.signatures import ApplyOptions, CompressOptions, PlanOptions, ProfileOptions
from sepfactor.study.recipe import building_options, check_data, fingerprint, open_plan
from sepfactor.study.study import Study, open_study
from sepfactor.tune.tuning import check_torch
from sepfactor.uses import FRONT


@within_means()
def compress(
    model: ModelSource,
    output: str | os.PathLike[str] | None = None,
    *,
    config: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
    **options: Unpack[CompressOptions],
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
    asked, given = effective(options, config)
    target = Path(output) if output is not None else None
    study = _opened(model, asked, progress, target, given)
    evidence = _observed(study)
    chosen = choose(study, evidence, given)
    try:
        built = chosen.built or build(study, evidence, chosen.plan)
        result = deliver(study, chosen, built, target)
    except SepfactorError as error:
        if chosen.outcome is not None:
            error.plan = with_budget(chosen.plan, asked)
        raise
    study.journal.end()
    return result


@within_means()
def apply(
    model: ModelSource,
    plan: Plan | str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    config: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
    **options: Unpack[ApplyOptions],
) -> Result:
    """Build what a plan says, and measure it. The same model, plan and data give the same bytes.

    Args:
        model: path, bytes, ModelProto or ir.Model; that the plan was made for, or one of the same shape
            with other weights.
        plan: from :func:`plan`, or its file.
        output: file to write.
        config: TOML file of options.
        progress: called as the work goes on.
        **options: go before what the config and the plan say; ``data`` must be given if it was an object
            when the plan was made.

    Raises:
        PlanError: the plan cannot be read, or does not fit the model.
        SepfactorError: other trouble.
    """
    return compress(model, output, config=config, progress=progress, plan=plan, **options)


@within_means()
def plan(
    model: ModelSource,
    *,
    pareto: bool = False,
    config: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
    **options: Unpack[PlanOptions],
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
    asked = make_options(options, config, function=FRONT if pareto else "plan")
    study = _opened(model, asked, progress)
    evidence = _observed(study)
    if not pareto:
        chosen = choose(study, evidence)
        made = chosen.plan
        if made.tune is not None and made.tune.steps is None:  # how many that are is found by building it
            made = build(study, evidence, made).plan
        study.journal.end()
        return _planning(study, chosen.outcome), (with_budget(made, asked),)
    outcomes = explore(study, evidence, DEFAULT)
    if not outcomes:
        raise NothingToReplace(f"Nothing in {study.loaded.name} can be made faster: no candidate was.")
    study.journal.end()
    points = tuple(front_point(o.space, o.point) for o in outcomes if o.point is not None)
    planning = _planning(study, None).model_copy(update={"front": points})
    return planning, tuple(outcome.built.plan for outcome in outcomes)


@within_means()
def profile(
    model: ModelSource,
    *,
    config: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
    **options: Unpack[ProfileOptions],
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
    asked = make_options(options, config, function="profile")
    study = _opened(model, asked, progress)
    space = gather_space(study, _observed(study), DEFAULT, LayerTimer.of(study, DEFAULT))
    return MachineProfile(
        sepfactor_version=__version__,
        model=study.loaded.name,
        fingerprint=fingerprint(study.sites),
        environment=study.environment.model_dump(),
        original_ms=space.original_ms,
        prepared_ms=space.prepared_ms,
        layers={c.evidence.site.output: c.ms for c in space.layers if c.candidates},
        times=study.timing_cache.entries,
        int8=(space.beside.times or Int8Times()) if asked.int8 else None,
        notes=study.network.notes,
    )


def effective(
    options: Mapping[str, Any], config: str | os.PathLike[str] | None = None
) -> tuple[Options, Plan | None]:
    """The options that hold for :func:`compress`, and the plan to build, if one is given.

    Args:
        options: keyword arguments, which go before the config file.
        config: TOML file of options, which goes before what a plan says of how to build it.

    Raises:
        OptionError: an option is unknown, does not fit, or is not used.
        PlanError: the plan cannot be read.
    """
    asked = make_options(options, config, function="compress")
    if asked.plan is None:
        return asked, None
    given = open_plan(asked.plan)
    asked = make_options(options, config, building_options(given), function="apply", also=("plan",))
    check_data(given, asked)
    return asked, given


def busy(asked: Options) -> str | None:
    """A sentence, if other programs keep this machine so busy that it matters; for before the work begins."""
    with suppress(OptionError):  # an engine that there is none of is told when it is needed
        return machine_load().warning(open_engine(asked.engine, asked.threads, asked.provider).clock)
    return None


def _opened(
    model: ModelSource,
    asked: Options,
    progress: Progress,
    target: Path | None = None,
    given: Plan | None = None,
) -> Study:
    """The study, once all is refused that can be before any work; rewritten as a given plan has it."""
    loaded = load(model)
    if target is not None:
        check_target(target, loaded, asked)
    rewrites = None if given is None else given.rewrites
    if asked.tune is not None or (given is not None and given.tune is not None):
        check_torch("--tune" if asked.tune is not None else "The plan tunes the network, which")
    study = open_study(loaded, asked, progress, rewrites, chooses=not asked.has_rule)
    check_sites(study.sites, asked, study.network.source.name)
    return study


def _observed(study: Study) -> tuple[Evidence, ...]:
    return observe(study, weighed=fit_method(study).is_fitted)


def _planning(study: Study, outcome: Outcome | None) -> Planning:
    return Planning(
        sepfactor_version=__version__,
        model=study.loaded.name,
        options=describe_options(study.options),
        environment=study.environment,
        data=describe_data(study.splits, study.options),
        rewrites=study.network.rewritten,
        budget=None if outcome is None else outcome.described(),
        front=() if outcome is None else outcome.front(),
        tasks=() if outcome is None else outcome.tasks,
        notes=(
            *study.network.notes,
            *study.splits.notes,
            *two_engines(study.environment),
            *(() if outcome is None else outcome.notes),
        ),
        memory=describe_memory(study),
    )


def check_target(target: Path, loaded: Loaded, options: Options) -> None:
    """Fail early where the output could not be written, or would replace an input."""
    models = [loaded.path, *external_files(loaded.model)]
    read = files_read(options, others=models)
    beside = dict.fromkeys((data_of(target), *data_files(target)))
    check_outputs([("-o", target)], read, overwrite=options.overwrite, beside=beside)
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


__all__ = ["MOST_PLANS", "apply", "busy", "compress", "effective", "plan", "profile"]
