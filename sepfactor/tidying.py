"""``tidy``: a network rewritten exactly, each rewriting kept where the whole is no slower for it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Unpack

import onnx_ir as ir

import sepfactor.report  # noqa: F401  # so that notebooks show results
from sepfactor import __version__
from sepfactor.deliver.describe import describe_data
from sepfactor.errors import ModelError, within_means
from sepfactor.graph.load import Loaded, ModelSource, load
from sepfactor.graph.save import publish, staged
from sepfactor.measure.engine import Engine, Feed
from sepfactor.measure.engines import open_and_time, open_engine
from sepfactor.measure.equality import noise
from sepfactor.measure.reference import Reference
from sepfactor.measure.rounds import Rounds
from sepfactor.options import Options, make_options
from sepfactor.pipeline import check_target
from sepfactor.progress import Progress, in_shares, silent
from sepfactor.results import Equality, Tidied
from sepfactor.search.rewriting import Choice, Trial, choose_rewrites
from sepfactor.signatures import TidyOptions
from sepfactor.study.splits import Splits, open_splits


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
    trial, splits = _opened(loaded, asked, progress)
    choice, rounds, outputs = _deliver(trial, choose_rewrites(trial), target, overwrite=asked.overwrite)
    is_changed = choice.model is not None
    return Tidied(
        sepfactor_version=__version__,
        model=str(loaded.path or loaded.name),
        output=None if target is None else str(target),
        is_changed=is_changed,
        environment=trial.engine.environment,
        data=describe_data(splits, asked),
        rules=choice.rows,
        outputs=outputs,
        original=rounds.timing(0),
        result=rounds.timing(1) if is_changed else None,
        speedup=rounds.ratio(1, seed=asked.seed) if is_changed else None,
        seconds=time.perf_counter() - begin,
        notes=(*loaded.notes, *splits.notes, *_notes(trial.reference)),
        stayed=choice.stayed,
    )


def _opened(loaded: Loaded, asked: Options, progress: Progress) -> tuple[Trial, Splits]:
    engine = open_engine(threads=asked.threads, provider=asked.provider)
    splits = open_splits(loaded, asked, engine)
    reference = Reference.of(engine, loaded.runnable, _feeds(splits, loaded, asked, engine))
    return Trial(loaded, engine, reference, asked.bench_seconds, asked.seed, progress), splits


def _feeds(splits: Splits, loaded: Loaded, asked: Options, engine: Engine) -> list[Feed]:
    """One that is given, where any is, a picture, and noise: of pictures some networks make nothing at all.

    The first is what is timed.
    """
    feeds: list[Feed] = [splits.judged_on[0]]
    if not splits.judged_on.synthetic:
        with suppress(ModelError):  # it takes nothing but what it is meant for
            feeds.append(open_splits(loaded, asked.model_copy(update={"data": None}), engine).judged_on[0])
    with suppress(ModelError):
        made_up = noise(feeds[-1], asked.seed)
        engine.open(loaded.runnable).run(made_up)
        feeds.append(made_up)
    return feeds


def _notes(reference: Reference) -> Iterator[str]:
    """Which outputs were compared in vain."""
    for name in reference.constant:
        yield (
            f"Output {name} is one number everywhere on all that it was compared on, which says little. "
            "Give --data for which it varies."
        )


def _deliver(
    trial: Trial, choice: Choice, target: Path | None, *, overwrite: bool
) -> tuple[Choice, Rounds, tuple[Equality, ...]]:
    """Write what was chosen, time and compare the written file, and put it in its place.

    Where it is not measurably faster than the original, the original is written instead.

    Returns:
        What was written, times of the original and of that, and its outputs against the original's.

    Raises:
        ModelError: what was written does not compute the same.
        OutputError: it cannot be written.
    """
    with ExitStack() as stack:
        place = target or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model.onnx"

        def write(model: ir.Model) -> tuple[Path, tuple[Equality, ...]]:
            file = stack.enter_context(staged(model, place))
            return file, _compared(trial, file)

        rounds = None
        if choice.model is not None:
            file, outputs = write(choice.model)
            rounds = _timed(trial, file)
            if rounds.ratio(1, seed=trial.seed).low <= 1.0:
                choice = choice.withdrawn()
        if choice.model is None:
            file, outputs = write(trial.loaded.model)
        if target is not None:
            publish(file, target, overwrite=overwrite)
    return choice, rounds or _timed(trial), outputs


def _compared(trial: Trial, file: Path) -> tuple[Equality, ...]:
    session = trial.engine.open(file)
    if not trial.reference.is_equal(session):
        raise ModelError(
            f"What was written of {trial.loaded.name} does not compute what it does, so it is not kept. This "
            "is a defect of sepfactor; please report this network."
        )
    return trial.reference.compare(session)


def _timed(trial: Trial, *files: Path) -> Rounds:
    """The original, and in turns with it what was written; alone, only as often as a median needs."""
    networks = [(trial.loaded.name, trial.loaded.runnable), *((file.name, file) for file in files)]
    return open_and_time(
        trial.engine,
        networks,
        trial.reference.feeds[0],
        seconds=trial.seconds if files else 0.0,
        seed=trial.seed,
        watch=in_shares(trial.progress, "time", "the original and the result, in turns"),
    )


__all__ = ["tidy"]
