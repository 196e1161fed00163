"""``sepfactor plan``."""

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
    say,
)
from sepfactor.cli.files import (
    SAVE_CONFIG,
    check_files,
    options_for,
    save_config,
)
from sepfactor.cli.finish import NOT_MET, NOTHING, say_if_busy
from sepfactor.cli.flags import options_of
from sepfactor.cli.headings import UnderHeadings
from sepfactor.cli.stopping import best_on_interrupt
from sepfactor.outputs import write_text
from sepfactor.uses import FRONT


@click.command("plan", cls=UnderHeadings)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: MODEL.plan.json]"
)
@click.option(
    "--pareto", is_flag=True, help="Several plans from mild to strong: MODEL.plan-1.json, -2, … and a table."
)
@CONFIG
@options_of("plan")
@SAVE_CONFIG
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
    from sepfactor.pipeline import MOST_PLANS, plan
    from sepfactor.report.advice import where_not_kept
    from sepfactor.report.front import planning_view

    target = output or model.parent / f"{model.stem}.plan.json"
    said = given(options)
    asked = options_for(FRONT if pareto else "plan", said, config, overwrite)
    most = [_numbered(target, number) for number in range(1, MOST_PLANS + 1)] if pareto else [target]
    outputs = [*(("-o", file) for file in most), ("--json", json_to), ("--save-config", save_config_to)]
    check_files(outputs, asked, (model,), (config,))
    say_if_busy(asked, quiet)
    with progress_bar(quiet) as progress, best_on_interrupt():
        found, plans = plan(model, pareto=pareto, config=config, progress=progress, **said)
    files = most[: len(plans)]
    save_config(save_config_to, asked)
    for file, one in zip(files, plans, strict=True):
        write_text(file, one.to_json() + "\n")
    found = found.model_copy(update={"plans": tuple(map(str, files))})
    deliver(planning_view(found), found.to_json(), json_to, quiet)
    if found.budget is not None and not found.budget.is_met:
        next_step = where_not_kept(found.options, f"take the closest all the same, which is {target}")
        say(f"The budget is not kept: {found.budget.verdict.text}. {next_step}", err=True)
        raise click.exceptions.Exit(NOT_MET)
    if not any(one.replaced or one.rewrites for one in plans):
        why = f": {found.budget.verdict.text}" if found.budget is not None else ""
        say(f"Nothing was worth replacing, so the plan keeps every layer{why}.", err=True)
        raise click.exceptions.Exit(NOTHING)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number}{path.suffix}")
