"""The report as one page of HTML that needs nothing else: no network, no files beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from sepfactor.errors import OptionError
from sepfactor.extras import how_to_install
from sepfactor.report.became import drawing
from sepfactor.report.charts import charts, front_as_measured, front_chart, what_became
from sepfactor.report.front import front_files, front_table
from sepfactor.report.grid import Grid
from sepfactor.report.tidied import rewrites_table
from sepfactor.results import Histogram, Layer, Picture, Planning, Report
from sepfactor.words import (
    by,
    change,
    count,
    decibel,
    error,
    file_size,
    kernel_text,
    milliseconds,
    percent,
    saved,
)

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = files("sepfactor.report") / "page"


class Column(NamedTuple):
    """One of the table of layers: its head, and what it says in a sentence."""

    head: str
    words: str
    kind: str = "number"

    @property
    def number(self) -> bool:
        """Whether it is aligned to the right."""
        return self.kind == "number"


class Cell(NamedTuple):
    """What a cell shows, what it is sorted by (None: nothing is known), and what stands below in small."""

    shown: str
    key: Any
    small: str = ""


COLUMNS = (
    Column("#", "Place in the graph. The charts have it before the name."),
    Column("Layer", "Name of the node, or of what it writes. A click shows its ranks.", "name"),
    Column("Kernel", "Channels in → out, size, groups, stride, and the map it runs on.", "kernel"),
    Column(
        "Became, or why it stays",
        "Scheme and rank, or the reason. Corrected: its weights make up for errors of layers before it.",
        "why",
    ),
    Column("MACs", "Multiply-accumulates in one run, before → after."),
    Column("ms", "Milliseconds in the whole network, before → after, from runs with a profile."),
    Column(
        "Alone",
        "How many times faster than the layer it replaced, timed outside the network, and the 95 % interval.",
    ),
    Column("Weights off", "Relative distance between the kernel and what its factors multiply out to."),
    Column("Output off", "Relative error of its answer, on inputs of the original network."),
    Column(
        "In place off",
        "The same on held-out data in the compressed network, with the errors of all layers before it. "
        "Unfitted: with the factors of the bare weights.",
    ),
)


def report_html(report: Report | Planning) -> str:
    """The page.

    Raises:
        OptionError: the packages it is made with are not installed.
    """
    if isinstance(report, Planning):
        files = front_files(report)
        drawn = {"front": front_chart(report.front, files)} if report.front else {}
        return _page(
            "planning.html.j2",
            report,
            {name: spec for name, spec in drawn.items() if spec is not None},
            title=report.headline,
            front_table=_numbered(front_table(report.front, files)),
            written=() if files else report.plans,
        )
    return _page(
        "report.html.j2",
        report,
        charts(report),
        title=report.headline,
        samples=report.data.samples_text,
        tiles=_tiles(report),
        columns=COLUMNS,
        rows=[_row(number, layer) for number, layer in enumerate(report.layers, 1)],
        became=drawing(report.layers),
        pictures=_pictures(report),
        outputs=_outputs(report),
        rewrites=_cells(rewrites_table(report.rewrites)) if report.rewrites else None,
        times_words=_TIMES_WORDS,
        front_table=_numbered(front_table(front_as_measured(report))),
    )


def _page(template: str, document: Report | Planning, drawn: Mapping[str, Any], **parts: Any) -> str:
    environment, vega = _tools()
    page: str = environment.get_template(template).render(
        document=document,
        measured=_measured(document),
        charts=drawn,
        report_json=_harmless(document.model_dump_json()),
        charts_json=_harmless(json.dumps(drawn, ensure_ascii=False, allow_nan=False, separators=(",", ":"))),
        style=_read("report.css"),
        script=_read("report.js"),
        vega=vega,
        **parts,
    )
    return page


def _measured(document: Report | Planning) -> str:
    """Software, processor, threads, data and seed, in a sentence."""
    data = document.data
    fitted = f"; fitted on {data.fitted_on} samples of {data.description}" if data.fitted_on else ""
    return f"Measured with {document.environment.line}. Judged on {data.judged_on}{fitted}. Seed {data.seed}."


def check_html() -> None:
    """Say before any work is done that the page cannot be made.

    Raises:
        OptionError: the packages it is made with are not installed.
    """
    try:
        import jinja2  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError as error:
        raise OptionError(
            f"A page of HTML needs the package {error.name}, which is not installed. "
            f"Install it with: {how_to_install('html')}."
        ) from error


@cache
def _tools() -> tuple[Environment, str]:
    """Jinja's environment, and Vega as one script."""
    check_html()
    import jinja2
    import vl_convert

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"together": _together, "headline": _headline}
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return environment, script.replace("</script", "<\\/script")


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _numbered(grid: Grid) -> Mapping[str, Any]:
    """Heads and rows of a table, with the numbers of the chart in front."""
    columns = [column for column in grid.columns if column.header]
    heads = [("#", True), *((column.header, column.right) for column in columns)]
    rows = zip(*(column.cells for column in columns), strict=True)
    return {"heads": heads, "rows": [(number, *cells) for number, cells in enumerate(rows, 1)]}


def _cells(grid: Grid) -> Mapping[str, Any]:
    """Heads and rows of a table."""
    heads = [(column.header, column.right) for column in grid.columns]
    return {"heads": heads, "rows": [*zip(*(column.cells for column in grid.columns), strict=True)]}


