"""Judge the written file: is it valid, how far is it from the original, how fast is it, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from sepfactor import __version__
from sepfactor.deliver.describe import (
    describe_data,
    describe_memory,
    describe_options,
    eight_bits,
    layer_row,
    two_engines,
)
from sepfactor.deliver.pictures import PictureBook
from sepfactor.errors import ModelError
from sepfactor.fit.build import Built
from sepfactor.graph.instrument import serialized
from sepfactor.graph.load import external_files, first_line
from sepfactor.graph.save import data_of
from sepfactor.measure.accuracy import compare_sessions
from sepfactor.measure.quality import by_boxes
from sepfactor.options import Options
from sepfactor.progress import in_shares
from sepfactor.results import Accuracy, FrontPoint, Report, Speed, Totals
from sepfactor.search.choose import Chosen, asks_for_a_rule
from sepfactor.search.to_budget import Outcome
from sepfactor.study.profiling import profile_layers, time_networks
from sepfactor.study.study import Study
from sepfactor.words import plural


@dataclass(frozen=True, eq=False)
class Written:
    """A result in its file, and what it is judged against.

    Attributes:
        study: the original and the data.
        chosen: the plan, and how it was found.
        built: the network made by it.
        file: that holds it.
    """

    study: Study
    chosen: Chosen
    built: Built
    file: Path


def verify(written: Written) -> Report:
    """Check, compare, profile and time the written file; all of it into a report.

    Where the result is the original, only its layers are timed.

    Raises:
        ModelError: the result is not valid ONNX, or cannot be run.
    """
    study, built, chosen = written.study, written.built, written.chosen
    options, engine, progress, splits = study.options, study.engine, study.progress, study.splits
    result = _runnable(written) if built.is_changed else written.file
    book = _picture_book(written)
    speed = _timed(written, result) if built.is_changed and not built.is_lossy else None
    is_changed = built.is_lossy or (built.is_tidied and _gains(written, speed))
    accuracy = _compared(written, result, book) if is_changed else None
    watch = in_shares(progress, "profile", "the network, layer by layer")
    profile = profile_layers(study.prepared, splits.judged_on[0], engine, watch=watch)
    before = profile.of_sites(study.sites)
    after: Sequence[float | None] = (None,) * len(before)
    bits = None
    if is_changed:
        watch = in_shares(progress, "profile", "the result, layer by layer")
        profile = profile_layers(built.model, splits.judged_on[0], engine, watch=watch)
        after = profile.of_rebuilt(study.sites, built.site_of)
        bits = eight_bits(built, profile)
        speed = speed or _timed(written, result)
    spectra = chosen.spectra or [{}] * len(built.layers)
    rows = zip(built.layers, before, after, spectra, strict=True)
    layers = tuple(layer_row(*row) for row in rows)
    outcome = chosen.outcome
    return Report(
        sepfactor_version=__version__,
        model=study.loaded.name,
        output=None,
        options=describe_options(options),
        environment=study.environment,
        data=describe_data(splits, options, built.fitted_on),
        layers=layers,
        totals=Totals.over(layers, *_sizes(written)),
        accuracy=accuracy,
        speed=speed if is_changed else None,
        notes=_notes(written, accuracy),
        rewrites=study.network.rewritten,
        budget=None if outcome is None else outcome.described(),
        front=None if outcome is None else _front(outcome, speed),
        tasks=() if outcome is None else outcome.tasks,
        pictures=book.pages(),
        eight_bits=bits,
        tuning=built.tuning,
        stand_in=study.network.is_stand_in,
        memory=describe_memory(study),
    )


def _compared(written: Written, result: Path | bytes, book: PictureBook) -> Accuracy:
    """Check the file, and compare its outputs with the original's."""
    study = written.study
    check(written.file, study.network.source.runnable)
    judged_on = study.splits.judged_on
    original, written_one = study.exact.open(study.loaded.runnable), study.engine.open(result)
    found = compare_sessions(
        original,
        written_one,
        judged_on,
        labels=judged_on.labels,
        targets=judged_on.targets,
        progress=lambda done, total: study.progress("compare", done, total, "both networks"),
        watch=book.look if study.options.pictures else None,
    )
    if judged_on.boxes is None:
        return found
    return found.model_copy(update={"boxes": by_boxes(original, written_one, judged_on, judged_on.boxes)})


def _timed(written: Written, result: Path | bytes) -> Speed | None:
    study = written.study
    if not study.options.bench_seconds:
        return None
    return time_networks(
        _contestants(written, result),
        study.splits.judged_on,
        study.engine,
        study.options.bench_seconds,
        study.options.seed,
        in_shares(study.progress, "time", "whole networks, in turns"),
    )


def _gains(written: Written, speed: Speed | None) -> bool:
    """Whether a network is worth writing of which nothing was factored.

    It is if it is measurably faster. Rewritings were chosen for that: where a plan names them, or the result
    is not timed, that is enough.
    """
    was_chosen = bool(written.study.network.rewrites)
    if speed is None or (written.chosen.given is not None and was_chosen):
        return was_chosen
    return speed.low > 1.0


def _front(outcome: Outcome, speed: Speed | None) -> tuple[FrontPoint, ...]:
    """The networks built on the way; the speed of the one chosen is as it was timed at last."""
    points = outcome.front()
    if speed is None:
        return points
    last = {"speedup": speed.ratio, "interval": (speed.low, speed.high)}
    points = tuple(point.model_copy(update=last) if point.chosen else point for point in points)
    return tuple(sorted(points, key=lambda point: point.speedup or 0.0))


