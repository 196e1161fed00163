"""The end of the commands that build a network: report, plan, and the exit code."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sepfactor.cli.common import deliver, save_json, say
from sepfactor.cli.files import is_stdout
from sepfactor.errors import OutputError
from sepfactor.outputs import write_text

if TYPE_CHECKING:
    from sepfactor.deliver.result import Result
    from sepfactor.errors import SepfactorError
    from sepfactor.options import Options

NOTHING, NOT_MET = 4, 3
"""Exit codes: nothing worth replacing; a budget that cannot be kept."""

HTML = click.option(
    "--html",
    "html_to",
    type=click.Path(path_type=Path),
    metavar="FILE|-",
    help="Write the report as a page; - for stdout.",
)


def check_page(html_to: Path | None) -> None:
    """Fail early where the page could not be made.

    Raises:
        OptionError: the packages it needs are missing.
    """
    if html_to is not None:
        from sepfactor.report.html import check_html

        check_html()


def say_if_busy(asked: Options, quiet: bool) -> None:
    """Tell who waits that other programs keep this machine busy; elsewhere the report says so."""
    from sepfactor.pipeline import busy

    said = busy(asked) if sys.stderr.isatty() and not quiet else None
    if said is not None:
        say(f"! {said}", err=True)


def rescue_plan(error: SepfactorError, file: Path) -> None:
    """Keep the plan that was found before something went wrong: finding it may have taken long."""
    if error.plan is None or file.exists():
        return
    with suppress(OutputError):  # of two troubles the first is told
        write_text(file, error.plan.to_json() + "\n")
        say(f"The plan that was found is kept in {file}: sepfactor apply builds it.", err=True)


def finish(
    result: Result, json_to: str | None, html_to: Path | None, save_plan: Path | None, quiet: bool
) -> None:
    """Deliver what there is, and leave with the exit code it deserves."""
    from sepfactor.report.advice import where_not_kept, where_nothing_is_replaced
    from sepfactor.report.text import report_view

    if save_plan is not None:
        write_text(save_plan, result.plan.to_json() + "\n")
    page_to_stdout = html_to is not None and is_stdout("--html", html_to)
    if page_to_stdout:
        save_json(result.report.to_json(), json_to)
    else:
        deliver(report_view(result.report), result.report.to_json(), json_to, quiet)
    if html_to is not None:  # last, so that a page which cannot be made takes nothing with it
        from sepfactor.report.html import report_html

        page = report_html(result.report)
        click.echo(page.encode()) if page_to_stdout else write_text(html_to, page)
    budget = result.report.budget
    if budget is not None and not budget.is_met:
        said = f"Written all the same: {result.path}." if result.path else "No model was written. "
        next_step = (
            "" if result.path else where_not_kept(result.report.options, "pass --force to write the closest")
        )
        say(f"The budget is not kept: {budget.verdict.text}. {said}{next_step}", err=True)
        raise click.exceptions.Exit(NOT_MET)
    if result.withheld is not None and result.withheld.code == "no-faster":
        said = f"No model was written: {result.withheld.text} ({result.withheld.detail})"
        say(f"{said}. --force writes it all the same. {where_nothing_is_replaced(result.report)}", err=True)
        raise click.exceptions.Exit(NOTHING)
    if not result.report.is_changed:
        why = f": {budget.verdict.text}" if budget is not None else ""
        next_step = where_nothing_is_replaced(result.report)
        say(f"Nothing was worth replacing, so no model was written{why}. {next_step}", err=True)
        raise click.exceptions.Exit(NOTHING)
