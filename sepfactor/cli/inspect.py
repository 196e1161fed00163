"""``sepfactor inspect``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from sepfactor.cli.common import (
    check_json,
    data_options,
    deliver,
    every_layer,
    given,
    output_options,
    progress_bar,
    runtime_options,
)
from sepfactor.cli.flags import flag, spelled


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@flag("scheme", "Show only these schemes, or families of schemes.")
@flag("linear_layers", "Show Gemm and MatMul with constant weights too.")
@flag("dequantize", "Show layers whose weights stand behind a DequantizeLinear as float ones.")
@data_options
@runtime_options
@every_layer
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
    sepfactor inspect model.onnx --data photos/
    sepfactor inspect model.onnx --data photos/ --all
    """
    from sepfactor.inspection import inspect
    from sepfactor.report.inspected import inspection_view

    check_json(json_to, (model, options["data"]), overwrite)
    with progress_bar(quiet) as progress:
        result = inspect(model, progress=progress, **given(options))
    shown = inspection_view(result, _next_command(model, given(options)))
    deliver(shown, result.to_json(), json_to, quiet)


def _next_command(model: Path, said: Mapping[str, Any]) -> str:
    """The same options, but for the limit: a look needs few samples, and a fit many."""
    data = () if "data" in said else ("--data", "FOLDER_OR_NPZ")
    options = {name: value for name, value in said.items() if name != "limit"}
    return shlex.join(("sepfactor", "compress", str(model), *data, *spelled(options)))
