"""Flags of the commands that choose or build: budgets, rules for layers, and how factors are fitted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from sepfactor import __version__
from sepfactor.cli.common import check_json, write
from sepfactor.cli.flags import decorated, flags
from sepfactor.options import Options

CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Options as TOML, with [layers.GLOB] tables. Flags go before it.",
)
SAVE_CONFIG = click.option(
    "--save-config",
    "save_config_to",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the options that differ from their defaults, for --config to read.",
)

choosing_options = decorated(
    [
        flags("max_drop", "max_estimated_drop", "min_snr", "min_psnr"),
        flags("speedup", "latency_ms", "max_macs", "max_params"),
        flags("metric", "profile", "scheme", "rank", "max_error", "ignore", "linear_layers", "dequantize"),
        CONFIG,
        flags("cache"),
    ]
)
"""Flags that say what to choose."""

fitting_options = flags("held_out", "refit", "memory", "eval_data", "labels", "targets")
"""Flags that say how factors are fitted and judged."""


def files_read(options: Options) -> tuple[Any, ...]:
    """Paths that are read as options say, and so may not be written to."""
    sources = (
        *(options.data, options.eval_data, options.labels, options.targets),
        *(options.plan, options.profile),
    )
    return tuple(source for source in sources if isinstance(source, str | Path))


def save_config(file: Path | None, options: Options) -> None:
    """Write the options that differ from their defaults as TOML.

    Raises:
        OutputError: it cannot be written.
    """
    if file is not None:
        head = f"# Options of sepfactor {__version__} that differ from their defaults, for --config.\n\n"
        write(file, head + options.to_toml())


def check_files(files: Mapping[str, Path | str | None], read: tuple[Any, ...], overwrite: bool) -> None:
    """Fail early where one of ``files``, by the flag that names it, could not be written.

    Raises:
        OptionError: it would replace what is read, or another of them.
        OutputError: it exists, or cannot be written.
    """
    for option, file in files.items():
        others = [other for name, other in files.items() if name != option]
        if file is not None:
            check_json(str(file), (*read, *others), overwrite, option)
