"""Judge the written file: is it valid, how far is it from the original, how fast is it, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from sepfactor import __version__
from sepfactor.deliver.describe import (
    describe_budget,
    describe_data,
    describe_options,
    front_of,
    layer_rows,
    totals,
)
from sepfactor.deliver.pictures import PictureBook
from sepfactor.errors import ModelError
from sepfactor.fit.build import Built
from sepfactor.graph.instrument import serialized
from sepfactor.graph.load import external_files, first_line
from sepfactor.graph.prepare import may_change_speed
from sepfactor.graph.save import data_of
from sepfactor.measure.accuracy import Accuracy, compare_sessions
from sepfactor.measure.session import environment, open_session
from sepfactor.plans.document import Plan
from sepfactor.progress import in_shares
from sepfactor.report.model import Report
from sepfactor.search.follow import fingerprint
from sepfactor.search.to_budget import Outcome
from sepfactor.study.profiling import profile_layers, time_networks, times_after, times_before
from sepfactor.study.study import Job


@dataclass(frozen=True, eq=False)
class Trial:
    """What is judged, and against what.

    Attributes:
        job: the original and the data. built: what became of it. written: the file that holds it.
        outcome: how it was chosen, where that was to a budget. plan: that was followed, if one was given.
    """

    job: Job
    built: Built
    written: Path
    outcome: Outcome | None = None
    plan: Plan | None = None


def verify(trial: Trial) -> Report:
    """Check, compare, profile and time the written file; all of it into a report.

    Where nothing was replaced, only the original's layers are timed.

    Raises:
        ModelError: the result is not valid ONNX, or cannot be run.
    """
    job, built = trial.job, trial.built
    options, runtime, progress = job.options, job.runtime, job.progress
    original, feed = job.loaded.runnable, job.data.judged_on[0]
    result = _runnable(trial) if built.is_changed else trial.written
    accuracy = speed = None
    after: dict[str, float] = {}
    book = _picture_book(trial)
    if built.is_changed:
        check(trial.written, job.source.runnable)
        accuracy = compare_sessions(
            open_session(original, runtime),
            open_session(result, runtime),
            job.data.judged_on,
            labels=job.data.judged_on.labels,
            targets=job.data.judged_on.targets,
            progress=lambda done, total: progress("compare", done, total, "both networks"),
            watch=book.look if options.pictures else None,
        )
    watch = in_shares(progress, "profile", "the original, layer by layer")
    outputs = [decision.site.output for decision in built.decisions]
    profile = profile_layers(job.loaded.model, feed, runtime, watch=watch)
    before = times_before(job.loaded.model, profile, outputs)
    if built.is_changed:
        watch = in_shares(progress, "profile", "the result, layer by layer")
        profile = profile_layers(built.rebuilt.model, feed, runtime, watch=watch)
        after = times_after(profile, built.rebuilt.site_of)
        if options.bench_seconds:
            watch = in_shares(progress, "time", "whole networks, in turns")
            speed = time_networks(
                _contestants(trial, result), feed, runtime, options.bench_seconds, options.seed, watch
            )
    layers = layer_rows(built.decisions, built.fitted, before, after, job.spectra)
    return Report(
        sepfactor_version=__version__,
        model=job.loaded.name,
        output=None,
        options=describe_options(options),
        environment=environment(runtime).as_dict(),
        data=describe_data(job.data, options, built.fitted_on),
        layers=layers,
        totals=totals(layers, *_sizes(trial)),
        accuracy=None if accuracy is None else accuracy.as_dict(),
        speed=speed,
        notes=_notes(trial, accuracy),
        budget=None if trial.outcome is None else describe_budget(trial.outcome),
        front=None if trial.outcome is None else front_of(trial.outcome, speed),
        pictures=book.pages(),
        stand_in=job.original is not None,
    )


def _picture_book(trial: Trial) -> PictureBook:
    feeds = trial.job.data.judged_on
    preprocessing = feeds.preprocessing
    return PictureBook(None if preprocessing is None else preprocessing.as_dict(), feeds.labels)


def check(written: Path | bytes, original: Path | bytes) -> None:
    """Run ``onnx.checker`` with full shape inference over the written file, or its stand-in.

    Raises:
        ModelError: it finds fault with the result where it found none with the original.
    """
    fault = _fault(written)
    if fault is not None and _fault(original) is None:
        raise ModelError(
            f"The rewritten model does not pass onnx.checker: {fault}. This is a defect of sepfactor; "
            "leave the layer it names out with --ignore, and report it."
        )


def _fault(model: Path | bytes) -> str | None:
    try:
        onnx.checker.check_model(str(model) if isinstance(model, Path) else model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        return first_line(error)
    return None


def _runnable(trial: Trial) -> Path | bytes:
    """What is run of the written file: the file, or what stands in for it as it did for the original.

    Raises:
        ModelError: onnx.checker finds fault with the stand-in where it found none with the original's.
    """
    original = trial.job.original
    if original is None:
        return trial.written
    found = original.runnable(trial.written)
    check(found, serialized(trial.job.prepared))  # of which types are known, as of what was written
    return found


def _contestants(trial: Trial, result: Path | bytes) -> dict[str, Path | bytes]:
    """The networks to time; the prepared one too where preparing alone may have made it faster."""
    models: dict[str, Path | bytes] = {"original": trial.job.loaded.runnable}
    if may_change_speed(trial.job.loaded.model, trial.job.prepared):
        models["prepared"] = serialized(trial.job.prepared)
    models["result"] = result
    return models


def _notes(trial: Trial, accuracy: Accuracy | None) -> tuple[str, ...]:
    notes = [*trial.job.loaded.notes]
    options = trial.job.options
    if trial.job.data.judged_on.synthetic:
        notes.append(
            "SYNTHETIC IMAGES were used, since no --data was given: the errors below say how far the two "
            "networks differ on made-up pictures. No accuracy is claimed."
        )
    elif trial.job.data.is_synthetic:
        notes.append(
            "Candidates were compared, and factors fitted, on SYNTHETIC IMAGES, since no --data was given. "
            "The figures below are of the data given to judge on."
        )
    limit = None if trial.outcome is None else trial.outcome.limit
    if limit is not None and limit.kind == "agreement" and trial.job.data.judged_on.labels is not None:
        notes.append(
            "The labels are of --eval-data, so the budget counts agreement with the original on --data. To "
            "count true classes there too, put an array 'labels' into --data, or name the images in a table."
        )
    if accuracy is not None and (right := accuracy.baseline_at_chance) is not None:
        notes.append(
            f"The original itself gets only {100 * right:.1f} % right: preprocessing or labels do not "
            "fit the network."
        )
    if trial.plan is not None and trial.plan.fingerprint != fingerprint(trial.job.sites):
        notes.append(
            "The plan was made for other weights: its schemes and ranks are taken, but what it predicted "
            "does not hold."
        )
    names = [name for d in trial.built.decisions for name in (d.site.name, d.site.output)]
    idle = [glob for glob in options.globs() if not options.matches(glob, names)]
    notes += [f"The pattern {glob!r} fits no convolution of this network." for glob in idle]
    return tuple(notes)


def _sizes(trial: Trial) -> tuple[int, int]:
    """Bytes of the original and of the result, with what lies in files beside them."""
    source, data = trial.job.source, data_of(trial.written)
    original = source.runnable
    own = len(original) if isinstance(original, bytes) else original.stat().st_size
    before = own + sum(file.stat().st_size for file in external_files(source.model))
    return before, trial.written.stat().st_size + (data.stat().st_size if data.exists() else 0)
