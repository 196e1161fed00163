"""``sepfactor compress``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sepfactor.cli.choosing import (
    SAVE_CONFIG,
    check_files,
    choosing_options,
    files_read,
    fitting_options,
    save_config,
)
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


@click.command("compress")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: MODEL.sep.onnx]"
)
@choosing_options
@SAVE_CONFIG
@flags("plan")
@click.option("--save-plan", type=click.Path(path_type=Path), metavar="FILE", help="Write what was chosen.")
@data_options
@fitting_options
@runtime_options
@flags("bench_seconds")
@click.option("--dry-run", is_flag=True, help="Report, but write no model.")
@flags("force")
@HTML
@picture_options
@every_layer
@output_options
def command(
    model: Path,
    output: Path | None,
    config: Path | None,
    dry_run: bool,
    save_plan: Path | None,
    save_config_to: Path | None,
    json_to: str | None,
    html_to: Path | None,
    overwrite: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Replace convolutions of MODEL by factorisations, and measure what that did.

    \b
    sepfactor compress model.onnx --data photos/ --max-drop 1% -o faster.onnx
    sepfactor compress model.onnx --data images.npz --speedup 2
    sepfactor compress model.onnx --data images.npz --scheme spatial --rank 32
    """
    from sepfactor.pipeline import compress, effective

    said = given(options) | ({"overwrite": True} if overwrite else {})
    asked, _ = effective(said, config)
    target = None if dry_run else output or model.parent / f"{model.stem}.sep.onnx"
    read = (model, config, *files_read(asked), target)
    files = {"--json": json_to, "--save-plan": save_plan, "--save-config": save_config_to}
    check_files(files, read, asked.overwrite)
    check_page(html_to, (*read, *files.values()), asked.overwrite)
    with progress_bar(quiet) as progress:
        result = compress(model, target, config=config, progress=progress, **said)
    save_config(save_config_to, asked)
    finish(result, json_to, html_to, save_plan, quiet)
