"""The report as a terminal shows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sepfactor.report.grid import Column, Grid
from sepfactor.report.model import Bench, Inspection, Layer, LayerInspection, Report, Speed


def report_view(report: Report) -> RenderableType:
    """A row per Conv, those replaced before those kept, then what it comes to."""
    replaced = [layer for layer in report.layers if layer.replaced]
    kept = [layer for layer in report.layers if not layer.replaced]
    tables: list[RenderableType] = []
    for rows, view in ((replaced, _replaced), (kept, _kept)):
        if rows:
            tables += [view(rows), ""]
    return Group(*tables, *_notes(report.notes), _summary(report))


def inspection_view(inspection: Inspection) -> RenderableType:
    """A row per Conv, then where the rest of the time goes."""
    layers = inspection.layers
    shares = " / ".join(f"{100 * share:g}" for share in inspection.energy_shares)
    name, kernel, size = _places("Layer", layers)
    table = Grid(
        [
            name,
            kernel,
            size,
            Column("MACs", [count(layer.macs) for layer in layers], drop=3, right=True),
            Column("Params", [count(layer.parameters) for layer in layers], drop=5, right=True),
            Column("ms", [milliseconds(layer.milliseconds) for layer in layers], drop=1, right=True),
            Column("Share", [_share(layer.share) for layer in layers], right=True),
            Column(
                "Pixels\ncorrelate", [_plain(la.neighbour_correlation) for la in layers], drop=2, right=True
            ),
            Column(
                "Channels\ncorrelate", [_plain(la.channel_correlation) for la in layers], drop=2, right=True
            ),
            Column(
                f"Rank for {shares} % of the kernel's energy | of what it answers here",
                [_ranks(layer) or layer.reason or _commonest(layer.refusals) for layer in layers],
                wraps=44,
            ),
        ]
    )
    whole = sum(inspection.operators.values()) or 1.0
    rest = ", ".join(f"{op} {100 * ms / whole:.0f} %" for op, ms in list(inspection.operators.items())[:8])
    return Group(
        table,
        "",
        *_notes(inspection.notes),
        _facts(
            ("Time", f"{rest}; {whole:.2f} ms in all, profiled"),
            ("Data", inspection.data["description"]),
            ("Measured", measured_with(inspection.environment)),
        ),
    )


def bench_view(bench: Bench) -> RenderableType:
    """A row per model, compared with the first."""
    rows = bench.rows
    timings = [row.timing for row in rows]
    quartiles = [f"{t['low_ms']:.3f}–{t['high_ms']:.3f}" for t in timings]
    verdicts = ["baseline" if row.speedup is None else str(row.speedup["verdict"]) for row in rows]
    table = Grid(
        [
            Column("Model", [row.model for row in rows]),
            Column("Median ms", [f"{t['median_ms']:.3f}" for t in timings], right=True),
            Column("Quartiles", quartiles, drop=1, right=True),
            Column("Runs", [f"{t['rounds']:.0f}" for t in timings], drop=2, right=True),
            Column("Against the first", verdicts, wraps=24),
        ]
    )
    return Group(
        table,
        "",
        _facts(("Data", bench.data["description"]), ("Measured", measured_with(bench.environment))),
    )


def _replaced(layers: Sequence[Layer]) -> Grid:
    def change(header: str, field: str, text: Callable[[Any], str], drop: int, fewer: bool = True) -> Column:
        pairs = [(getattr(la, f"{field}_before"), getattr(la, f"{field}_after")) for la in layers]
        factors = [_fewer(before, after) for before, after in pairs]
        short = Column(f"Fewer\n{header}", factors, drop, right=True) if fewer else None
        return Column(header, [_change(*pair, text) for pair in pairs], drop, right=True, short=short)

    weights = [error(layer.weight_error, layer.exact) for layer in layers]
    outputs = [error(layer.output_error, layer.exact) for layer in layers]
    alone = ["–" if layer.trial_speedup is None else f"{layer.trial_speedup:.2f}×" for layer in layers]
    return Grid(
        [
            *_places("Replaced", layers),
            Column("By", [f"{layer.scheme} {_by(layer.rank)}".strip() for layer in layers]),
            change("MACs", "macs", count, 3),
            change("Params", "parameters", count, 6),
            change("ms", "milliseconds", milliseconds, 0, fewer=False),
            Column("Alone", alone, drop=1, right=True),
            Column("Weights\noff", weights, drop=4, right=True),
            Column("Output\noff", outputs, right=True),
            *_fits(layers),
        ]
    )


def _fits(layers: Sequence[Layer]) -> list[Column]:
    """What errors have come to at each layer, if anything was fitted."""
    if all(layer.fitted_error is None for layer in layers):
        return []
    unfitted = [error(layer.unfitted_error, False) for layer in layers]
    fitted = [error(layer.fitted_error, False) for layer in layers]
    return [
        Column("In place\nunfitted", unfitted, drop=4, right=True),
        Column("In place\nfitted", fitted, drop=2, right=True),
    ]


def _kept(layers: Sequence[Layer]) -> Grid:
    return Grid(
        [
            *_places("Kept", layers),
            Column("MACs", [count(layer.macs_before) for layer in layers], drop=3, right=True),
            Column("Params", [count(layer.parameters_before) for layer in layers], drop=6, right=True),
            Column("ms", [milliseconds(layer.milliseconds_before) for layer in layers], right=True),
            Column("Why", [_why(layer) for layer in layers], wraps=32),
        ]
    )


def _why(layer: Layer) -> str:
    if not layer.corrected:
        return layer.reason
    fit = f"{percent(layer.unfitted_error)} → {percent(layer.fitted_error)}"
    return f"{layer.reason}; weights corrected, off in place by {fit}"


def _places(
    header: str, layers: Sequence[Layer] | Sequence[LayerInspection]
) -> tuple[Column, Column, Column]:
    return (
        Column(header, [layer.name for layer in layers]),
        Column(
            "Kernel", [_kernel(layer.weight_shape, layer.group, layer.strides) for layer in layers], drop=2
        ),
        Column("Map", [_by(layer.map_size) for layer in layers], drop=5),
    )


def _summary(report: Report) -> RenderableType:
    sums = report.totals
    facts: list[tuple[str, str | Text]] = [
        ("Model", f"{report.model} → {report.output or 'not written'}"),
        ("Replaced", f"{sums.replaced} of {sums.convolutions} convolutions"),
        ("MACs", _saved(sums.macs_before, sums.macs_after)),
        ("Parameters", _saved(sums.parameters_before, sums.parameters_after) + " in convolutions"),
        ("File", f"{_bytes(sums.bytes_before)} → {_bytes(sums.bytes_after)}"),
    ]
    if report.accuracy is not None:
        facts += [(f"Output {o['name']}", output_line(o)) for o in report.accuracy["outputs"]]
        facts.append(("Judged on", str(report.data["judged_on"])))
    if report.speed is not None:
        style = "bold green" if _faster(report.speed) else "bold"
        facts += [("Speed", Text(_speed(report.speed), style=style)), ("", _runs(report.speed))]
    return _facts(*facts, ("Measured", measured_with(report.environment)))


def _facts(*facts: tuple[str, str | Text]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", max_width=24, overflow="fold")
    grid.add_column(overflow="fold")
    for name, fact in facts:
        grid.add_row(Text(name), Text(fact) if isinstance(fact, str) else fact)
    return grid


def output_line(output: Mapping[str, Any]) -> str:
    """How far an output is from the original's, in a line."""
    if output["mismatched"]:
        return f"its shape differs from the original's in {output['mismatched']} runs"
    if output["relative_error"] is None:
        return f"NOT FINITE in {output['nonfinite']} values that were finite in the original"
    parts = [f"off by {percent(output['relative_error'])}", f"SNR {decibel(output['snr_db'])}"]
    if output.get("agreement") is not None:
        agreement = output["agreement"]
        parts.append(f"same answer on {percent(agreement)} of {output['samples']}")
        if output.get("kl") is not None:
            parts.append(f"KL {output['kl']:.2g}")
    else:
        parts.append(f"PSNR {decibel(output['psnr_db'])}")
    if output["cosine"] is not None:
        parts.append(f"cosine {output['cosine']:.5f}")
    for key, label in (("top1", "top-1"), ("top5", "top-5")):
        if top := output.get(key):
            before, after = top["reference"]["value"], top["candidate"]["value"]
            parts.append(
                f"{label} {percent(before)} → {percent(after)} (drop {100 * top['drop']:.2f} points)"
            )
    if target := output.get("target"):
        before, after = target["reference_psnr_db"], target["candidate_psnr_db"]
        parts.append(f"against the target {decibel(before)} → {decibel(after)}")
    return ", ".join(parts)


