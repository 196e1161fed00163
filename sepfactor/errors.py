"""What sepfactor raises: one base class and a few children, each with its exit code."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class SepfactorError(Exception):
    """Base of everything sepfactor raises on purpose.

    A message says what went wrong, where, why, and how to mend it, in one or two sentences a
    person can act on.
    """

    exit_code = 1
    plan: Any = None
    """A plan that was found before it went wrong, which would be lost otherwise."""


class ModelError(SepfactorError):
    """The model cannot be read, checked or run."""


class DataError(SepfactorError):
    """Data (inputs, labels, images) cannot be read or does not fit the model."""


class OptionError(SepfactorError):
    """An option, or a combination of options, makes no sense."""

    exit_code = 2


class OutputError(SepfactorError):
    """A result cannot be written where it was asked for."""


class PlanError(SepfactorError):
    """A plan or a profile cannot be read, or does not fit the model."""


class UserCodeError(SepfactorError):
    """A function of the user's own, a metric or one that gives data, fails or gives what cannot be used."""


class NothingToReplace(SepfactorError):
    """The model holds no convolution that is worth replacing."""

    exit_code = 4


def is_text(path: str | os.PathLike[str]) -> bool:
    """Whether a name is text, as it must be for onnx and onnxruntime; POSIX has files of any bytes."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def within_means() -> Iterator[None]:
    """What a machine has not enough of, memory or room for temporary files, as a sentence."""
    try:
        folder = tempfile.gettempdir()
        if not is_text(folder):
            raise OutputError(
                f"The folder for temporary files, {folder}, has a name that is not text in UTF-8, and "
                "onnxruntime opens no file there. Set TMPDIR to another."
            )
        yield
    except MemoryError as error:
        raise ModelError(
            "Memory ran out. Feed smaller inputs (--input-shape, --resize) or fewer (--limit), or let "
            "calibration take less (--memory)."
        ) from error
    except OSError as error:
        raise OutputError(
            f"A file could not be used: {error.strerror or error}. Make room on the disk, or set TMPDIR to a "
            "folder for temporary files that can be written."
        ) from error
