"""Options under headings, in ``--help`` and in the manual."""

from __future__ import annotations

from collections.abc import Mapping

import click

HEADINGS: Mapping[str, tuple[str, ...]] = {
    "Budgets": (
        "max_drop",
        "max_estimated_drop",
        "min_snr",
        "min_psnr",
        "speedup",
        "latency_ms",
        "max_macs",
        "max_params",
        "metric",
    ),
    "Rules instead of a budget": (
        "scheme",
        "rank",
        "max_error",
        "ignore",
        "linear_layers",
        "dequantize",
        "layers",
        "keep",
    ),
    "Eight bits": ("int8", "reduce_range"),
    "Exact rewriting": ("tidy",),
    "Data": (
        "data",
        "eval_data",
        "labels",
        "targets",
        "task",
        "held_out",
        "input_shape",
        "sample_rate",
        "limit",
        "seed",
    ),
    "How images become inputs": (
        *("color", "scale", "mean", "std", "layout"),
        *("resize", "letterbox", "border"),
    ),
    "Fitting": ("refit", "tune", "memory"),
    "Running and timing": ("engine", "threads", "provider", "bench_seconds", "profile", "cache"),
    "What is built and written": ("plan", "force", "overwrite", "pictures"),
}
"""Heading → options, in this order. Every option is under one of them."""

_OWN = "Output"
"""Where a command's own flags are: files it writes, and how much it says."""


class UnderHeadings(click.Command):
    """A command whose help lists its options by what they are for."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write them, heading by heading."""
        where = {name: title for title, names in HEADINGS.items() for name in names}
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in (*HEADINGS, _OWN)}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and not isinstance(param, click.Argument):
                sections[where.get(param.name or "", _OWN)].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
