"""What is known to be right: labels of class scores, and targets of dense outputs, run by run."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from sepfactor.data.arrays import check_target, read_table
from sepfactor.data.feeds import Indices, Source, Target
from sepfactor.data.inputs import LABELS, TARGETS, as_array, check_numbers, listing
from sepfactor.data.labels import read_label_table
from sepfactor.errors import DataError, OptionError

Noted = tuple[np.ndarray | None, tuple[str, ...]]
"""Labels, and what is to be said of them."""


def labels_of(source: Source, given: object, *, by_name: bool = False) -> Noted:
    """int64 ``(runs, ...)`` or ``(runs, batch, ...)``: labels given, else those that came with the data.

    With sentences on how they were matched to the samples.

    Args:
        source: the data.
        given: labels, or where they are.
        by_name: whether ``given`` was meant for other data: then it counts only if it names these images.

    Raises:
        DataError: they cannot be read, are not whole numbers, or not one per sample.
        OptionError: labels are given without data.
    """
    if by_name and not _names_all(given, source):
        given = None
    if given is None:
        if source.labels is None:
            return None, ()
        return _aligned(source.labels, source, f"{source.origin}: array 'labels'"), ()
    refuse_synthetic(source, "Labels")
    if not isinstance(given, str | os.PathLike):
        return _aligned(as_array(cast(ArrayLike, given), "the labels"), source, "the labels"), ()
    path = Path(given)
    if path.suffix.lower() in (".csv", ".txt") and path.is_file():
        values, said = read_label_table(path).of_samples(source)
        return _aligned(values, source, str(path)), (said,)
    return _aligned(
        _read(path, LABELS, "a .npy, .npz or .csv file, or boxes as a .json file or a folder"),
        source,
        str(path),
    ), ()


def _names_all(given: object, source: Source) -> bool:
    """Whether this is a table that has a label for each image, by its name."""
    if not isinstance(given, str | os.PathLike) or not source.names:
        return False
    path = Path(given)
    if path.suffix.lower() not in (".csv", ".txt") or not path.is_file():
        return False
    with suppress(DataError):  # said of the data it was meant for
        return read_label_table(path).names_all(source)
    return False


def targets_of(source: Source, given: object) -> Target | None:
    """Number of a run → its target: those given, else those that came with the data.

    Raises:
        DataError: they cannot be read, are no numbers, are class numbers, or not one per sample.
        OptionError: targets are given without data.
    """
    if given is None:
        return source.target
    refuse_synthetic(source, "Targets")
    if isinstance(given, str | os.PathLike):
        where = os.fspath(given)
        targets = _read(Path(where), TARGETS, "a .npy or .npz file")
    else:
        where = "the array of targets"
        targets = as_array(cast(ArrayLike, given), where)
    check_target(targets.shape, targets.dtype, where)
    entries = entries_of_runs(targets, source, where, "target")
    return lambda run: np.asarray(targets[entries[run]])


def refuse_synthetic(source: Source, what: str) -> None:
    """Raise OptionError where what is known of samples is given for made-up ones."""
    if source.synthetic:
        raise OptionError(f"{what} are given without data, and made-up inputs have none: name the data.")


def _read(path: Path, known: tuple[str, ...], kinds: str) -> np.ndarray:
    """The array called one of ``known`` in a file, or its only one."""
    what = known[-1]
    if not path.is_file():
        raise DataError(f"There is no file {str(path)!r} with {what}: give {kinds}.")
    table = read_table(path, kinds)
    name = next((n for n in known if n in table.headers), "")
    if not name and len(table.headers) != 1:
        raise DataError(
            f"{path}: the file holds the arrays {listing(table.headers)}, and which are the {what} "
            f"is unclear: name one of them {what!r}."
        )
    name = name or next(iter(table.headers))
    check_numbers(table.headers[name][1], f"{path}: array {name!r}")
    return np.asarray(table.load(name))


def _aligned(values: np.ndarray, source: Source, where: str) -> np.ndarray:
    """Labels ``(samples, ...)`` or ``(runs, ...)`` → int64, one entry per run.

    Raises:
        DataError: they are not whole numbers, or not as many as there are samples.
    """
    whole = values.astype(np.int64) if values.dtype.kind in "biu" else np.rint(values)
    if not (np.array_equal(whole, values) and (np.abs(whole) < 2.0**63).all()):  # NaN and infinite are not
        raise DataError(
            f"{where}: labels must be whole numbers, but these are {values.dtype} with fractions "
            "or NaN: give class numbers (an array of another name than 'labels' is ignored)."
        )
    if whole.shape[1:] == (1,):
        whole = whole[:, 0]
    return np.asarray(whole.astype(np.int64)[entries_of_runs(whole, source, where, "label")])


def entries_of_runs(values: np.ndarray, source: Source, where: str, what: str) -> Indices:
    """Which entries of ``values``, one per sample or one per run, belong to each run.

    Raises:
        DataError: there are more, or fewer.
    """
    runs, batch = source.rows.shape
    count = len(values) if values.ndim else 0
    if count == source.samples or (source.partial and count > source.samples):
        return source.rows[:, 0] if batch == 1 else source.rows
    if count == runs or (source.partial and count > runs):
        return np.arange(runs)
    raise DataError(
        f"{where}: there are {count} {what}s, but {source.origin} has {source.samples} samples: "
        f"give one {what} per sample, in the order of the samples."
    )
