"""``bench``: several models timed in turns on the same inputs, in one engine or in all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from typing_extensions import Unpack

import sepfactor.report  # noqa: F401  # so that notebooks show results
from sepfactor import __version__
from sepfactor.deliver.describe import describe_data
from sepfactor.errors import ModelError, OptionError, within_means
from sepfactor.graph.load import ModelSource, load
from sepfactor.measure.engine import Engine
from sepfactor.measure.engines import EVERY, Contestant, open_engine, open_every_engine, race
from sepfactor.measure.rounds import Rounds
from sepfactor.options import make_options
from sepfactor.progress import Progress, in_shares, silent
from sepfactor.results import Bench, BenchRow
from sepfactor.results.context import ENGINE_TITLES
from sepfactor.signatures import BenchOptions
from sepfactor.study.splits import open_splits


@within_means()
def bench(
    models: Sequence[ModelSource],
    *,
    config: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
    **options: Unpack[BenchOptions],
) -> Bench:
    """Time ``models`` in turns, as the engine optimises them; the first is the baseline.

    With ``engine="all"`` each runs in every engine that is installed, and the first in onnxruntime is the
    baseline of all.

    Args:
        models: two or more whose inputs agree (one is timed alone).
        config: TOML file of options.
        progress: called as the work goes on.
        **options: data, how it is run and for how long, see :class:`sepfactor.options.Options`.

    Raises:
        OptionError: an option is none that timing uses, or does not fit.
        SepfactorError: a model cannot be read or run on the data.
    """
    if not models:
        raise OptionError("There is no model to time. Name one or more.")
    asked = make_options(options, config, {"refit": False}, function="bench")
    engines, notes = list[Engine](), list[str]()
    if asked.engine == EVERY:
        engines, notes = open_every_engine(asked.threads, asked.provider)
    else:
        engines = [open_engine(asked.engine, asked.threads, asked.provider)]
    loaded = [load(model) for model in models]
    data = open_splits(loaded[0], asked, engines[0].exact)
    contestants = [Contestant(one.name, one.runnable, engine) for one in loaded for engine in engines]
    paths = [str(one.path or one.name) for one in loaded for _ in engines]
    if len(engines) > 1:
        contestants, paths, refused = _that_run(contestants, paths)
        notes += refused
    rounds = race(
        contestants,
        data.judged_on,
        seconds=asked.bench_seconds,
        seed=asked.seed,
        opened=lambda number, name: progress("warm up", number, len(contestants), name),
        watch=in_shares(progress, "time", "in turns"),
    )
    rows = tuple(
        BenchRow(
            model=path,
            engine=contestant.engine.name,
            timing=rounds.timing(number),
            speedup=rounds.ratio(number, seed=asked.seed) if number else None,
        )
        for number, (path, contestant) in enumerate(zip(paths, contestants, strict=True))
    )
    return Bench(
        sepfactor_version=__version__,
        environment=engines[0].environment,
        data=describe_data(data, asked),
        rows=rows,
        others=tuple(engine.environment for engine in engines[1:]),
        advice=_advice(rows, rounds, asked.seed) if asked.engine == EVERY else "",
        notes=tuple(notes),
    )


def _that_run(
    contestants: Sequence[Contestant], paths: Sequence[str]
) -> tuple[list[Contestant], list[str], list[str]]:
    """Those that their engine can load, and why it cannot load the others; the first one must be."""
    found, called, refused = list[Contestant](), list[str](), list[str]()
    for number, (one, path) in enumerate(zip(contestants, paths, strict=True)):
        try:
            one.engine.open(one.model)
        except ModelError as error:
            if not number:
                raise type(error)(f"{one.name}: {error}") from error
            refused.append(f"{one.name} was not timed in {one.engine.name}. {error}")
        else:
            found.append(one)
            called.append(path)
    return found, called, refused


def _advice(rows: Sequence[BenchRow], rounds: Rounds, seed: int) -> str:
    """Which model to deploy in which engine, by time alone."""
    order = sorted(range(len(rows)), key=rounds.median_ms)
    best = order[0]
    ties = [i for i in order[1:] if not rounds.ratio(best, i, seed=seed).measurable]
    alike = f" No measurable difference to {_together([_called(rows[i]) for i in ties])}." if ties else ""
    speedup = rows[best].speedup
    if speedup is None or speedup.low <= 1.0:
        return f"Stay with {_called(rows[0])}: nothing is measurably faster."
    said = (
        f"Deploy {_called(rows[best])}: {speedup.ratio:.2f}× as fast as {_called(rows[0])} "
        f"({speedup.low:.2f}–{speedup.high:.2f}).{alike}"
    )
    models = dict.fromkeys((rows[0].model, rows[best].model))
    both = " ".join([*models] if len(models) > 1 else [*models, *models])
    return f"{said} What that costs in accuracy says: sepfactor compare {both} --engine {rows[best].engine}."


def _called(row: BenchRow) -> str:
    return f"{Path(row.model).name} in {ENGINE_TITLES.get(row.engine, row.engine)}"


def _together(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


__all__ = ["bench"]
