"""What sepfactor raises: one base class and a few children, each with its exit code."""

from __future__ import annotations


class SepfactorError(Exception):
    """Base of everything sepfactor raises on purpose.

    A message says what went wrong, where, why, and how to mend it, in one or two sentences a
    person can act on.
    """

    exit_code = 1


class ModelError(SepfactorError):
    """The model cannot be read, checked or run."""


class DataError(SepfactorError):
    """Data (inputs, labels, images) cannot be read or does not fit the model."""


class OptionError(SepfactorError):
    """An option, or a combination of options, makes no sense."""

    exit_code = 2


class OutputError(SepfactorError):
    """A result cannot be written where it was asked for."""


class NothingToReplace(SepfactorError):
    """The model holds no convolution that is worth replacing."""

    exit_code = 4
