"""The end of the commands that build a network: report, plan, and the exit code."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sepfactor.cli.common import check_json, deliver, write

if TYPE_CHECKING:
    from sepfactor.pipeline import Result

NOTHING, NOT_MET = 4, 3
"""Exit codes: nothing worth replacing; a budget that cannot be kept."""


HTML = click.option(
    "--html", "html_to", type=click.Path(path_type=Path), metavar="FILE", help="Write the report as a page."
)


def check_page(html_to: Path | None, others: Iterable[Path | str | None], overwrite: bool) -> None:
    """Fail early where the page could not be made or written.

    Raises:
        OptionError: the packages it needs are missing, or it would replace one of ``others``.
        OutputError: it exists, or cannot be written.
    """
    if html_to is None:
        return
    from sepfactor.report.html import check_html

    check_html()
    check_json(str(html_to.absolute()), others, overwrite, "--html")


def finish(
    result: Result, json_to: str | None, html_to: Path | None, save_plan: Path | None, quiet: bool
) -> None:
    """Deliver what there is, and leave with the exit code it deserves."""
    from sepfactor.report.advice import where_not_kept, where_nothing_is_replaced
    from sepfactor.report.text import report_view

    if save_plan is not None:
        write(save_plan, result.plan.to_json() + "\n")
    if html_to is not None:
        from sepfactor.report.html import report_html

        write(html_to, report_html(result.report))
    deliver(report_view(result.report), result.report.to_json(), json_to, quiet)
    budget = result.report.budget
    if budget is not None and not budget.is_met:
        said = f"Written all the same: {result.path}." if result.path else "No model was written. "
        next_step = (
            "" if result.path else where_not_kept(result.report.options, "pass --force to write the closest")
        )
        click.echo(f"The budget is not kept: {budget.verdict}. {said}{next_step}", err=True)
        raise click.exceptions.Exit(NOT_MET)
    if not result.report.totals.replaced:
        why = f": {budget.verdict}" if budget is not None else ""
        next_step = where_nothing_is_replaced(result.report)
        click.echo(f"Nothing was worth replacing, so no model was written{why}. {next_step}", err=True)
        raise click.exceptions.Exit(NOTHING)
