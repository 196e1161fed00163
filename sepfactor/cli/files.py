"""The files that a command reads and writes, and the options that hold for it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from sepfactor import __version__
from sepfactor.errors import OptionError
from sepfactor.options import Options, make_options
from sepfactor.outputs import check_outputs, write_text

SAVE_CONFIG = click.option(
    "--save-config",
    "save_config_to",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the options that differ from their defaults, for --config to read.",
)


def options_for(function: str, said: Mapping[str, Any], config: Path | None, overwrite: bool) -> Options:
    """The options that hold for a function which writes nothing itself, and for its command, which does."""
    given = {**said, "overwrite": True if overwrite else None}
    return make_options(given, config, function=function, also=("overwrite",))


def save_config(file: Path | None, options: Options) -> None:
    """Write the options that differ from their defaults as TOML, but for what is said of one run alone.

    Raises:
        OutputError: it cannot be written.
    """
    if file is not None:
        head = f"# Options of sepfactor {__version__} that differ from their defaults, for --config.\n\n"
        write_text(file, head + options.model_copy(update={"overwrite": False}).to_toml())


def check_files(
    outputs: Iterable[tuple[str, Path | str | None]],
    options: Options,
    models: Iterable[Path],
    others: Iterable[Path | None] = (),
) -> None:
    """Fail before the work where an output, by the flag that names it, could not be written.

    Args:
        outputs: flags and the files they name, None where they are not given; ``-`` is stdout, which can
            take one of them.
        options: that hold for the command.
        models: that are read.
        others: further files that are read, such as the config.

    Raises:
        OptionError: it would replace what is read, or another output.
        OutputError: it exists, or cannot be written.
    """
    from sepfactor.reads import files_read  # knows networks, and is slow to import

    models = list(models)
    if not all(map(os.path.lexists, models)):
        return  # who loads them says so, and an output may only be named after one

    named = [(flag, Path(file)) for flag, file in outputs if file is not None]
    to_stdout = [flag for flag, file in named if is_stdout(flag, file)]
    if len(to_stdout) > 1:
        raise OptionError(f"{to_stdout[0]} and {to_stdout[1]} cannot both go to stdout. Name a file for one.")
    files = [(flag, file) for flag, file in named if flag not in to_stdout]
    check_outputs(files, files_read(options, models, others), overwrite=options.overwrite)


def is_stdout(flag: str, file: Path) -> bool:
    """Whether a result goes to stdout: of those that text can go to, where it is named ``-``."""
    return str(file) == "-" and flag not in ("-o", "--save-plan", "--save-config")
