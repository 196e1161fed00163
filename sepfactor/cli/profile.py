"""``sepfactor profile``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sepfactor.cli.common import (
    CONFIG,
    display_options,
    given,
    progress_bar,
    say,
)
from sepfactor.cli.files import check_files, options_for
from sepfactor.cli.flags import options_of
from sepfactor.cli.headings import UnderHeadings
from sepfactor.outputs import write_text


@click.command("profile", cls=UnderHeadings)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: MODEL.profile.json]"
)
@CONFIG
@options_of("profile")
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
    from sepfactor.pipeline import profile

    target = output or model.parent / f"{model.stem}.profile.json"
    said = given(options)
    asked = options_for("profile", said, config, overwrite)
    check_files([("-o", target)], asked, (model,), (config,))
    with progress_bar(quiet) as progress:
        found = profile(model, config=config, progress=progress, **said)
    write_text(target, found.to_json() + "\n")
    if not quiet:
        for note in found.notes:
            say(f"! {note}")
        say(
            f"{found.model}: {found.original_ms:.3f} ms, {len(found.layers)} layers with candidates, "
            f"{len(found.times)} of them timed → {target}"
        )
