"""``sepfactor apply``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sepfactor.cli.choosing import check_files, files_read, fitting_options
from sepfactor.cli.common import (
    data_options,
    every_layer,
    given,
    output_options,
    picture_options,
    progress_bar,
    runtime_options,
)
from sepfactor.cli.finish import HTML, check_page, finish
from sepfactor.cli.flags import flags


@click.command("apply")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("plan", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: MODEL.sep.onnx]"
)
@data_options
@fitting_options
@runtime_options
@flags("bench_seconds")
@HTML
@picture_options
@every_layer
@output_options
def command(
    model: Path,
    plan: Path,
    output: Path | None,
    json_to: str | None,
    html_to: Path | None,
    overwrite: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Build what PLAN says of MODEL, and measure it; the same bytes each time.

    Data and settings are those the plan was made with, unless they are given. MODEL may be the same network
    trained anew: factors are fitted to its own weights.

    \b
    sepfactor apply model.onnx plan.json -o faster.onnx
    """
    from sepfactor.pipeline import effective
    from sepfactor.planning import apply

    said = given(options) | ({"overwrite": True} if overwrite else {})
    asked, _ = effective({**said, "plan": plan})
    target = output or model.parent / f"{model.stem}.sep.onnx"
    read = (model, *files_read(asked), target)
    check_files({"--json": json_to}, read, overwrite)
    check_page(html_to, (*read, json_to), overwrite)
    with progress_bar(quiet) as progress:
        result = apply(model, plan, target, progress=progress, **said)
    finish(result, json_to, html_to, None, quiet)
