"""``sepfactor report``."""

from __future__ import annotations

from pathlib import Path

import click

from sepfactor.cli.common import deliver, display_options, every_layer
from sepfactor.cli.files import check_files
from sepfactor.cli.headings import UnderHeadings
from sepfactor.errors import OptionError
from sepfactor.options import make_options
from sepfactor.outputs import write_text


@click.command("report", cls=UnderHeadings)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="PAGE",
    help="Write a page of HTML; - for stdout.",
)
@every_layer
@display_options
def command(file: Path, output: Path | None, overwrite: bool, quiet: bool) -> None:  # noqa: ARG001 -- nothing but the result is ever said
    """Show what another command wrote with --json: as a page to look at, as tables, or as Markdown.

    The page is one file that needs no network. It holds the figures as well, and so does not need FILE. Of
    an .onnx that sepfactor wrote, show by which version, of which network and for which budget it was made.

    \b
    sepfactor report run.json -o run.html
    sepfactor report run.json --markdown
    """
    from sepfactor.report.markup import view
    from sepfactor.report.read import read_document
    from sepfactor.results import Planning, Report

    if file.suffix.lower() == ".onnx":
        _say_origin(file, output)
        return
    document = read_document(file)
    if output is None:
        deliver(view(document), "", None, quiet=False)
        return
    from sepfactor.report.html import report_html

    check_files([("--output", output)], make_options({"overwrite": overwrite}), (), (file,))
    if not isinstance(document, Report | Planning):
        raise OptionError(
            f"{file} holds no report of compress or plan, and only those have a page. Leave out -o."
        )
    page = report_html(document)
    if str(output) == "-":
        click.echo(page.encode())  # as its head says, whatever the terminal is
    else:
        write_text(output, page)


def _say_origin(file: Path, output: Path | None) -> None:
    """What a network says of where it comes from.

    Raises:
        OptionError: a page of it was asked for.
    """
    from sepfactor.deliver.provenance import read_provenance
    from sepfactor.report.provenance import provenance_view

    if output is not None:
        raise OptionError(
            f"{file} is a network, and only reports of compress or plan have a page. Leave out -o."
        )
    deliver(provenance_view(file, read_provenance(file)), "", None, quiet=False)
