"""``sepfactor profile``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sepfactor.cli.choosing import check_files, choosing_options, files_read
from sepfactor.cli.common import (
    data_options,
    display_options,
    given,
    progress_bar,
    runtime_options,
    write,
)


@click.command("profile")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: MODEL.profile.json]"
)
@choosing_options
@data_options
@runtime_options
@display_options
def command(
    model: Path, output: Path | None, config: Path | None, overwrite: bool, quiet: bool, **options: Any
) -> None:
    """Measure how long MODEL, its layers and their candidates take on this machine.

    On another machine, a plan can then be made for this one:

    \b
    sepfactor profile model.onnx --data photos/ -o pi4.json
    sepfactor plan model.onnx --data photos/ --profile pi4.json
    """
    from sepfactor.pipeline import effective
    from sepfactor.planning import profile

    target = output or model.parent / f"{model.stem}.profile.json"
    asked, _ = effective(given(options), config)
    check_files({"-o": target}, (model, config, *files_read(asked)), overwrite or asked.overwrite)
    with progress_bar(quiet) as progress:
        found = profile(model, config=config, progress=progress, **given(options))
    write(target, found.to_json() + "\n")
    if not quiet:
        for note in found.notes:
            click.echo(f"! {note}")
        click.echo(
            f"{found.model}: {found.original_ms:.3f} ms, {len(found.layers)} layers with candidates, "
            f"{len(found.times)} of them timed → {target}"
        )