def _together(text: str) -> str:
    """Figures on the same line as their units, and intervals in one piece."""
    text = re.sub(r"(?<=[\d∞]) (?=(?:%|dB|ms|[GMk]?B|[GMk])(?:\W|$))", "\u00a0", text)
    text = re.sub(r"(top-\d|Seed) (?=\d)", "\\1\u00a0", text)
    return re.sub(r"(?<=\d)–(?=\d)", "\u2060–\u2060", text).replace("top-", "top‑")


def _headline(text: str) -> Any:
    """The sentence with what stands in brackets set lighter, as markup."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"\([^()]*\)", r"<span>\g<0></span>", str(escape(_together(text)))))


def _harmless(text: str) -> str:
    """JSON that cannot end the script element it stands in, nor open a comment there."""
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _tiles(report: Report) -> list[tuple[str, str, str]]:
    """Name, figure and remark of what a reader wants first."""
    sums, tiles = report.totals, []
    if report.speed is not None:
        before, tidied, after = report.speed.original, report.speed.prepared, report.speed.result
        figure = f"{milliseconds(before.median_ms)} → {milliseconds(after.median_ms)} ms"
        remark = "median"
        if report.speed.tidying is not None and tidied is not None:
            remark += f", {milliseconds(tidied.median_ms)} ms tidied but not factored"
        tiles.append(("One run", figure, remark))
    tiles.append(("Convolutions", f"{sums.replaced} of {sums.convolutions}", "replaced"))
    tiles += [
        ("Multiplications", *_split(saved(sums.macs_before, sums.macs_after))),
        ("Parameters", *_split(saved(sums.parameters_before, sums.parameters_after))),
        ("File", f"{file_size(sums.bytes_before)} → {file_size(sums.bytes_after)}", ""),
    ]
    return tiles


def _split(text: str) -> tuple[str, str]:
    figure, _, remark = text.partition(" (")
    return figure, remark.removesuffix(")")


def _row(number: int, layer: Layer) -> Mapping[str, Any]:
    """One line of the table; what is in it, and what each cell is sorted by."""
    became, reason = what_became(layer), str(layer.reason or "")
    kernel = kernel_text(layer.weight_shape, layer.group, layer.strides)
    ms = layer.milliseconds_before, layer.milliseconds_after
    alone = "–" if layer.trial_speedup is None else f"{layer.trial_speedup:.2f}×"
    interval = "" if layer.trial_interval is None else "{:.2f}–{:.2f}".format(*layer.trial_interval)
    unfitted = "" if layer.unfitted_error is None else f"unfitted {percent(layer.unfitted_error)}"
    cells = (
        Cell(kernel, layer.parameters_before, f"on {by(layer.map_size)}" if layer.map_size else ""),
        Cell(became, f"{became} {reason}", reason),
        Cell(change(layer.macs_before, layer.macs_after, count), layer.macs_before),
        Cell(change(*ms, milliseconds), ms[0]),
        Cell(alone, layer.trial_speedup, interval),
        Cell(error(layer.weight_error, layer.exact), layer.weight_error),
        Cell(error(layer.output_error, layer.exact), layer.output_error),
        Cell(error(layer.fitted_error, exact=False), layer.fitted_error, unfitted),
    )
    return {
        "number": number,
        "name": layer.name or layer.output,
        "is": "replaced" if layer.replaced else "kept",
        "spectrum": bool(layer.spectrum),
        "cells": cells,
    }


def _outputs(report: Report) -> list[Mapping[str, str]]:
    """Name of each output, how far it is off, and how its single values are."""
    found: list[Mapping[str, str]] = []
    for output in report.accuracy.outputs if report.accuracy else ():
        line, spread = output.line(), _spread(output.errors)
        found.append({"name": output.name, "line": line[0].upper() + line[1:], "spread": spread})
    known = report.accuracy.boxes if report.accuracy else ()
    return found + [{"name": one.kind, "line": one.line, "spread": ""} for one in known]


def _spread(errors: Histogram | None) -> str:
    if errors is None or not errors.counts:
        return ""
    equal = errors.equal / errors.total
    none = f", and {percent(equal)} are equal" if equal > 0.01 else ""
    return f"99 % of the values are off by no more than {errors.within_99:.2g}{none}."


_TIMES_WORDS = (
    "In the whole network, in the order of the graph, from profiles before and after factoring; replaced "
    "layers with all their parts. Pale bars are of layers that stay, which change too when data between "
    "layers take another layout."
)


_PARTS = {"input": "went in", "original": "original", "result": "compressed", "difference": "difference"}
"""Field of a picture → what stands under it."""


def _pictures(report: Report) -> list[Mapping[str, Any]]:
    """What is shown of each picture; the script fills the images in, so that the page holds them once."""
    shown: list[Mapping[str, Any]] = []
    for picture in report.pictures:
        parts = [(field, name) for field, name in _PARTS.items() if getattr(picture, field)]
        strong = "" if picture.gain is None else f" × {picture.gain:g}"
        named = [(field, name + strong if field == "difference" else name) for field, name in parts]
        shown.append({"images": named, "caption": _caption(picture)})
    return shown


def _caption(picture: Picture) -> str:
    if picture.classes is None:
        return f"Sample {picture.sample}: {decibel(picture.snr_db)}"
    was, now = picture.classes
    truth = {None: "", was: " (was right)", now: " (now right)"}.get(picture.label, f" (is {picture.label})")
    return f"Sample {picture.sample}: class {was} → {now}{truth}"