def _picture_book(written: Written) -> PictureBook:
    feeds = written.study.splits.judged_on
    return PictureBook(feeds.preprocessing, feeds.labels)


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


def _runnable(written: Written) -> Path | bytes:
    """What is run of the written file: the file, or what stands in for it as it did for the original.

    Raises:
        ModelError: onnx.checker finds fault with the stand-in where it found none with the original's.
    """
    found = written.study.network.runnable(written.file)
    if written.study.network.is_stand_in:
        check(found, serialized(written.study.prepared))  # of which types are known, as of what was written
    return found


def _contestants(written: Written, result: Path | bytes) -> dict[str, Path | bytes]:
    """The networks to time; what was factored too, where tidying alone may have made it faster."""
    study = written.study
    models: dict[str, Path | bytes] = {"original": study.loaded.runnable}
    if study.network.is_tidied and written.built.is_lossy:
        models["prepared"] = serialized(study.prepared)
    models["result"] = result
    return models


def _widened(written: Written) -> Iterator[str]:
    """Where another rank was taken than the one asked for."""
    options, places = written.study.options, dict[str, int]()
    for layer in written.built.plan.layers:
        asked = options.for_layer(layer.name, layer.output).rank
        if not layer.is_kept and asked is not None and len(layer.rank) == 1 and layer.rank[0] > asked:
            change = f"{asked} became {layer.rank[0]}"
            places[change] = places.get(change, 0) + 1
    for change, count in places.items():
        yield (
            f"Rank {change} in {plural(count, 'layer')}, for channels are computed in blocks: "
            "the smaller rank would take as long and lose more."
        )


def _notes(written: Written, accuracy: Accuracy | None) -> tuple[str, ...]:
    study, chosen = written.study, written.chosen
    judged_on = study.splits.judged_on
    notes = [*study.loaded.notes, *study.splits.notes, *two_engines(study.environment)]
    if written.built.is_int8:
        notes += [*_raised(study), *([] if study.options.reduce_range else [NEEDS_DOT_PRODUCTS])]
    elif study.options.int8:
        notes.append(
            "Nothing is in eight bits: of the float32 layers that have such a form (Conv of two axes, Gemm) "
            "none is worth it within the budget."
        )
    if judged_on.synthetic:
        notes.append(
            "SYNTHETIC IMAGES were used, since no --data was given: the errors below say how far the two "
            "networks differ on made-up pictures. No accuracy is claimed."
        )
        if not study.trusts_data and chosen.outcome is None and _is_left_open(chosen, study.options):
            notes.append(
                "Nothing was replaced that loses anything, for without data nothing says what that would "
                "come to. Give --data for factors that are fitted, judged, and much faster."
            )
    elif study.splits.is_synthetic:
        notes.append(
            "Candidates were compared, and factors fitted, on SYNTHETIC IMAGES, since no --data was given. "
            "The figures below are of the data given to judge on."
        )
    outcome = chosen.outcome
    if outcome is not None:
        notes += outcome.notes
    point = None if outcome is None else outcome.point
    if point is not None and point.quality.kind == "agreement" and judged_on.labels is not None:
        notes.append(
            "The labels are of --eval-data, so plans were chosen by agreement with the original on --data. "
            "To choose by true classes, put an array 'labels' into --data, or name the images in a table."
        )
    if accuracy is not None and (right := accuracy.baseline_at_chance) is not None:
        notes.append(
            f"The original itself gets only {100 * right:.1f} % right: preprocessing or labels do not "
            "fit the network."
        )
    if chosen.given is not None and chosen.given.fingerprint != chosen.plan.fingerprint:
        notes.append(
            "The plan was made for other weights: its schemes and ranks are taken, but what it predicted "
            "does not hold."
        )
    notes += _widened(written)
    names = [name for site in study.sites for name in (site.name, site.output)]
    idle = [glob for glob in study.options.globs() if not study.options.matches(glob, names)]
    notes += [f"The pattern {glob!r} fits no convolution of this network." for glob in idle]
    return tuple(notes)


def _raised(study: Study) -> list[str]:
    """That the result is of another operator set, where it is."""
    before, now = (m.opset_imports.get("", 1) for m in (study.network.source.model, study.prepared))
    if before == now:
        return []
    return [f"The result is of operator set {now}, as eight bits need it; the original is of {before}."]


NEEDS_DOT_PRODUCTS = (
    "Products of eight bits are exact on processors with VNNI, AMX or the dot products of ARMv8.2. On x86 "
    "without them they saturate, which may cost accuracy: give --reduce-range for those, or compare it with "
    "the original where it will run (`sepfactor compare`)."
)


def _is_left_open(chosen: Chosen, options: Options) -> bool:
    """Whether nobody said what may become of layers."""
    return chosen.given is None and not asks_for_a_rule(options)


def _sizes(written: Written) -> tuple[int, int]:
    """Bytes of the original and of the result, with what lies in files beside them."""
    source, data = written.study.network.source, data_of(written.file)
    original = source.runnable
    own = len(original) if isinstance(original, bytes) else original.stat().st_size
    before = own + sum(file.stat().st_size for file in external_files(source.model))
    return before, written.file.stat().st_size + (data.stat().st_size if data.exists() else 0)
