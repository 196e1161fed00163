"""The report as a terminal shows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from sepfactor.report.grid import Column, Grid
from sepfactor.report.reasons import UNKNOWN, by_reason
from sepfactor.report.tidied import rewrites_table
from sepfactor.report.view import Block, Facts, Fold, Notes, View
from sepfactor.results import (
    Bench,
    Comparison,
    Layer,
    LayerInspection,
    OutputDifference,
    OutputTask,
    Report,
    Speed,
)
from sepfactor.visible import visible
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
    plural,
    saved,
    signed,
    sort_of,
)

_NAME_END = 18
"""So much of a name is shown where many stand in a row; its end says more than its beginning."""


def report_view(report: Report) -> View:
    """What was rewritten; what became of the layers, and why some stay; then what it comes to."""
    replaced = [layer for layer in report.layers if layer.replaced]
    kept = [layer for layer in report.layers if not layer.replaced]
    tables: list[Grid | Fold] = [rewrites_table(report.rewrites)] if report.rewrites else []
    if replaced:
        tables.append(_replaced(replaced))
    if kept:
        tables.append(Fold((_reasons(kept),), (_kept(kept),)))
    tasks = [tasks_facts(report.tasks)] if report.tasks else []
    return View(*tasks, *tables, Notes(report.notes), _summary(report), title=report.headline)


def tasks_facts(tasks: Sequence[OutputTask]) -> Facts:
    """What outputs were taken for, and by what."""
    return Facts(*(("Judged as", visible(task.line)) for task in tasks))


def bench_view(bench: Bench) -> View:
    """A row per model, compared with the first."""
    rows = bench.rows
    timings = [row.timing for row in rows]
    quartiles = [f"{t.low_ms:.3f}–{t.high_ms:.3f}" for t in timings]
    verdicts = ["baseline" if row.speedup is None else row.speedup.verdict.text for row in rows]
    table = Grid(
        [
            Column("Model", [visible(row.model) for row in rows]),
            *([Column("Engine", [row.engine for row in rows])] if bench.others else ()),
            Column("Median ms", [f"{t.median_ms:.3f}" for t in timings], right=True),
            Column("Quartiles", quartiles, drop=1, right=True),
            Column("Runs", [str(t.rounds) for t in timings], drop=2, right=True),
            Column("Against the first", verdicts, wraps=24),
        ]
    )
    caveats = [row.speedup.caveat for row in rows if row.speedup is not None]
    return View(
        table,
        Notes(tuple(filter(None, (bench.advice, *bench.notes)))),
        Facts(
            ("Data", bench.data.line),
            *(("Measured", where.line) for where in (bench.environment, *bench.others)),
            *(("Time", caveat) for caveat in dict.fromkeys(filter(None, caveats))),
        ),
    )


def comparison_view(comparison: Comparison) -> View:
    """What each output says, the distribution of its errors, and what the labels say."""
    outputs = comparison.accuracy.outputs
    blocks: list[Block] = [_outputs(outputs)]
    labelled = [(o, k, top) for o in outputs for k, top in ((1, o.top1), (5, o.top5)) if top]
    if labelled:
        blocks.append(
            Grid(
                [
                    Column("Accuracy", [f"top-{k}" for _, k, _ in labelled]),
                    Column("A", [percent(top.reference.value) for *_, top in labelled], right=True),
                    Column("B", [percent(top.candidate.value) for *_, top in labelled], right=True),
                    Column("Only A\nright", [str(top.lost) for *_, top in labelled], drop=2, right=True),
                    Column("Only B\nright", [str(top.gained) for *_, top in labelled], drop=2, right=True),
                    Column("Drop\npoints", [signed(100 * top.drop, 2) for *_, top in labelled], right=True),
                    Column("Which is", [top.verdict.text for *_, top in labelled], wraps=30),
                ]
            )
        )
    judged = [] if comparison.quality is None else [comparison.quality, *comparison.quality.others]
    return View(
        *blocks,
        tasks_facts(comparison.tasks),
        Notes(comparison.notes),
        Facts(
            ("A", comparison.reference),
            ("B", comparison.candidate),
            *((f"Output {o.name}", o.line(labels=False)) for o in outputs),
            *((one.kind, one.line) for one in (*judged, *comparison.accuracy.boxes)),
            *((f"Errors {o.name}", line) for o in outputs if (line := _distribution(o))),
            ("Data", comparison.data.line),
            ("Measured", comparison.environment.line),
        ),
    )


def _outputs(outputs: Sequence[OutputDifference]) -> Grid:
    def column(header: str, text: Callable[[OutputDifference], str], drop: int = 0) -> Column:
        return Column(header, [text(o) for o in outputs], drop=drop, right=True)

    return Grid(
        [
            Column("Output", [visible(o.name) for o in outputs]),
            column("Of a sample", lambda o: by(["?" if n is None else n for n in o.shape]) or "1", 4),
            column("Off by", lambda o: percent(o.relative_error) if o.is_finite else "–"),
            column("Largest\nerror", lambda o: f"{o.max_abs:.2g}" if o.is_finite else "–", 2),
            column("99 % of\nvalues within", lambda o: f"{o.errors.within_99:.2g}" if o.errors else "–", 3),
            column("SNR", lambda o: decibel(o.snr_db) if o.is_finite else "–"),
            column("Cosine", lambda o: "–" if math.isnan(o.cosine) else signed(o.cosine, 6), 1),
            column("Same\nanswer", lambda o: "–" if o.agreement is None else percent(o.agreement)),
        ]
    )


_BARS = " ▁▂▃▄▅▆▇█"


def _distribution(output: OutputDifference) -> str:
    """The histogram of errors in a line; the smallest bar is of what is there at all."""
    errors = output.errors
    if errors is None or not errors.counts:
        return ""
    most = max(errors.counts)
    bars = "".join(_BARS[min(8, -(-8 * n // most))] for n in errors.counts)
    equal = f", {percent(errors.equal / errors.total)} equal" if errors.equal else ""
    return f"{errors.edges[0]:.1g} {bars} {errors.edges[-1]:.1g}{equal}"


def _replaced(layers: Sequence[Layer]) -> Grid:
    def changed(header: str, field: str, text: Callable[[Any], str], drop: int, fewer: bool = True) -> Column:
        pairs = [(getattr(la, f"{field}_before"), getattr(la, f"{field}_after")) for la in layers]
        factors = [_fewer(before, after) for before, after in pairs]
        short = Column(f"Fewer\n{header}", factors, drop, right=True) if fewer else None
        return Column(header, [change(*pair, text) for pair in pairs], drop, right=True, short=short)

    weights = [error(layer.weight_error, layer.exact) for layer in layers]
    outputs = [error(layer.output_error, layer.exact) for layer in layers]
    alone = ["–" if layer.trial_speedup is None else f"{layer.trial_speedup:.2f}×" for layer in layers]
    return Grid(
        [
            *places("Replaced", layers),
            Column("By", [became(layer) for layer in layers]),
            changed("MACs", "macs", count, 3),
            changed("Params", "parameters", count, 6),
            changed("ms", "milliseconds", milliseconds, 0, fewer=False),
            Column("Alone", alone, drop=1, right=True),
            Column("Weights\noff", weights, drop=4, right=True),
            Column("Output\noff", outputs, right=True),
            *_fits(layers),
        ]
    )


def became(layer: Layer) -> str:
    """Scheme, rank and precision of a layer that is replaced."""
    return f"{layer.scheme} {by(layer.rank)}".strip() + (" int8" if layer.precision == "int8" else "")


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


def _reasons(layers: Sequence[Layer]) -> Grid:
    """Why layers stay, in a row per reason; those that take most of the time first."""
    groups = by_reason(layers)
    time = [sum(layer.milliseconds_before or 0.0 for layer in group) for _, group in groups]
    macs = [sum(layer.macs_before or 0 for layer in group) for _, group in groups]
    names = [", ".join(_end(visible(layer.name)) for layer in group) for _, group in groups]
    return Grid(
        [
            Column("Kept", [str(len(group)) for _, group in groups]),
            Column("ms", [milliseconds(ms) for ms in time], drop=1, right=True),
            Column("MACs", [count(number) for number in macs], drop=3, right=True),
            Column("Why", [visible(why) for why, _ in groups], cut=53),
            Column("Layers", names, drop=2, cut=10),
        ]
    )


def _end(name: str) -> str:
    return name if len(name) <= _NAME_END else f"…{name[1 - _NAME_END :]}"


def _kept(layers: Sequence[Layer]) -> Grid:
    return Grid(
        [
            *places("Kept", layers),
            Column("MACs", [count(layer.macs_before) for layer in layers], drop=3, right=True),
            Column("Params", [count(layer.parameters_before) for layer in layers], drop=6, right=True),
            Column("ms", [milliseconds(layer.milliseconds_before) for layer in layers], right=True),
            Column("Why", [visible(_why(layer)) for layer in layers], wraps=32),
        ]
    )


def _why(layer: Layer) -> str:
    reason = str(layer.reason or UNKNOWN)
    if not layer.corrected:
        return reason
    fit = f"{percent(layer.unfitted_error)} → {percent(layer.fitted_error)}"
    return f"{reason}; weights corrected, off in place by {fit}"


def places(header: str, layers: Sequence[Layer] | Sequence[LayerInspection]) -> tuple[Column, Column, Column]:
    """What layers are called and what they are: name, kernel and map."""
    return (
        Column(header, [visible(layer.name) for layer in layers]),
        Column(
            "Kernel",
            [kernel_text(layer.weight_shape, layer.group, layer.strides) for layer in layers],
            drop=2,
        ),
        Column("Map", [by(layer.map_size) for layer in layers], drop=5),
    )


def _summary(report: Report) -> Facts:
    """What it comes to: size, accuracy and speed, and what was measured with."""
    sums, sort = report.totals, sort_of(layer.weight_shape for layer in report.layers)
    facts = [
        ("Model", f"{report.model} → {report.output or 'not written'}"),
        ("Replaced", _number_replaced(report)),
        *(("Eight bits", bits.line) for bits in [report.eight_bits] if bits is not None),
        *(("Tuning", tuning.line) for tuning in [report.tuning] if tuning is not None),
        ("MACs", saved(sums.macs_before, sums.macs_after)),
        ("Parameters", saved(sums.parameters_before, sums.parameters_after, f" in {sort}")),
        ("File", f"{file_size(sums.bytes_before)} → {file_size(sums.bytes_after)}"),
    ]
    if report.accuracy is not None:
        facts += [(f"Output {o.name}", o.line()) for o in report.accuracy.outputs]
        facts += [(one.kind, one.line) for one in report.accuracy.boxes]
        facts.append(("Judged on", report.data.judged_line))
    if report.budget is not None:
        facts.append(("Budget", report.budget.verdict.text))
    if report.speed is not None:
        facts += [("Speed", report.speed.line), ("", _runs(report.speed))]
        facts += [("", caveat) for caveat in [report.speed.caveat] if caveat]
    strong = "Speed" if report.speed is not None and report.speed.verdict.code == "faster" else ""
    if report.memory is not None:
        facts.append(("Memory", report.memory.line))
    return Facts(*facts, ("Measured", report.environment.line), strong=strong)


def _number_replaced(report: Report) -> str:
    sums = report.totals
    text = f"{sums.replaced} of {sums.convolutions} {sort_of(la.weight_shape for la in report.layers)}"
    corrected = sum(layer.corrected for layer in report.layers)
    return f"{text}; weights of {corrected} more corrected" if corrected else text


def _runs(speed: Speed) -> str:
    named = (("original", speed.original), ("prepared", speed.prepared), ("result", speed.result))
    each = [
        f"{name} {milliseconds(t.median_ms)} ms ({milliseconds(t.low_ms)}–{milliseconds(t.high_ms)})"
        for name, t in named
        if t is not None
    ]
    inputs = plural(speed.original.inputs, "input")
    return f"{', '.join(each)}; median and quartiles of {speed.original.rounds} interleaved runs on {inputs}"


def _fewer(before: int | None, after: int | None) -> str:
    return f"{before / after:.3g}×" if before and after else "–"
