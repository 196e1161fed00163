"""Arrays in files and in memory: samples along the leading axis, cut into runs.

Files are read by header first, and their contents when a run is made. Nothing pickled is ever loaded.
"""

from __future__ import annotations

import bisect
import itertools
import lzma
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from sepfactor.data.archives import PackedRows
from sepfactor.data.feeds import Feed, Source
from sepfactor.data.inputs import (
    LABELS,
    TARGETS,
    InputSpec,
    as_array,
    brief,
    check_header,
    check_numbers,
    columns,
    conform,
    said_of_names,
)
from sepfactor.errors import DataError

Header = tuple[tuple[int, ...], np.dtype[Any]]

_WHOLE = 2**26
"""Bytes up to which an array of a ``.npz`` is unpacked at once."""

_MOST_NUMBERS = 2**28
"""In what is fed to one input in one run."""

_MOST_SAMPLES = 2**24
"""Of one array: each is counted in memory."""

KINDS = "a .npz or .npy file, a folder of them, of images or of .wav files, or file.py:function"

_READ_ERRORS = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError),
    *(SyntaxError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What numpy and zipfile raise over damaged files."""


@dataclass(frozen=True, eq=False)
class Table:
    """Named arrays whose leading axes run over the same samples.

    Attributes:
        where: the file, for messages.
        headers: shape and type of each array.
        load: name → the array itself.
    """

    where: str
    headers: Mapping[str, Header]
    load: Callable[[str], np.ndarray | PackedRows]

    def runs(self, specs: Sequence[InputSpec], names: Mapping[str, str]) -> int:
        """How many runs the arrays are good for, after checking that they fit."""
        counts: dict[str, int] = {}
        for spec in specs:
            name = names[spec.name]
            shape, dtype = self.headers[name]
            if not shape and not spec.shape:  # a single number, the same in all runs
                continue
            first = "samples" if spec.batch == 1 else f"{spec.batch} × samples"
            rows = None if spec.shape is None else (first, *spec.shape[1:])
            check_header(shape, dtype, replace(spec, shape=rows), self.where, name)
            counts[name] = (shape[0] if shape else 0) // spec.batch
            if self.samples(name) > _MOST_SAMPLES:
                raise DataError(
                    f"{self.where}: the array {name!r} holds {self.samples(name):,} samples, more than "
                    f"{_MOST_SAMPLES:,}: give a part of them."
                )
            if (numbers := spec.batch * math.prod(shape[1:])) > _MOST_NUMBERS:
                raise DataError(
                    f"{self.where}: the array {name!r} would feed {numbers:,} numbers in one run, more than "
                    f"{_MOST_NUMBERS:,}: give smaller samples."
                )
        if len(set(counts.values())) > 1:
            lengths = ", ".join(f"{name!r} {count}" for name, count in counts.items())
            raise DataError(
                f"{self.where}: the arrays differ in length (runs they make: {lengths}): give each "
                "input as many samples."
            )
        runs = min(counts.values(), default=1)
        if not runs:
            first = names[specs[0].name]
            raise DataError(
                f"{self.where}: the array {first!r} holds {self.samples(first)} samples, too few "
                f"for one run of {specs[0].batch}: add samples."
            )
        return runs

    def samples(self, name: str) -> int:
        """Length of an array."""
        shape = self.headers[name][0]
        return shape[0] if shape else 0


def open_tables(tables: Sequence[Table], specs: Sequence[InputSpec], origin: str) -> Source:
    """Runs of one table after the other; a table's rows that fill no run are left out."""
    names = [columns(table.headers, specs, table.where) for table in tables]
    runs = [table.runs(specs, n) for table, n in zip(tables, names, strict=True)]
    lead = max(specs, key=lambda spec: bool(tables[0].headers[names[0][spec.name]][0]))  # no single number
    lengths = [table.samples(n[lead.name]) for table, n in zip(tables, names, strict=True)]
    labels, targets = (
        _beside(tables, [n for n in known if n not in {s.name for s in specs}], lengths)
        for known in (LABELS, TARGETS)
    )
    for table, name in zip(tables, targets, strict=False):
        check_target(*table.headers[name], f"{table.where}: array {name!r}")
    ends = list(itertools.accumulate(runs))
    batch = lead.batch
    starts = itertools.accumulate(lengths, initial=0)
    rows = [s + np.arange(r * batch) for s, r in zip(starts, runs, strict=False)]
    # The last few arrays are kept: splits visit a folder in any order.
    load = lru_cache(maxsize=16)(lambda number, name: tables[number].load(name))

    def place(run: int) -> tuple[int, int]:
        number = bisect.bisect_right(ends, run)
        return number, run - (ends[number] - runs[number])

    def make(run: int) -> Feed:
        number, local = place(run)
        where = f"{tables[number].where}, run {local}"
        made = {}
        for spec in specs:
            array = load(number, names[number][spec.name])
            with _reading(tables[number].where):
                rows = _rows(array, local, spec)
            made[spec.name] = conform(rows, spec, where)
        return made

    def target(run: int) -> np.ndarray:
        number, local = place(run)
        array = load(number, targets[number])
        with _reading(tables[number].where):
            return np.asarray(array[local] if batch == 1 else array[local * batch : (local + 1) * batch])

    return Source(
        make,
        np.concatenate(rows).reshape(-1, batch),
        sum(lengths),
        origin,
        probe=make,
        labels=_labels(tables, labels) if labels else None,
        target=target if targets else None,
        notes=said_of_names(tables[0].headers, names[0], tables[0].where),
    )


def _rows(array: np.ndarray | PackedRows, run: int, spec: InputSpec) -> np.ndarray:
    if not array.ndim:
        return np.asarray(array)
    if spec.shape == ():
        return np.asarray(array[run])
    return array[run * spec.batch : (run + 1) * spec.batch]


def _beside(tables: Sequence[Table], known: Sequence[str], lengths: Sequence[int]) -> list[str]:
    """For each table, which of the ``known`` arrays it holds; empty if none of them holds any."""
    found = [next((name for name in known if name in table.headers), "") for table in tables]
    if not any(found):
        return []
    for table, name, length in zip(tables, found, lengths, strict=True):
        if not name:
            other = next(number for number, held in enumerate(found) if held)
            raise DataError(
                f"{table.where}: there is no array {found[other]!r}, though {tables[other].where} has "
                f"one: add it, or give all {known[-1]} apart."
            )
        shape = table.headers[name][0]
        if shape[:1] != (length,):
            raise DataError(
                f"{table.where}: array {name!r} has the shape {shape}, but there are {length} samples: "
                f"give {known[-1]} for each sample."
            )
    return found


def _labels(tables: Sequence[Table], names: Sequence[str]) -> np.ndarray:
    labels = [
        as_array(np.asarray(table.load(name)), f"{table.where}: array {name!r}")
        for table, name in zip(tables, names, strict=True)
    ]
    return joined(labels, np.concatenate, tables[0].where)


def joined(
    parts: Sequence[np.ndarray], join: Callable[[Sequence[np.ndarray]], np.ndarray], where: str
) -> np.ndarray:
    """Labels put together by ``join``.

    Raises:
        DataError: their shapes differ.
    """
    try:
        return join(parts)
    except ValueError as error:
        raise DataError(f"{where}: labels differ in shape ({error}): make them alike.") from None


def check_target(shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> None:
    """Raise DataError for what cannot be targets of a dense output: no numbers, or class numbers."""
    check_numbers(dtype, what)
    if dtype.kind in "iub" and (len(shape) < 2 or shape[1:] == (1,)):
        raise DataError(
            f"{what} holds one whole number per sample, as true classes are: call them labels. "
            "Targets are what dense outputs should be."
        )


def read_table(path: Path, kinds: str = KINDS) -> Table:
    """The arrays of a ``.npz`` or ``.npy`` file, of which only the headers are read at once.

    Raises:
        DataError: the file is of another type (``kinds`` says what to give) or cannot be read.
    """
    where, suffix = str(path), path.suffix.lower()
    if suffix not in (".npz", ".npy"):
        raise DataError(f"{where}: files of type {suffix or 'unknown'} cannot be read: give {kinds}.")
    try:
        if suffix == ".npz":
            headers = _npz_headers(path)
        else:
            with path.open("rb") as stream:
                headers = {path.stem: _header(stream, path.stat().st_size)}
    except _READ_ERRORS as error:
        raise _unreadable(where, error) from error
    return Table(where, headers, lambda name: _load(path, name))


def _npz_headers(path: Path) -> dict[str, Header]:
    with zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.endswith(".npy")]
        headers = {}
        for member in members:
            with archive.open(member) as stream:
                headers[member.removesuffix(".npy")] = _header(stream, archive.getinfo(member).file_size)
        return headers


def _header(stream: IO[bytes], size: int) -> Header:
    """Shape and type, after a look at whether the file, of ``size`` bytes, can hold such an array.

    numpy takes the memory before it reads, so a header of a few bytes could ask for any amount.
    """
    shape, dtype, _ = _parsed(stream)
    if min(shape, default=0) < 0 or (not dtype.hasobject and math.prod(shape) * dtype.itemsize > size):
        raise ValueError(f"an array of shape {shape} does not fit its {size:,} bytes")
    return shape, dtype


def _parsed(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Shape, type, and whether it is stored column by column, off the beginning of a stream."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's of files that Python 2 wrote, which need more parsing
        is_first = np.lib.format.read_magic(stream) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
        shape, by_column, dtype = read(stream)
    return shape, dtype, by_column


def _packed(path: Path, name: str) -> PackedRows | None:
    """An array of a ``.npz`` that is not unpacked as a whole, if it is large."""
    member = f"{name}.npy"
    with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
        size = archive.getinfo(member).file_size
        if size <= _WHOLE:
            return None
        shape, dtype, by_column = _parsed(stream)
    if by_column or dtype.hasobject or not shape:
        return None
    return PackedRows(path, member, shape, dtype, _parsed)


def _load(path: Path, name: str) -> np.ndarray | PackedRows:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in _header
            if path.suffix.lower() == ".npy":
                return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
            if (packed := _packed(path, name)) is not None:
                return packed
            with np.load(path, allow_pickle=False) as archive:
                return np.asarray(archive[name])
    except _READ_ERRORS as error:
        raise _unreadable(str(path), error) from error


@contextmanager
def _reading(where: str) -> Iterator[None]:
    """Damage that shows only where rows are unpacked, as a DataError."""
    try:
        yield
    except _READ_ERRORS as error:
        raise _unreadable(where, error) from error


def _unreadable(where: str, error: Exception) -> DataError:
    return DataError(
        f"{where}: the file cannot be read ({brief(error)}): write it again with numpy.save or numpy.savez, "
        "without pickled objects."
    )
