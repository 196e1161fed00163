"""``sepfactor compress``."""

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


@click.command("compress")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: MODEL.sep.onnx]"
)
@click.option("--scheme", multiple=True, metavar="NAME", help="Use only these schemes (repeatable).")
@click.option("--rank", type=click.IntRange(1), help="Use this rank.")
@click.option(
    "--max-error", type=click.FloatRange(0), help="Relative output error allowed per layer.  [default: 0.05]"
)
@click.option("--ignore", multiple=True, metavar="GLOB", help="Leave these layers alone (repeatable).")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Options as TOML, with [layers.GLOB] tables.",
)
@data_options
@click.option(
    "--held-out",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Share of --data never fitted to, and judged on.  [default: 0.25]",
)
@click.option("--no-refit", is_flag=True, help="Factor the bare weights: no fitting to the activations.")
@click.option("--memory", metavar="SIZE", help="For activations of calibration images.  [default: 2GB]")
@click.option("--eval-data", metavar="X", help="Judge on these inputs instead of --data.")
@click.option("--labels", metavar="Y", help="True classes of the inputs judged on (.npy, .npz, .csv).")
@click.option("--targets", metavar="Z", help="What dense outputs should be, for their PSNR (.npy, .npz).")
@runtime_options
@click.option(
    "--bench-seconds", type=click.FloatRange(0), help="Time spent timing the networks.  [default: 8]"
)
@click.option("--dry-run", is_flag=True, help="Report, but write no model.")
@output_options
def command(
    model: Path,
    output: Path | None,
    config: Path | None,
    dry_run: bool,
    json_to: str | None,
    overwrite: bool,
    no_refit: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Replace convolutions of MODEL by factorisations, and measure what that did.

    \b
    sepfactor compress model.onnx --data photos/ --max-error 0.02 -o faster.onnx
    sepfactor compress model.onnx --data images.npz --scheme spatial --rank 32
    """
    from sepfactor.pipeline import compress
    from sepfactor.report.text import report_view

    target = None if dry_run else output or model.parent / f"{model.stem}.sep.onnx"
    read = (model, config, *(options[name] for name in ("data", "eval_data", "labels", "targets")))
    check_json(json_to, (*read, target), overwrite)
    said = (
        given(options) | ({"overwrite": True} if overwrite else {}) | ({"refit": False} if no_refit else {})
    )
    with progress_bar(quiet) as progress:
        result = compress(model, target, config=config, progress=progress, **said)
    deliver(report_view(result.report), result.report.to_json(), json_to, quiet)
    if not result.report.totals.replaced:
        click.echo("Nothing was worth replacing, so no model was written.", err=True)
        raise click.exceptions.Exit(4)
