"""``sepfactor bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sepfactor.cli.common import (
    check_json,
    data_options,
    deliver,
    given,
    output_options,
    progress_bar,
    runtime_options,
)
from sepfactor.cli.flags import flag


@click.command("bench")
@click.argument("models", type=click.Path(path_type=Path), nargs=-1, required=True)
@data_options
@runtime_options
@flag("bench_seconds", "Time spent, at most: it ends when the interval is narrow.", min_open=True)
@output_options
def command(
    models: tuple[Path, ...],
    json_to: str | None,
    overwrite: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Time MODELS in turns, and compare each with the first.

    \b
    sepfactor bench model.onnx model.sep.onnx --threads 2
    """
    from sepfactor.benchmark import bench
    from sepfactor.report.text import bench_view

    check_json(json_to, (*models, options["data"]), overwrite)
    with progress_bar(quiet) as progress:
        result = bench(models, progress=progress, **given(options))
    deliver(bench_view(result), result.to_json(), json_to, quiet)
