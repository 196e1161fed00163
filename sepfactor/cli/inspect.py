"""``sepfactor inspect``."""

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
    progress_bar,
    runtime_options,
)
from sepfactor.cli.flags import flag


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@flag("scheme", "Show only these schemes, or families of schemes.")
@flag("linear_layers", "Show Gemm and MatMul with constant weights too.")
@data_options
@runtime_options
@output_options
def command(
    model: Path,
    json_to: str | None,
    overwrite: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Show where the time of MODEL goes, and how separable each of its convolutions is.

    \b
    sepfactor inspect model.onnx
    """
    from sepfactor.inspection import inspect
    from sepfactor.report.text import inspection_view

    check_json(json_to, (model, options["data"]), overwrite)
    with progress_bar(quiet) as progress:
        result = inspect(model, progress=progress, **given(options))
    deliver(inspection_view(result), result.to_json(), json_to, quiet)
