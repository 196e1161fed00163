"""``sepfactor bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sepfactor.cli.common import (
    CONFIG,
    deliver,
    given,
    output_options,
    progress_bar,
)
from sepfactor.cli.files import check_files, options_for
from sepfactor.cli.flags import flag, options_of
from sepfactor.cli.headings import UnderHeadings


@click.command("bench", cls=UnderHeadings)
@click.argument("models", type=click.Path(path_type=Path), nargs=-1, required=True)
@CONFIG
@options_of(
    "bench",
    bench_seconds=flag(
        "bench_seconds", "Time spent, at most: it ends when the interval is narrow.", min_open=True
    ),
)
@output_options
def command(
    models: tuple[Path, ...],
    config: Path | None,
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

    said = given(options)
    asked = options_for("bench", said, config, overwrite)
    check_files([("--json", json_to)], asked, models, (config,))
    with progress_bar(quiet) as progress:
        result = bench(models, config=config, progress=progress, **said)
    deliver(bench_view(result), result.to_json(), json_to, quiet and json_to is not None)
