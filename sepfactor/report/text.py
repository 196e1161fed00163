"""The report as a terminal shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sepfactor.report.model import Bench, Inspection, Layer, Report, Speed


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
    shares = " / ".join(f"{100 * share:g}" for share in inspection.energy_shares)
    table = _table(
        "Layer", "Kernel", "Map", ">MACs", ">Params", ">ms", ">Share", f"Rank for {shares} % of the energy"
    )
    for layer in inspection.layers:
        table.add_row(
            _name(layer.name),
            _kernel(layer.weight_shape, layer.group, layer.strides),
            _by(layer.map_size),
            count(layer.macs),
            count(layer.parameters),
            milliseconds(layer.milliseconds),
            "–" if layer.share is None else f"{100 * layer.share:.1f} %",
            _ranks(layer.ranks, layer.full_ranks) or escape(layer.reason or _first(layer.refusals)),
        )
    whole = sum(inspection.operators.values())
    rest = ", ".join(f"{op} {100 * ms / whole:.0f} %" for op, ms in list(inspection.operators.items())[:8])
    return Group(
        table,
        *_notes(inspection.notes),
        Text(f"Time by operator: {rest}; {whole:.2f} ms in all, profiled."),
        Text(f"Data: {inspection.data['description']}."),
        Text(measured_with(inspection.environment)),
    )


def bench_view(bench: Bench) -> RenderableType:
    """A row per model, compared with the first."""
    table = _table("Model", ">Median ms", ">Quartiles", ">Runs", "Against the first")
    for row in bench.rows:
        timing = row.timing
        table.add_row(
            escape(row.model),
            f"{timing['median_ms']:.3f}",
            f"{timing['low_ms']:.3f}–{timing['high_ms']:.3f}",
            f"{timing['rounds']:.0f}",
            "baseline" if row.speedup is None else str(row.speedup["verdict"]),
        )
    return Group(table, Text(f"Data: {bench.data['description']}."), Text(measured_with(bench.environment)))


def _replaced(layers: Sequence[Layer]) -> Table:
    table = _table(
        "Replaced", "Kernel", "Map", "By", ">MACs", ">Params", ">ms", ">Alone", ">Weights off", ">Output off"
    )
    for layer in layers:
        table.add_row(
            *_place(layer),
            f"{layer.scheme} {_by(layer.rank)}".strip(),
            _change(layer.macs_before, layer.macs_after, count),
            _change(layer.parameters_before, layer.parameters_after, count),
            _change(layer.milliseconds_before, layer.milliseconds_after, milliseconds),
            "–" if layer.trial_speedup is None else f"{layer.trial_speedup:.2f}×",
            error(layer.weight_error, layer.exact),
            error(layer.output_error, layer.exact),
        )
    return table


def _kept(layers: Sequence[Layer]) -> Table:
    table = _table("Kept", "Kernel", "Map", ">MACs", ">Params", ">ms", "Why")
    for layer in layers:
        table.add_row(
            *_place(layer),
            count(layer.macs_before),
            count(layer.parameters_before),
            milliseconds(layer.milliseconds_before),
            escape(layer.reason),
        )
    return table


def _place(layer: Layer) -> tuple[str, str, str]:
    return _name(layer.name), _kernel(layer.weight_shape, layer.group, layer.strides), _by(layer.map_size)


def _summary(report: Report) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    sums = report.totals
    grid.add_row("Model", f"{report.model} → {report.output or 'not written'}")
    grid.add_row("Replaced", f"{sums.replaced} of {sums.convolutions} convolutions")
    grid.add_row("MACs", _saved(sums.macs_before, sums.macs_after))
    grid.add_row("Parameters", _saved(sums.parameters_before, sums.parameters_after) + " in convolutions")
    grid.add_row("File", f"{_bytes(sums.bytes_before)} → {_bytes(sums.bytes_after)}")
    if report.accuracy is not None:
        for output in report.accuracy["outputs"]:
            grid.add_row(escape(f"Output {output['name']}"), output_line(output))
        grid.add_row("Judged on", f"{report.data['judged_on']}")
    if report.speed is not None:
        grid.add_row(
            "Speed", Text(_speed(report.speed), style="bold green" if _faster(report.speed) else "bold")
        )
        grid.add_row("", _runs(report.speed))
    grid.add_row("Measured", measured_with(report.environment))
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


def _table(*headers: str) -> Table:
    """A table; ``>`` in front of a header aligns its column to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for number, header in enumerate(headers):
        is_last = number == len(headers) - 1
        table.add_column(
            header.removeprefix(">"),
            justify="right" if header.startswith(">") else "left",
            no_wrap=not is_last,
            overflow="fold" if is_last else "ellipsis",
            ratio=None,
            max_width=34 if number == 0 else None,
        )
    return table


def _name(name: str) -> str:
    """The end of a long name says more than its start."""
    return escape(name if len(name) <= 32 else "…" + name[-31:])


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


def _ranks(ranks: Mapping[str, Sequence[Sequence[int]]], full: Mapping[str, Sequence[int]]) -> str:
    parts = [
        f"{scheme} {' / '.join(_by(r) for r in needed)} of {_by(full[scheme])}"
        for scheme, needed in ranks.items()
        if full[scheme]
    ]
    parts += [f"{scheme}: exact" for scheme in ranks if not full[scheme]]
    return "\n".join(parts)


def _first(reasons: Mapping[str, str]) -> str:
    return next(iter(reasons.values()), "")


def _by(numbers: Sequence[int]) -> str:
    return "×".join(map(str, numbers))


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
        if number >= factor:
            return (
                f"{number / factor:.3g} {unit}"
                if number < 999.5 * factor
                else f"{number / factor:.0f} {unit}"
            )
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
