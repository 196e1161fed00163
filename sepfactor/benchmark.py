"""``bench``: several models timed in turns on the same inputs."""

from __future__ import annotations

import os
from collections.abc import Sequence

from typing_extensions import Unpack

import sepfactor.report  # noqa: F401  # so that notebooks show results
from sepfactor import __version__
from sepfactor.deliver.describe import describe_data
from sepfactor.errors import OptionError, within_means
from sepfactor.graph.load import ModelSource, load
from sepfactor.measure.engines import open_and_time, open_engine
from sepfactor.options import make_options
from sepfactor.progress import Progress, in_shares, silent
from sepfactor.results import Bench, BenchRow
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
    """Time ``models`` in turns at full onnxruntime optimisation; the first is the baseline.

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
    engine = open_engine(threads=asked.threads, provider=asked.provider)
    loaded = [load(model) for model in models]
    data = open_splits(loaded[0], asked, engine)
    rounds = open_and_time(
        engine,
        [(one.name, one.runnable) for one in loaded],
        data.judged_on,
        seconds=asked.bench_seconds,
        seed=asked.seed,
        opened=lambda number, name: progress("warm up", number, len(loaded), name),
        watch=in_shares(progress, "time", "in turns"),
    )
    rows = [
        BenchRow(
            model=str(one.path or one.name),
            timing=rounds.timing(number),
            speedup=rounds.ratio(number, seed=asked.seed) if number else None,
        )
        for number, one in enumerate(loaded)
    ]
    return Bench(
        sepfactor_version=__version__,
        environment=engine.environment,
        data=describe_data(data, asked),
        rows=tuple(rows),
    )
