"""``sepfactor plan``."""

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
    deliver,
    given,
    output_options,
    progress_bar,
    runtime_options,
    write,
)
from sepfactor.cli.finish import NOT_MET, NOTHING


@click.command("plan")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: MODEL.plan.json]"
)
@click.option(
    "--pareto", is_flag=True, help="Several plans from mild to strong: MODEL.plan-1.json, -2, … and a table."
)
@choosing_options
@SAVE_CONFIG
@data_options
@fitting_options
@runtime_options
@output_options
def command(
    model: Path,
    output: Path | None,
    pareto: bool,
    config: Path | None,
    save_config_to: Path | None,
    json_to: str | None,
    overwrite: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Choose for MODEL, and write the plan: what becomes of every convolution.

    \b
    sepfactor plan model.onnx --data photos/ --max-drop 1% -o plan.json
    sepfactor plan model.onnx --data photos/ --pareto
    sepfactor apply model.onnx plan.json
    """
    from sepfactor.pipeline import effective
    from sepfactor.planning import plan
    from sepfactor.report.advice import where_not_kept
    from sepfactor.report.front import planning_view

    target = output or model.parent / f"{model.stem}.plan.json"
    said = given(options) | ({"overwrite": True} if overwrite else {})
    asked, _ = effective(said, config)
    read = (model, config, *files_read(asked))
    check_files({"-o": target, "--json": json_to, "--save-config": save_config_to}, read, asked.overwrite)
    with progress_bar(quiet) as progress:
        found, plans = plan(model, pareto=pareto, config=config, progress=progress, **said)
    files = [target] if not pareto else [_numbered(target, i) for i in range(1, len(plans) + 1)]
    for file in files:
        check_files({"-o": file}, read, asked.overwrite)
    save_config(save_config_to, asked)
    for file, one in zip(files, plans, strict=True):
        write(file, one.to_json() + "\n")
    found = found.model_copy(update={"plans": tuple(map(str, files))})
    deliver(planning_view(found), found.to_json(), json_to, quiet)
    if found.budget is not None and not found.budget.is_met:
        next_step = where_not_kept(found.options, f"take the closest all the same, which is {target}")
        click.echo(f"The budget is not kept: {found.budget.verdict}. {next_step}", err=True)
        raise click.exceptions.Exit(NOT_MET)
    if not any(one.replaced for one in plans):
        why = f": {found.budget.verdict}" if found.budget is not None else ""
        click.echo(f"Nothing was worth replacing, so the plan keeps every layer{why}.", err=True)
        raise click.exceptions.Exit(NOTHING)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number}{path.suffix}")
