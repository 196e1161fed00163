"""``sepfactor compare``."""

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


@click.command("compare", cls=UnderHeadings)
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@CONFIG
@options_of(
    "compare",
    labels=flag("labels", "True classes of the inputs (.npy, .npz, .csv), or boxes (.json, .npz, a folder)."),
    task=flag("task", "Judge outputs as compress would, too: by boxes found again, characters, pixels …"),
)
@output_options
def command(
    a: Path,
    b: Path,
    config: Path | None,
    json_to: str | None,
    overwrite: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Run A and B on the same data, and say how far B is from A, and whether it is less accurate.

    \b
    sepfactor compare model.onnx model.sep.onnx --data images.npz --labels classes.csv
    """
    from sepfactor.comparison import compare
    from sepfactor.report.text import comparison_view

    said = given(options)
    asked = options_for("compare", said, config, overwrite)
    check_files([("--json", json_to)], asked, (a, b), (config,))
    with progress_bar(quiet) as progress:
        result = compare(a, b, config=config, progress=progress, **said)
    deliver(comparison_view(result), result.to_json(), json_to, quiet and json_to is not None)