def _speed(speed: Speed) -> str:
    text = f"{speed.speedup['verdict']}"
    if speed.factorisation is not None:
        text += f"; of that, factoring alone: {speed.factorisation['verdict']}"
    return text


def _faster(speed: Speed) -> bool:
    return float(speed.speedup["low"]) > 1.0


def _runs(speed: Speed) -> str:
    each = [
        f"{name} {t['median_ms']:.2f} ms ({t['low_ms']:.2f}–{t['high_ms']:.2f})"
        for name, t in speed.runs.items()
    ]
    rounds = next(iter(speed.runs.values()))["rounds"]
    return f"{', '.join(each)}; median and quartiles of {rounds:.0f} interleaved runs"


def measured_with(environment: Mapping[str, Any]) -> str:
    """What every figure depends on, in a line."""
    threads = environment["threads"]
    amount = {0: "onnxruntime's own number of threads", 1: "1 thread"}.get(threads, f"{threads} threads")
    return (
        f"onnxruntime {environment['onnxruntime']}, {environment['provider']}, {environment['processor']}, "
        f"{amount}, all graph optimisations"
    )


def _notes(notes: Sequence[str]) -> list[Text]:
    return [Text(f"! {note}", style="bold yellow") for note in notes]


def _kernel(shape: Sequence[int], group: int, strides: Sequence[int]) -> str:
    if not shape:
        return "?"
    out, ins, *kernel = shape
    text = f"{ins * group}→{out} {_by(kernel)}"
    if group > 1:
        text += " depthwise" if ins == 1 and out == group else f" g{group}"
    if any(s > 1 for s in strides):
        text += f" /{strides[0] if len(set(strides)) == 1 else _by(strides)}"
    return text


