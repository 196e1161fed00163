"""``sepfactor inspect``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from sepfactor.cli.common import (
    CONFIG,
    deliver,
    every_layer,
    given,
    output_options,
    progress_bar,
)
from sepfactor.cli.files import check_files, options_for
from sepfactor.cli.flags import flag, options_of, spelled
from sepfactor.cli.headings import UnderHeadings

_MUCH = 0.2
"""Share of the time from which on what comes next takes in layers that were not looked at."""


@click.command("inspect", cls=UnderHeadings)
@click.argument("model", type=click.Path(path_type=Path))
@CONFIG
@options_of(
    "inspect",
    scheme=flag("scheme", "Show only these schemes, or families of schemes."),
    linear_layers=flag("linear_layers", "Show Gemm and MatMul with constant weights too."),
    dequantize=flag("dequantize", "Show layers whose weights stand behind a DequantizeLinear as float ones."),
)
@every_layer
@output_options
def command(
    model: Path,
    config: Path | None,
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
    from sepfactor.inspection import inspect, matrices_left_out
    from sepfactor.report.inspected import inspection_view

    said = given(options)
    asked = options_for("inspect", said, config, overwrite)
    check_files([("--json", json_to)], asked, (model,), (config,))
    with progress_bar(quiet) as progress:
        result = inspect(model, config=config, progress=progress, **said)
    if matrices_left_out(result.operators, result.layers) >= _MUCH:
        said.setdefault("linear_layers", True)
    shown = inspection_view(result, _next_command(model, config, said))
    deliver(shown, result.to_json(), json_to, quiet and json_to is not None)


def _next_command(model: Path, config: Path | None, said: Mapping[str, Any]) -> str:
    """The same options, but for the limit: a look needs few samples, and a fit many."""
    data = () if "data" in said or config is not None else ("--data", "FOLDER_OR_NPZ")
    file = () if config is None else ("--config", str(config))
    options = {name: value for name, value in said.items() if name != "limit"}
    return shlex.join(("sepfactor", "compress", str(model), *file, *data, *spelled(options)))
