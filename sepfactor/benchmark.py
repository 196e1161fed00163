"""``bench``: several models timed in turns on the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sepfactor import __version__
from sepfactor.deliver.describe import describe_data
from sepfactor.errors import ModelError, OptionError, within_means
from sepfactor.graph.load import ModelSource, load
from sepfactor.measure.session import Runtime, environment, open_session, run
from sepfactor.measure.timing import interleave, ratio, summarise
from sepfactor.options import make_options
from sepfactor.progress import Progress, in_shares, silent
from sepfactor.report.model import Bench, BenchRow
from sepfactor.study.splits import gather


@within_means()
def bench(models: Sequence[ModelSource], *, progress: Progress = silent, **options: Any) -> Bench:
    """Time ``models`` in turns at full onnxruntime optimisation; the first is the baseline.

    Args:
        models: two or more whose inputs agree (one is timed alone).
        progress: called as the work goes on.
        **options: ``data``, ``input_shape``, ``threads``, ``provider``, ``seed``, ``bench_seconds``.

    Raises:
        SepfactorError: a model cannot be read or run on the data.
    """
    if not models:
        raise OptionError("There is no model to time. Name one or more.")
    asked = make_options({**options, "refit": False})
    runtime = Runtime(asked.threads, asked.provider)
    loaded = [load(model) for model in models]
    data = gather(loaded[0], asked, runtime)
    feed = data.judged_on[0]
    calls = []
    for number, one in enumerate(loaded):
        progress("warm up", number, len(loaded), one.name)
        session = open_session(one.runnable, runtime)
        try:
            run(session, feed)
        except ModelError as error:
            raise type(error)(f"{one.name}: {error}") from error
        calls.append(lambda s=session: s.run(None, feed))
    progress("warm up", len(loaded), len(loaded), "")
    watch = in_shares(progress, "time", "in turns")
    samples = interleave(calls, budget_s=asked.bench_seconds, precision=0.005, seed=asked.seed, watch=watch)
    rows = [
        BenchRow(
            model=str(one.path or one.name),
            timing=summarise(row).as_dict(),
            speedup=ratio(samples[0], row, seed=asked.seed).as_dict() if number else None,
        )
        for number, (one, row) in enumerate(zip(loaded, samples, strict=True))
    ]
    return Bench(
        sepfactor_version=__version__,
        environment=environment(runtime).as_dict(),
        data=describe_data(data, asked),
        rows=tuple(rows),
    )