def _ranks(layer: LayerInspection) -> str:
    def listed(ranks: Sequence[Sequence[int]]) -> str:
        return " / ".join(_by(rank) for rank in ranks)

    parts = []
    for scheme, needed in layer.ranks.items():
        full = layer.full_ranks[scheme]
        if not full:
            parts.append(f"{scheme}: exact")
            continue
        seen = layer.seen_ranks.get(scheme)
        beside = f" | {listed(seen)}" if seen else ""
        parts.append(f"{scheme} {listed(needed)}{beside} of {_by(full)}")
    return "\n".join(parts)


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _commonest(reasons: Mapping[str, str]) -> str:
    said = list(reasons.values())
    return max(said, key=said.count, default="")


def _by(numbers: Sequence[int]) -> str:
    return "×".join(map(str, numbers))


def _share(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _fewer(before: int | None, after: int | None) -> str:
    return f"{before / after:.3g}×" if before and after else "–"


def _change(before: Any, after: Any, text: Any) -> str:
    if before is None or after is None or before == after:
        return str(text(before if after is None else after))
    return f"{text(before)} → {text(after)}"


def _saved(before: int, after: int) -> str:
    ratio = f" ({before / after:.2f}× fewer)" if after and before > after else ""
    return f"{count(before)} → {count(after)}{ratio}"


def count(number: float | None) -> str:
    """``1.23 G``, ``45.6 M``, ``789``."""
    if number is None:
        return "–"
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * factor:  # what three digits round up to the next unit
            digits = ".3g" if number < 999.5 * factor else ".0f"
            return f"{number / factor:{digits}} {unit}"
    return f"{number:.0f}"


def _bytes(number: int) -> str:
    return f"{number / 1e6:.2f} MB" if number >= 1e5 else f"{number / 1e3:.1f} kB"


def milliseconds(value: float | None) -> str:
    """Three digits."""
    return "–" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def error(value: float | None, exact: bool) -> str:
    """A relative error in percent, or *lossless*."""
    return "–" if value is None else "lossless" if exact else percent(value)


def percent(share: Any) -> str:
    """Two or three digits, and never a bare 0 for what is not."""
    value = 100 * float(share)
    if value == 0 or not math.isfinite(value):
        return f"{value:g} %"
    return f"{value:.1e} %" if abs(value) < 0.01 else f"{value:.2f} %" if value < 99.995 else "100 %"


def decibel(value: Any) -> str:
    """One digit behind the point; equal outputs have no noise."""
    number = math.inf if value is None else float(value)
    return "∞ dB" if math.isinf(number) and number > 0 else f"{number:.1f} dB"
