"""``sepfactor tidy``."""

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
from sepfactor.cli.files import check_files
from sepfactor.cli.finish import say_if_busy
from sepfactor.cli.flags import flag, options_of
from sepfactor.cli.headings import UnderHeadings
from sepfactor.options import make_options


@click.command("tidy", cls=UnderHeadings)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: MODEL.tidy.onnx]"
)
@CONFIG
@options_of(
    "tidy",
    data=flag(
        "data",
        "Inputs to time and compare on, beside those that are made up: .npz, .npy, a folder of them, of "
        "images or of .wav files, or file.py:function.",
    ),
    bench_seconds=flag(
        "bench_seconds",
        "Time spent on timing the rewritings, and again on timing the result, at most: each ends when its "
        "intervals are narrow.",
        min_open=True,
    ),
)
@click.option("--dry-run", is_flag=True, help="Report, but write no model.")
@output_options
def command(
    model: Path,
    output: Path | None,
    config: Path | None,
    dry_run: bool,
    json_to: str | None,
    overwrite: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Rewrite MODEL exactly: the same outputs, to rounding, in less time. It needs no data.

    \b
    sepfactor tidy model.onnx -o tidy.onnx
    """
    from sepfactor.report.tidied import tidied_view
    from sepfactor.tidying import tidy

    said = given(options) | ({"overwrite": True} if overwrite else {})
    asked = make_options(said, config, function="tidy")
    target = None if dry_run else output or model.parent / f"{model.stem}.tidy.onnx"
    check_files([("-o", target), ("--json", json_to)], asked, (model,), (config,))
    say_if_busy(asked, quiet)
    with progress_bar(quiet) as progress:
        result = tidy(model, target, config=config, progress=progress, **said)
    deliver(tidied_view(result), result.to_json(), json_to, quiet)
