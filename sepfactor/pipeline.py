"""The way through: load → prepare → survey → observe → propose → choose → rebuild → verify → report."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from sepfactor.errors import ModelError, NothingToReplace, OptionError
from sepfactor.graph.load import Loaded, ModelSource, external_files, load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rebuild import rebuild
from sepfactor.graph.save import are_same, check_destination, publish, staged
from sepfactor.graph.survey import Site, survey
from sepfactor.measure.session import Runtime
from sepfactor.options import Options, make_options
from sepfactor.progress import Progress, silent
from sepfactor.report.model import Report
from sepfactor.steps.choose import decide, replacements
from sepfactor.steps.gather import gather
from sepfactor.steps.method import choose_method, fit_all
from sepfactor.steps.observe import observe
from sepfactor.steps.verify import Trial, verify


@dataclass(frozen=True, eq=False)
class Result:
    """What :func:`compress` returns.

    Attributes:
        report: everything done and measured.
        model: the rewritten graph; where nothing was worth replacing, the prepared original.
        path: where it was written, None if it was not.
    """

    report: Report
    model: ir.Model
    path: Path | None

    def __repr__(self) -> str:
        sums, speed = self.report.totals, self.report.speed
        verdict = speed.speedup["verdict"] if speed else "not timed"
        return f"<Result {sums.replaced} of {sums.convolutions} convolutions replaced, {verdict}>"


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
        The report and the model. Where nothing was worth replacing, nothing is written.

    Raises:
        SepfactorError: a child of it for each kind of trouble, see :mod:`sepfactor.errors`.
    """
    asked = make_options(options, Path(config) if config is not None else None)
    target = Path(output) if output is not None else None
    loaded = load(model)
    if target is not None:
        _check_target(target, loaded, asked)
    runtime = Runtime(asked.threads, asked.provider)
    prepared = prepare(loaded.model)
    sites = survey(prepared)
    _check_sites(sites, asked, loaded.name)
    data = gather(loaded, asked, runtime)
    method = choose_method(loaded, data, asked)
    observed = observe(prepared, sites, data.fit, runtime, asked.seed, progress)
    decisions = decide(sites, observed, asked, runtime, progress, method.pull)
    fitted, fitted_on = fit_all(prepared, decisions, data, method, asked, runtime, progress)
    rebuilt = rebuild(prepared, replacements(decisions, fitted))
    with ExitStack() as stack:
        place = target or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model.onnx"
        written = stack.enter_context(staged(rebuilt.model, place))
        trial = Trial(loaded, prepared, rebuilt, written, decisions, fitted, data, fitted_on)
        report = verify(trial, asked, runtime, progress)
        if target is None or not trial.is_changed:
            return Result(report, rebuilt.model, None)
        publish(written, target, overwrite=asked.overwrite)
        return Result(report.model_copy(update={"output": str(target)}), rebuilt.model, target)


def _check_target(target: Path, loaded: Loaded, options: Options) -> None:
    given = (options.data, options.eval_data, options.labels, options.targets)
    for source in (loaded.path, *external_files(loaded.model), *given):
        if isinstance(source, str | os.PathLike) and are_same(target, Path(source)):
            raise OptionError(f"{target} is an input itself, and those are never touched. Choose another -o.")
    check_destination(target, overwrite=options.overwrite)


def _check_sites(sites: Sequence[Site], options: Options, name: str) -> None:
    if not sites:
        raise NothingToReplace(f"{name} has no Conv at all, so there is nothing to factor.")
    for site in sites:
        if site.broken and not options.for_layer(site.name, site.output).keep:
            raise ModelError(
                f"The Conv {site.name!r} in {name} cannot be used: {site.skipped}, so the network computes "
                f"NaN. Export the model again, or leave the layer out with --ignore {site.name!r}."
            )
