"""What the commands share: options, the console, progress, and where results go."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sepfactor.cli import EVERY_LAYER, MARKDOWN, VERBOSE
from sepfactor.cli.flags import decorated, flag
from sepfactor.outputs import write_text
from sepfactor.progress import Progress, silent
from sepfactor.visible import visible, visible_json

if TYPE_CHECKING:  # slow to import, and --help does without
    from rich.console import Console

    from sepfactor.report.view import View

_PLAIN_WIDTH = 160
"""Columns of a table that goes to a file or a pipe."""


def _remember_verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: ARG001
    ctx.meta[VERBOSE] = value


def _remember_markdown(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: ARG001
    ctx.meta[MARKDOWN] = value


def _remember_all(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: ARG001
    ctx.meta[EVERY_LAYER] = value


_DISPLAY = [
    click.option(
        "--markdown",
        is_flag=True,
        expose_value=False,
        callback=_remember_markdown,
        help="Print a summary for a pull request instead of tables.",
    ),
    flag("overwrite"),
    click.option(
        "-v",
        "--verbose",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_remember_verbose,
        help="Show the traceback of an error.",
    ),
    click.option(
        "-q",
        "--quiet",
        is_flag=True,
        help="No progress; no table either where results go into files.",
    ),
]
_JSON = [
    click.option("--json", "json_to", metavar="FILE|-", help="Write the report as JSON; - for stdout."),
]


CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Options as TOML, with [layers.GLOB] tables. Flags go before it.",
)
output_options = decorated([*_JSON, *_DISPLAY])
"""Flags that say where results go and how much is said."""

display_options = decorated(_DISPLAY)
"""Flags that say how much is said, for a command without results to save."""

every_layer = click.option(
    "--all",
    is_flag=True,
    expose_value=False,
    callback=_remember_all,
    help="Show every layer in full, not only those that matter.",
)
"""Whether layers are summed up."""


def given(values: dict[str, Any]) -> dict[str, Any]:
    """What a user actually said: unset options and empty lists left out, for the API to fill in."""
    said = {name: v for name, v in values.items() if v is not None and v != ()}
    if "input_shape" in said:
        said["input_shape"] = dict(said["input_shape"])
    return said


def say(text: str, *, err: bool = False) -> None:
    """A line for people, in which what files are called is shown and not obeyed."""
    click.echo(visible(text), err=err)


def deliver(table: View, json_text: str, json_to: str | None, quiet: bool) -> None:
    """Results to stdout; with ``--json -`` nothing but the JSON.

    Args:
        table: what people see.
        json_text: the same for programs.
        json_to: where that goes.
        quiet: leave out the table, unless it was asked for by its form.
    """
    if json_to == "-":
        click.echo(visible_json(json_text).encode())  # JSON is UTF-8, whatever the terminal is
        return
    save_json(json_text, json_to)
    meta = click.get_current_context().meta
    if not quiet or meta.get(MARKDOWN):
        shown = table.opened() if meta.get(EVERY_LAYER) else table
        if meta.get(MARKDOWN):
            from sepfactor.report.markup import markdown

            click.echo(markdown(shown))
        else:
            console().print(shown)


def save_json(json_text: str, json_to: str | None) -> None:
    """Results as JSON into the file that ``--json`` names, if it does."""
    if json_to is not None:
        write_text(Path(json_to), json_text + "\n")


def console() -> Console:
    """Stdout: as wide as the terminal, or fixed where there is none. Honours NO_COLOR and COLUMNS."""
    from rich.console import Console

    return Console(
        width=shutil.get_terminal_size((_PLAIN_WIDTH, 24)).columns, highlight=False, soft_wrap=False
    )


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """A bar on stderr if that is a terminal; now and then a line otherwise."""
    if quiet:
        yield silent
        return
    if not sys.stderr.isatty():
        from sepfactor.cli.lines import line_by_line

        yield line_by_line(lambda line: say(line, err=True))
        return
    from rich.console import Console

    from sepfactor.cli.bar import terminal_bar

    with terminal_bar(Console(stderr=True)) as report:
        yield lambda step, done, total, detail: report(step, done, total, visible(detail))
