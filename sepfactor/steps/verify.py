"""Judge the written file: is it valid, how far is it from the original, how fast is it, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from sepfactor import __version__
from sepfactor.errors import ModelError
from sepfactor.graph.instrument import serialized
from sepfactor.graph.load import Loaded, first_line
from sepfactor.graph.prepare import may_change_speed
from sepfactor.graph.rebuild import Rebuilt
from sepfactor.measure.accuracy import Accuracy, compare_sessions
from sepfactor.measure.session import Runtime, environment, open_session
from sepfactor.options import Options
from sepfactor.progress import Progress
from sepfactor.report.model import Report
from sepfactor.steps.choose import Decision
from sepfactor.steps.fit import Fitted
from sepfactor.steps.gather import Data
from sepfactor.steps.report import describe_data, describe_options, layer_rows, totals
from sepfactor.steps.times import profile_layers, time_networks, times_after, times_before


@dataclass(frozen=True, eq=False)
class Trial:
    """What is judged, and against what.

    Attributes:
        loaded: the original. prepared: the same made plain. rebuilt: the same factored.
        written: the file that holds ``rebuilt``.
        decisions: one per Conv. fitted: the fits, by output name of the site.
        data: what was fitted to and what to judge on. fitted_on: samples used for fitting.
    """

    loaded: Loaded
    prepared: ir.Model
    rebuilt: Rebuilt
    written: Path
    decisions: Sequence[Decision]
    fitted: Mapping[str, Fitted]
    data: Data
    fitted_on: int

    @property
    def is_changed(self) -> bool:
        """Whether anything was replaced."""
        return any(decision.choice.candidate is not None for decision in self.decisions)


def verify(trial: Trial, options: Options, runtime: Runtime, progress: Progress) -> Report:
    """Check, compare, profile and time the written file; all of it into a report.

    Where nothing was replaced, only the original's layers are timed.

    Raises:
        ModelError: the result is not valid ONNX, or cannot be run.
    """
    original, feed = trial.loaded.runnable, trial.data.judged_on[0]
    accuracy = speed = None
    after: dict[str, float] = {}
    if trial.is_changed:
        check(trial.written, original)
        accuracy = compare_sessions(
            open_session(original, runtime),
            open_session(trial.written, runtime),
            trial.data.judged_on,
            labels=trial.data.judged_on.labels,
            targets=trial.data.judged_on.targets,
            progress=lambda done, total: progress("compare", done, total, "both networks"),
        )
    progress("time", 0, 2, "layer by layer")
    outputs = [decision.site.output for decision in trial.decisions]
    before = times_before(trial.loaded.model, profile_layers(trial.loaded.model, feed, runtime), outputs)
    if trial.is_changed:
        profile = profile_layers(trial.rebuilt.model, feed, runtime)
        after = times_after(profile, trial.rebuilt.site_of)
        if options.bench_seconds:
            progress("time", 1, 2, f"whole networks, {options.bench_seconds:.0f} s")
            speed = time_networks(_contestants(trial), feed, runtime, options.bench_seconds, options.seed)
    progress("time", 2, 2, "")
    layers = layer_rows(trial.decisions, trial.fitted, before, after)
    return Report(
        sepfactor_version=__version__,
        model=trial.loaded.name,
        output=None,
        options=describe_options(options),
        environment=environment(runtime).as_dict(),
        data=describe_data(trial.data, options, trial.fitted_on),
        layers=layers,
        totals=totals(layers, _size(original), _size(trial.written)),
        accuracy=None if accuracy is None else accuracy.as_dict(),
        speed=speed,
        notes=_notes(trial, options, accuracy),
    )


def check(written: Path, original: Path | bytes) -> None:
    """Run ``onnx.checker`` with full shape inference over the written file.

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


def _contestants(trial: Trial) -> dict[str, Path | bytes]:
    """The networks to time; the prepared one too where preparing alone may have made it faster."""
    models: dict[str, Path | bytes] = {"original": trial.loaded.runnable}
    if may_change_speed(trial.loaded.model, trial.prepared):
        models["prepared"] = serialized(trial.prepared)
    models["result"] = trial.written
    return models


def _notes(trial: Trial, options: Options, accuracy: Accuracy | None) -> tuple[str, ...]:
    notes = []
    if trial.data.judged_on.synthetic:
        notes.append(
            "SYNTHETIC IMAGES were used, since no --data was given: the errors below say how far the two "
            "networks differ on made-up pictures. No accuracy is claimed."
        )
    elif trial.data.is_synthetic:
        notes.append(
            "Candidates were compared, and factors fitted, on SYNTHETIC IMAGES, since no --data was given. "
            "The figures below are of the data given to judge on."
        )
    if accuracy is not None and (right := accuracy.baseline_at_chance) is not None:
        notes.append(
            f"The original itself gets only {100 * right:.1f} % right: preprocessing or labels do not "
            "fit the network."
        )
    names = [name for d in trial.decisions for name in (d.site.name, d.site.output)]
    idle = [glob for glob in options.globs() if not options.matches(glob, names)]
    notes += [f"The pattern {glob!r} fits no convolution of this network." for glob in idle]
    return tuple(notes)


def _size(model: Path | bytes) -> int:
    if isinstance(model, bytes):
        return len(model)
    data = model.with_name(model.name + ".data")
    return model.stat().st_size + (data.stat().st_size if data.exists() else 0)
