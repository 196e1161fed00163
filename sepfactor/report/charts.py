"""The report's pictures as Vega-Lite specifications, with their data; the page draws them.

Colours are CSS variables, which the page sets for light, dark and print. Each function returns None where
the report has nothing to show.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from sepfactor.results import Accuracy, FrontPoint, Histogram, Layer, Report
from sepfactor.words import by, milliseconds, percent

Spec = dict[str, Any]

_LEAST_ERROR = 1e-7
"""Smaller errors are rounding; a logarithmic axis ends here."""

_NAME_LENGTH = 20
"""Characters of a layer's name on an axis; the end of a name says more than its beginning."""

_BEFORE, _AFTER = "var(--before)", "var(--after)"
_PALE = 0.45
_COLOURS = [f"var(--c{number})" for number in range(1, 9)]
_MOST_HISTOGRAMS = 3

_FEW = 1e-3
"""So small a share of the values, with the smallest errors, is left out of a histogram."""

_FINE_DECADES = 2
"""Over so many decades a logarithmic axis has ticks at 1, 2 and 5; over more, at powers of ten."""


def charts(report: Report) -> dict[str, Spec]:
    """Name of a chart → its specification, those left out that have nothing to show."""
    names = _labels(report.layers)
    drawn = {
        "front": front_chart(front_as_measured(report)),
        "times": _times(report.layers, names),
        "errors": _errors(report.layers, names),
        "spectrum": _spectrum(report.layers),
        **_histograms(report.accuracy),
    }
    return {name: spec for name, spec in drawn.items() if spec is not None}


def what_became(layer: Layer) -> str:
    """Scheme and rank, or what was done with a layer that stays."""
    int8 = " int8" if layer.precision == "int8" else ""
    if layer.replaced:
        return f"{layer.scheme} {by(layer.rank)}".strip() + int8
    return ("kept, corrected" if layer.corrected else "kept") + int8


def _labels(layers: Sequence[Layer]) -> list[str]:
    """Short names; the numbers in front make them unique and are those of the table."""
    names = (layer.name or layer.output for layer in layers)
    ends = (n if len(n) <= _NAME_LENGTH else "…" + n[1 - _NAME_LENGTH :] for n in names)
    return [f"{number} · {end}" for number, end in enumerate(ends, 1)]


def _chart(rows: Iterable[Mapping[str, Any]], **spec: Any) -> Spec:
    data = {"values": list(rows)}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "data": data,
        "width": "container",
    } | spec


def _times(layers: Sequence[Layer], names: Sequence[str]) -> Spec | None:
    """Paired bars per layer, in the order of the graph."""
    rows = [
        {
            "layer": name,
            "side": side,
            "ms": ms,
            "name": layer.name or layer.output,
            "became": what_became(layer),
            "is": "replaced" if layer.replaced else "kept",
            "shown": milliseconds(ms),
        }
        for layer, name in zip(layers, names, strict=True)
        for side, ms in (("before", layer.milliseconds_before), ("after", layer.milliseconds_after))
        if ms is not None
    ]
    if not rows:
        return None
    sides = [side for side in ("before", "after") if any(row["side"] == side for row in rows)]
    return _chart(
        rows,
        description="Milliseconds of each layer before and after; the table of convolutions has them too.",
        height=len(layers) * (24 if len(layers) < 40 else 18),
        mark={"type": "bar", "cornerRadiusEnd": 2},
        encoding={
            "y": _layer_axis(),
            "yOffset": {"field": "side", "sort": sides},
            "x": {
                "field": "ms",
                "type": "quantitative",
                "title": "milliseconds in one run",
                "axis": {"tickCount": 10},
            },
            "color": _colour("side", sides, [_BEFORE, _AFTER]),
            "opacity": {"condition": {"test": "datum.is === 'kept'", "value": _PALE}, "value": 1},
            "tooltip": _tooltip(name="layer", became="", side="", shown="ms"),
        },
    )


