"""``sepfactor compress``."""

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
from sepfactor.cli.files import (
    SAVE_CONFIG,
    check_files,
    save_config,
)
from sepfactor.cli.finish import HTML, check_page, finish, rescue_plan, say_if_busy
from sepfactor.cli.flags import options_of
from sepfactor.cli.headings import UnderHeadings
from sepfactor.cli.stopping import best_on_interrupt
from sepfactor.errors import SepfactorError


@click.command("compress", cls=UnderHeadings)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: MODEL.sep.onnx]"
)
@CONFIG
@options_of("compress")
@SAVE_CONFIG
@click.option("--save-plan", type=click.Path(path_type=Path), metavar="FILE", help="Write what was chosen.")
@click.option("--dry-run", is_flag=True, help="Report, but write no model.")
@HTML
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
    check_page(html_to)
    outputs = [("-o", target), ("--json", json_to), ("--html", html_to)]
    outputs += [("--save-plan", save_plan), ("--save-config", save_config_to)]
    check_files(outputs, asked, (model,), (config,))
    say_if_busy(asked, quiet)
    try:
        with progress_bar(quiet) as progress, best_on_interrupt():
            result = compress(model, target, config=config, progress=progress, **said)
    except SepfactorError as error:
        rescue_plan(error, save_plan or model.parent / f"{model.stem}.plan.json")
        raise
    save_config(save_config_to, asked)
    finish(result, json_to, html_to, save_plan, quiet)
