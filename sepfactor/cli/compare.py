"""``sepfactor compare``."""

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
    picture_options,
    progress_bar,
    runtime_options,
)
from sepfactor.cli.flags import flag


@click.command("compare")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@data_options
@flag("labels", "True classes of the inputs (.npy, .npz, .csv).")
@flag("targets")
@runtime_options
@picture_options
@output_options
def command(
    a: Path,
    b: Path,
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

    check_json(json_to, (a, b, *(options[name] for name in ("data", "labels", "targets"))), overwrite)
    with progress_bar(quiet) as progress:
        result = compare(a, b, progress=progress, **given(options))
    deliver(comparison_view(result), result.to_json(), json_to, quiet)