def _errors(layers: Sequence[Layer], names: Sequence[str]) -> Spec | None:
    """The errors of a layer side by side: of its weights, of its outputs alone, and in its place."""
    kinds = {"weights": "weight_error", "output, alone": "output_error", "output, in place": "fitted_error"}
    rows = [
        {
            "layer": name,
            "kind": kind,
            "error": max(value, _LEAST_ERROR),
            "name": layer.name or layer.output,
            "shown": "lossless" if layer.exact else percent(value),
        }
        for layer, name in zip(layers, names, strict=True)
        for kind, field in kinds.items()
        if (value := getattr(layer, field)) is not None and math.isfinite(value)
    ]
    if not rows:
        return None
    present = [kind for kind in kinds if any(row["kind"] == kind for row in rows)]
    shapes = {
        "field": "kind",
        "scale": {"domain": present, "range": ["circle", "diamond", "square"][: len(present)]},
    }
    return _chart(
        rows,
        description="Relative errors of each layer; the table of convolutions has them too.",
        height=20 * len({row["layer"] for row in rows}),
        mark={"type": "point", "filled": True, "size": 70, "opacity": 0.9},
        encoding={
            "y": _layer_axis(grid=True),
            "x": {
                "field": "error",
                "type": "quantitative",
                "title": "relative error",
                **_decades([row["error"] for row in rows], "format(datum.value * 100, '~g') + ' %'"),
            },
            "color": _colour("kind", present, [_BEFORE, "var(--third)", _AFTER]),
            "shape": shapes | {"title": None},
            "tooltip": _tooltip(name="layer", kind="error of", shown="error"),
        },
    )


def front_as_measured(report: Report) -> list[FrontPoint]:
    """The networks on the way; the chosen one with the speed of the written file, which was timed longest."""
    points = list(report.front or ())
    if report.speed is None:
        return points
    final = {"speedup": report.speed.ratio, "interval": (report.speed.low, report.speed.high)}
    return [point.model_copy(update=final) if point.chosen else point for point in points]


def front_chart(points: Sequence[FrontPoint], names: Sequence[str] = ()) -> Spec | None:
    """What more speed costs: a point for each network that was measured on the way, numbered from 1.

    Args:
        points: in the order of their numbers.
        names: what to call them, instead of their labels.
    """
    by_drop = any(point.drop is not None for point in points)
    rows = list(_front_rows(points, names or [point.label for point in points], by_drop))
    if not rows:
        return None
    colours = {"chosen": _AFTER, "timed": _BEFORE, "predicted speed": "var(--faint)"}
    present = [kind for kind in colours if any(row["is"] == kind for row in rows)]
    speed = {
        "type": "quantitative",
        "title": "times as fast as the original",
        "scale": {"zero": False},
        "axis": {"tickCount": 8},
    }
    title = "points of accuracy lost" if by_drop else "SNR against the original, dB"
    y = {"field": "loss", "type": "quantitative", "title": title, "scale": {"zero": by_drop}}
    tooltip = _tooltip(
        number="",
        label="",
        speedup="times as fast",
        low="from",
        high="to",
        loss="lost, points" if by_drop else "SNR",
    )
    return _chart(
        rows,
        description=f"{title} against {speed['title']}, for each network that was built on the way.",
        height=260,
        encoding={"y": y},
        layer=[
            {
                "transform": [{"filter": "datum.unbeaten"}],
                "mark": {"type": "line", "color": "var(--faint)", "strokeDash": [3, 3]},
                "encoding": {"x": {"field": "speedup", **speed}, "order": {"field": "speedup"}},
            },
            {
                "mark": {"type": "rule", "color": "var(--faint)", "strokeWidth": 2},
                "encoding": {"x": {"field": "low", **speed}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "opacity": 1},
                "encoding": {
                    "x": {"field": "speedup", **speed},
                    "color": _colour("is", present, [colours[kind] for kind in present]),
                    "size": {"condition": {"test": "datum.is === 'chosen'", "value": 220}, "value": 80},
                    "tooltip": tooltip,
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 7, "dy": -8, "color": "var(--ink)"},
                "encoding": {"x": {"field": "speedup", **speed}, "text": {"field": "number"}},
            },
        ],
    )


def _front_rows(
    points: Sequence[FrontPoint], names: Sequence[str], by_drop: bool
) -> Iterator[dict[str, Any]]:
    for number, (point, name) in enumerate(zip(points, names, strict=True), 1):
        loss = point.drop if by_drop else point.snr_db
        if point.speedup is None or loss is None:
            continue
        low, high = point.interval or (point.speedup, point.speedup)
        yield {
            "number": number,
            "label": name,
            "speedup": point.speedup,
            "low": low,
            "high": high,
            "loss": 100 * loss if by_drop else loss,
            "unbeaten": not any(_beats(other, point) for other in points),
            "is": "chosen" if point.chosen else "timed" if point.interval else "predicted speed",
        }


def _beats(one: FrontPoint, other: FrontPoint) -> bool:
    """Whether it is better in speed or loss, and in the other of the two not worse."""
    better = (one.speedup or 0.0) - (other.speedup or 0.0), _kept(one) - _kept(other)
    return max(better) > 0.0 <= min(better)


def _kept(point: FrontPoint) -> float:
    """The more the better."""
    return -(point.drop or 0.0) + (point.snr_db or 0.0)


