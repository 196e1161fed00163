"""``sepfactor apply``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sepfactor.cli.common import (
    CONFIG,
    every_layer,
    given,
    output_options,
    progress_bar,
)
from sepfactor.cli.files import check_files
from sepfactor.cli.finish import HTML, check_page, finish
from sepfactor.cli.flags import options_of
from sepfactor.cli.headings import UnderHeadings


@click.command("apply", cls=UnderHeadings)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("plan", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: MODEL.sep.onnx]"
)
@CONFIG
@options_of("apply")
@HTML
@every_layer
@output_options
def command(
    model: Path,
    plan: Path,
    output: Path | None,
    config: Path | None,
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
    from sepfactor.pipeline import apply, effective

    said = given(options) | ({"overwrite": True} if overwrite else {})
    asked, _ = effective({**said, "plan": plan}, config)
    target = output or model.parent / f"{model.stem}.sep.onnx"
    check_page(html_to)
    check_files([("-o", target), ("--json", json_to), ("--html", html_to)], asked, (model,), (config, plan))
    with progress_bar(quiet) as progress:
        result = apply(model, plan, target, config=config, progress=progress, **said)
    finish(result, json_to, html_to, None, quiet)
