"""The picture at the head of the README: time of each layer before and after, from a report.

Drawn by what draws the page of a report, with its colours::

    sepfactor compress models/upscale2x.onnx --data models/upscale2x_calibration.npz \
        --eval-data models/upscale2x_evaluation.npz -o upscale2x.sep.onnx --json upscale2x.json
    python -m benchmarks.picture upscale2x.json docs/images/upscale2x.svg
"""

from __future__ import annotations

import json
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import vl_convert

from sepfactor.report.charts import charts
from sepfactor.report.read import read_document
from sepfactor.results import Report

_WIDTH = 620


def picture(report: Report) -> str:
    """The chart of times as SVG, in light colours on white, with the verdict as its title.

    Raises:
        ValueError: the report has no times, or the networks were not timed.
    """
    spec = charts(report).get("times")
    if spec is None or report.speed is None:
        raise ValueError(f"{report.model} was not timed layer by layer and as a whole")
    coloured: dict[str, Any] = json.loads(_in_colour(json.dumps(spec)))
    coloured |= {"width": _WIDTH, "background": "white", "padding": 10, "config": _style()}
    coloured["title"] = {"text": _title(report), "anchor": "start", "fontSize": 15, "offset": 12}
    svg: str = vl_convert.vegalite_to_svg(coloured)
    return svg


def _title(report: Report) -> str:
    assert report.speed is not None
    return f"{report.model.removesuffix('.onnx')}: {report.speed.verdict.text}"


def _style() -> dict[str, Any]:
    axis = {"labelColor": "var(--soft)", "titleColor": "var(--soft)", "gridColor": "var(--line)"}
    style = {
        "font": "Helvetica, Arial, sans-serif",
        "view": {"stroke": None},
        "axis": {**axis, "titleFontWeight": "normal", "labelFontSize": 12, "titleFontSize": 12},
        "legend": {"orient": "top", "labelFontSize": 12, "labelColor": "var(--ink)"},
        "title": {"color": "var(--ink)"},
    }
    coloured: dict[str, Any] = json.loads(_in_colour(json.dumps(style)))
    return coloured


def _in_colour(text: str) -> str:
    """CSS variables replaced by their values on a light page."""
    sheet = (files("sepfactor.report") / "page" / "report.css").read_text(encoding="utf-8")
    light = dict(re.findall(r"--([\w-]+):\s*(#\w+)", sheet[: sheet.index("@media")]))
    return re.sub(r"var\(--([\w-]+)\)", lambda found: light[found[1]], text)


def main() -> None:
    """Draw the report named first into the file named second."""
    source, target = map(Path, sys.argv[1:])
    document = read_document(source)
    if not isinstance(document, Report):
        raise SystemExit(f"{source} holds no report of compress")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(picture(document), encoding="utf-8")


if __name__ == "__main__":
    main()