def _spectrum(layers: Sequence[Layer]) -> Spec | None:
    """Error against rank, for the layer a person picks; the page fills the data in."""
    schemes = list(dict.fromkeys(scheme for layer in layers for scheme in layer.spectrum or ()))
    if not schemes:
        return None
    rank = {
        "field": "rank",
        "type": "quantitative",
        "title": "rank",
        "scale": {"type": "log", "base": 2},
        "axis": {"format": "~g"},
    }
    return _chart(
        [],
        description="Relative error against rank, a curve for each scheme, and the rank taken.",
        height=240,
        layer=[
            {
                "transform": [{"filter": "datum.scheme"}],
                "mark": {"type": "line", "point": {"size": 25}, "strokeWidth": 1.5},
                "encoding": {
                    "x": rank,
                    "y": {
                        "field": "error",
                        "type": "quantitative",
                        "title": "relative error",
                        "axis": {"format": "~%"},
                    },
                    "color": _colour("scheme", schemes, _COLOURS),
                    "tooltip": _tooltip(scheme="", rank="", shown="error"),
                },
            },
            {
                "transform": [{"filter": "datum.chosen"}],
                "mark": {"type": "rule", "color": "var(--ink)", "strokeDash": [4, 3]},
                "encoding": {"x": rank},
            },
            {
                "transform": [{"filter": "datum.chosen"}],
                "mark": {"type": "text", "align": "left", "dx": 4, "baseline": "top", "color": "var(--ink)"},
                "encoding": {"x": rank, "y": {"value": 2}, "text": {"field": "chosen"}},
            },
        ],
    )


def _histograms(accuracy: Accuracy | None) -> dict[str, Spec]:
    """How the errors of each output are distributed."""
    found: dict[str, Spec] = {}
    for number, output in enumerate(accuracy.outputs if accuracy else ()):
        errors = output.errors
        if errors and errors.counts and len(found) < _MOST_HISTOGRAMS:
            found[f"histogram-{number}"] = _histogram(errors)
    return found


def _histogram(errors: Histogram) -> Spec:
    edges, counts, whole = errors.edges, errors.counts, errors.total
    few = next((i for i, seen in enumerate(accumulate(counts)) if seen > _FEW * whole), 0)
    edges, counts = edges[few:], counts[few:]
    rows = [
        {
            "low": low,
            "high": high,
            "share": n / whole,
            "shown": percent(n / whole),
            "error": f"{low:.2g} … {high:.2g}",
        }
        for (low, high), n in zip(pairwise(edges), counts, strict=True)
    ]
    return _chart(
        rows,
        description="Share of the values of an output, by absolute error.",
        height=150,
        mark={"type": "bar", "color": _BEFORE},
        encoding={
            "x": {
                "field": "low",
                "type": "quantitative",
                "title": "error of a value, in units of the output",
                **_decades(edges, "format(datum.value, datum.value < 0.001 ? '.0e' : '~g')"),
            },
            "x2": {"field": "high"},
            "y2": {"datum": 0},
            "y": {
                "field": "share",
                "type": "quantitative",
                "title": "share of all values",
                "axis": {"format": "~%", "tickCount": 4},
            },
            "tooltip": _tooltip(error="absolute error", shown="of the values"),
        },
    )


def _layer_axis(grid: bool = False) -> Spec:
    axis = {"title": None, "labelLimit": 170, "grid": grid, "ticks": False, "domain": False}
    return {"field": "layer", "type": "nominal", "sort": None, "axis": axis}


def _colour(field: str, domain: Sequence[str], colours: Sequence[str]) -> Spec:
    scale = {"domain": list(domain), "range": list(colours[: len(domain)])}
    return {"field": field, "title": None, "scale": scale}


def _decades(values: Sequence[float], label: str) -> Spec:
    """A logarithmic scale over ``values``, with ticks where people expect them.

    Args:
        values: positive.
        label: expression for a tick's label.
    """
    lowest, highest = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = (1,) if highest - lowest > _FINE_DECADES else (1, 2, 5)
    ticks = [m * 10.0**k for k in range(lowest, highest + 1) for m in steps]
    low = max((t for t in ticks if t <= min(values)), default=ticks[0])
    high = min((t for t in ticks if t >= max(values) and t > low), default=ticks[-1])
    return {
        "scale": {"type": "log", "domain": [low, high]},
        "axis": {"values": [t for t in ticks if low <= t <= high], "labelExpr": label},
    }


def _tooltip(**titles: str) -> list[Spec]:
    return [{"field": field, "title": title or field} for field, title in titles.items()]
