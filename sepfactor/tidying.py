"""``tidy``: a network rewritten exactly, each rewriting kept where the whole is no slower for it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from typing_extensions import Unpack

import sepfactor.report  # noqa: F401  # so that notebooks show results
from sepfactor import __version__
from sepfactor.deliver.describe import describe_data
from sepfactor.deliver.provenance import with_provenance
from sepfactor.errors import ModelError, within_means
from sepfactor.graph.load import Loaded, ModelSource, load
from sepfactor.graph.prepare import may_change_speed, prepare
from sepfactor.graph.save import publish, staged
from sepfactor.measure.engine import Engine
from sepfactor.measure.engines import open_and_time, open_engine
from sepfactor.measure.reference import Reference
from sepfactor.measure.rounds import Rounds
from sepfactor.options import Options, make_options
from sepfactor.pipeline import check_target
from sepfactor.progress import Progress, in_shares, silent
from sepfactor.results import Equality, Tidied
from sepfactor.scratch import scratch_folder
from sepfactor.signatures import TidyOptions
from sepfactor.study.rewrite_times import Trial
from sepfactor.study.rewriting import (
    Choice,
    choose_rewrites,
    inputs_to_compare,
    look_for_rewrites,
    prepared_alone,
)
from sepfactor.study.splits import Splits, open_splits

_CHOOSING, _JUDGING = 0.25, 0.5
"""Shares of the time for timing: of the rewritings, and of the result."""

_OPENINGS = 3
"""How often the original and the result are opened to be timed."""

_ROUNDS, _ROUNDS_ALONE = 5, 3
"""Timed at least, of the original and the result in turns, and of the original alone."""


@within_means()
def tidy(
    model: ModelSource,
    output: str | os.PathLike[str] | None = None,
    *,
    config: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
    **options: Unpack[TidyOptions],
) -> Tidied:
    """Rewrite ``model`` exactly, and say what each rewriting is worth.

    No data is needed: the rewritings do not depend on it. What is given is what the network is timed and
    compared on, beside inputs that are made up.

    Args:
        model: path, bytes, ModelProto or ir.Model; never modified.
        output: file to write, whole or not at all; without it the result is only returned.
        config: TOML file of options.
        progress: called as the work goes on.
        **options: data, how it is run and for how long, see :class:`sepfactor.options.Options`.

    Returns:
        What was done. Where the result would not be measurably faster, it is the network as it was.

    Raises:
        OptionError: an option is none that tidying uses, or does not fit.
        SepfactorError: the model cannot be read or run, or the result cannot be written.
    """
    begin = time.perf_counter()
    asked = make_options(options, config, {"refit": False}, function="tidy")
    target = None if output is None else Path(output)
    loaded = load(model)
    if target is not None:
        check_target(target, loaded, asked)
    engine = open_engine(asked.engine, asked.threads, asked.provider)
    splits = open_splits(loaded, asked, engine.exact)
    progress("rewrite", 0, 1, "looking for what can be rewritten")
    prepared = prepare(loaded.model)
    found = look_for_rewrites(prepared)
    progress("rewrite", 1, 1, "")
    trial, choice = None, Choice(None, stayed=found.notes)
    if found.steps or may_change_speed(loaded.model, prepared):
        feeds = inputs_to_compare(splits, loaded, asked, engine.exact)
        reference = Reference.of(engine.exact, loaded.runnable, feeds)
        trial = Trial(
            loaded,
            prepared,
            engine,
            reference,
            splits.judged_on,
            _CHOOSING * asked.bench_seconds,
            asked.seed,
            progress,
        )
        choice = choose_rewrites(trial, found) if found.steps else prepared_alone(trial)
    delivered = _deliver(_Job(loaded, engine, splits, asked, progress), trial, choice, target)
    choice, rounds, is_changed = delivered.choice, delivered.rounds, delivered.choice.model is not None
    return Tidied(
        sepfactor_version=__version__,
        model=str(loaded.path or loaded.name),
        output=None if target is None else str(target),
        is_changed=is_changed,
        environment=engine.environment,
        data=describe_data(splits, asked),
        rules=choice.rows,
        outputs=delivered.outputs,
        original=rounds.timing(0),
        result=rounds.timing(1) if is_changed else None,
        speedup=rounds.ratio(1, seed=asked.seed) if is_changed else None,
        seconds=time.perf_counter() - begin,
        notes=(*loaded.notes, *splits.notes, *(_notes(trial.reference) if trial is not None else ())),
        stayed=choice.stayed,
    )


@dataclass(frozen=True, eq=False)
class _Job:
    """What one run works on."""

    loaded: Loaded
    engine: Engine
    splits: Splits
    asked: Options
    progress: Progress


@dataclass(frozen=True, eq=False)
class _Delivered:
    """What was written, times of the original and of that, and its outputs against the original's."""

    choice: Choice
    rounds: Rounds
    outputs: tuple[Equality, ...] = ()


def _notes(reference: Reference) -> Iterator[str]:
    """Which outputs were compared in vain."""
    for name in reference.constant:
        yield (
            f"Output {name} is one number everywhere on all that it was compared on, which says little. "
            "Give --data for which it varies."
        )


def _deliver(job: _Job, trial: Trial | None, choice: Choice, target: Path | None) -> _Delivered:
    """Write what was chosen, time and compare the written file, and put it in its place.

    Where it is not measurably faster than the original, the original is written instead.

    Raises:
        ModelError: what was written does not compute the same.
        OutputError: it cannot be written.
    """
    with ExitStack() as stack:
        place = target or stack.enter_context(scratch_folder()) / "model.onnx"
        delivered = None
        if trial is not None and choice.model is not None:
            file = stack.enter_context(staged(with_provenance(choice.model, job.loaded), place))
            outputs = _compared(trial, file)
            rounds = _timed(job, file)
            choice = choice.timed(
                rounds.ratio(1, seed=job.asked.seed), rounds.median_ms(0) - rounds.median_ms(1)
            )
            delivered = _Delivered(choice, rounds, outputs)
            if delivered.rounds.ratio(1, seed=job.asked.seed).low <= 1.0:
                delivered = replace(delivered, choice=choice.withdrawn(), outputs=())
        if delivered is None or delivered.choice.model is None:
            file = stack.enter_context(staged(job.loaded.model, place))
        if target is not None:
            publish(file, target, overwrite=job.asked.overwrite)
        return delivered or _Delivered(choice, _timed(job))


def _compared(trial: Trial, file: Path) -> tuple[Equality, ...]:
    session = trial.engine.exact.open(file)
    if not trial.reference.is_equal(session):
        raise ModelError(
            f"What was written of {trial.loaded.name} does not compute what it does, so it is not kept. This "
            "is a defect of sepfactor; please report this network."
        )
    return trial.reference.compare(session)


def _timed(job: _Job, *files: Path) -> Rounds:
    """The original, and in turns with it what was written; alone, only as often as a median needs."""
    networks = [(job.loaded.name, job.loaded.runnable), *((file.name, file) for file in files)]
    return open_and_time(
        job.engine,
        networks,
        job.splits.judged_on,
        seconds=_JUDGING * job.asked.bench_seconds if files else 0.0,
        openings=_OPENINGS,
        min_rounds=_ROUNDS if files else _ROUNDS_ALONE,
        seed=job.asked.seed,
        watch=in_shares(job.progress, "time", "the original and the result, in turns"),
    )


__all__ = ["tidy"]
