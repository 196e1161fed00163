"""Config files: TOML, as it is read and written."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from sepfactor.errors import OptionError
from sepfactor.files import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_OF_A_PROJECT = "pyproject.toml"
"""A file of this name is shared with other tools, and each has a table of its own in it."""


def read_toml(path: Path) -> dict[str, Any]:
    """What a config file says; of a ``pyproject.toml``, the table ``[tool.sepfactor]``.

    Raises:
        OptionError: it cannot be read, is no TOML, or has no such table.
    """
    said = _read(path)
    if path.name != _OF_A_PROJECT:
        return said
    tools = said.get("tool")
    own = tools.get("sepfactor") if isinstance(tools, dict) else None
    if not isinstance(own, dict):
        raise OptionError(
            f"{path} has no table [tool.sepfactor], where options of sepfactor belong. Add one."
        )
    return own


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except FileNotFoundError:
        raise OptionError(f"There is no config file {path}. Check the path given to --config.") from None
    except OSError as error:
        raise OptionError(f"The config file {path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:  # what tomllib and decoding raise, and int of 5000 digits
        raise OptionError(f"The config file {path} is not valid TOML: {error}.") from None


def as_toml(values: Mapping[str, Any]) -> str:
    """``values`` as TOML; paths become strings, and empty tables are left out.

    Raises:
        OptionError: one is an object of the program, which no file can hold.
    """
    held = {name: _plain(name, value) for name, value in values.items()}
    return tomli_w.dumps({name: value for name, value in held.items() if value != {}})


def _plain(name: str, value: Any) -> Any:
    match value:
        case str() | bool() | int() | float():
            return value
        case os.PathLike():
            return os.fspath(value)
        case list() | tuple():
            return [_plain(name, part) for part in value]
        case Mapping():
            return {key: _plain(f"{name}.{key}", part) for key, part in value.items()}
    raise OptionError(
        f"Option {name} is an object of type {type(value).__name__}, which a config file cannot hold. Give a "
        "path, or file.py:function."
    )
