"""Labels in text tables: which column holds them, and which row belongs to which image."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from sepfactor.data import images, wave_files
from sepfactor.data.feeds import Source
from sepfactor.data.inputs import listing
from sepfactor.errors import DataError
from sepfactor.files import read_text

_SUFFIXES = images.SUFFIXES | {wave_files.SUFFIX}
"""Of files that a table may name."""

_DIGITS = 19
"""Whole numbers of fewer digits fit 64 bits."""

_LABEL_HEADS = (
    {"label", "labels"},
    {"labelid", "labelidx", "labelindex", "classid", "classidx", "classindex", "categoryid", "targetid"},
    {"class", "category", "target", "truelabel", "groundtruth", "gt", "truth", "y"},
)
"""What columns of labels are called, written without marks and capitals; the first that are there count."""

_NAME_HEADS = {
    *("image", "imageid", "imagename", "imagepath", "imagefile", "img", "imgid", "imgname", "imgpath"),
    *("file", "fileid", "filename", "filepath", "path", "name", "id", "sample", "sampleid", "uid", "uuid"),
}
"""What columns are called that say which sample a row is of."""


@dataclass(frozen=True)
class LabelTable:
    """A table of text, one row a sample.

    Attributes:
        where: the file, for messages.
        head: names of the columns; empty where the file has none.
        columns: cells, column by column.
        lines: of each row, in the file.
    """

    where: str
    head: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def of_samples(self, source: Source) -> tuple[np.ndarray, str]:
        """``(samples,)`` int64, by name where the table names the images, else row by row; and what was done.

        Raises:
            DataError: it is unclear which column holds the labels, they are no whole numbers, a column
                names samples but not these, or rows of one image disagree.
        """
        names = self._names(source)
        column = self._label_column(names)
        values = self._whole(column)
        which = f"the column {self._called(column)} of {self.where}"
        if names is None or not source.names:
            return values, f"Labels are {which}, row by row in the order of the samples."
        return _matched(
            self.columns[names], values, source, self.where
        ), f"Labels are {which}, matched by name."

    def names_all(self, source: Source) -> bool:
        """Whether it has a row for each image of a source, by name."""
        names = self._names(source)
        return names is not None and bool(source.names) and finder(self.columns[names], source).finds_all

    def _names(self, source: Source) -> int | None:
        """The column that names the samples, if one does."""
        if len(self.columns) == 1:
            return None
        columns = [
            n for n in range(len(self.columns)) if not any(self._head_is_in(n, h) for h in _LABEL_HEADS)
        ]
        for number in columns:
            if source.names and finder(self.columns[number], source).finds_all:
                return number
        return next(filter(self._looks_like_names, columns), None)

    def _looks_like_names(self, number: int) -> bool:
        cells = self.columns[number]
        if all(Path(cell).suffix.lower() in _SUFFIXES for cell in cells):
            return True
        if not self._head_is_in(number, _NAME_HEADS):
            return False
        return not _counts_rows(cells)

    def _label_column(self, names: int | None) -> int:
        others = [number for number in range(len(self.columns)) if number != names]
        for heads in _LABEL_HEADS:
            found = [number for number in others if self._head_is_in(number, heads)]
            whole = [number for number in found if all(map(_is_whole, self.columns[number]))] or found
            if whole:
                return self._only(whole)
        whole = [number for number in others if all(map(_is_whole, self.columns[number]))]
        if len(whole) > 1:  # one of them may count the rows
            whole = [number for number in whole if not _counts_rows(self.columns[number])] or whole[-1:]
        return self._only(whole) if whole else len(self.columns) - 1

    def _only(self, columns: Sequence[int]) -> int:
        if len(columns) > 1:
            called = " and ".join(self._called(number) for number in columns)
            raise DataError(
                f"{self.where}: the columns {called} may all be labels: call the right one 'label', or leave "
                "the others out."
            )
        return columns[0]

    def _whole(self, column: int) -> np.ndarray:
        cells = self.columns[column]
        for line, cell in zip(self.lines, cells, strict=True):
            if not _is_whole(cell):
                raise DataError(
                    f"{self.where}: line {line} has {cell[:40]!r} where a label is expected, which is not "
                    "a whole number: give class numbers."
                )
        return np.array([int(cell) for cell in cells], np.int64)

    def _called(self, column: int) -> str:
        return repr(self.head[column][:40]) if self.head else str(column + 1)

    def _head_is_in(self, column: int, heads: set[str]) -> bool:
        return bool(self.head) and "".join(filter(str.isalnum, self.head[column].lower())) in heads


def read_label_table(path: Path) -> LabelTable:
    """A table of labels, with a head or without one, of whatever mark between its columns.

    Raises:
        DataError: the file cannot be read, is empty, or its rows are not alike.
    """
    try:
        lines = read_text(path, "utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the labels cannot be read ({error}): save UTF-8 text.") from error
    mark = next((mark for mark in ",;\t " if any(mark in line for line in lines[:1])), ",")
    reader = csv.reader(lines, delimiter=mark, skipinitialspace=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num} is no row of a table ({error}): mend it.") from None
    head = rows.pop(0)[1] if rows and not any(map(_is_whole, rows[0][1])) else []
    if not rows:
        raise DataError(f"{path}: the file holds no labels: write one whole number a line.")
    for line, row in rows:
        if len(row) != len(head or rows[0][1]):
            raise DataError(
                f"{path}: line {line} has {len(row)} columns, but the first line "
                f"{len(head or rows[0][1])}: give every line as many."
            )
    columns = tuple(zip(*(row for _, row in rows), strict=True))
    return LabelTable(str(path), tuple(head), columns, tuple(line for line, _ in rows))


def _is_whole(cell: str) -> bool:
    return cell.removeprefix("-").isdecimal() and len(cell) < _DIGITS


def _counts_rows(cells: Sequence[str]) -> bool:
    """Whether a column only says which row a row is."""
    if not all(map(_is_whole, cells)):
        return False
    numbers = [int(cell) for cell in cells]
    return numbers[0] in (0, 1) and numbers == [*range(numbers[0], numbers[0] + len(numbers))]


@dataclass(frozen=True)
class Finder:
    """Which name in a table stands for an image: its path, else its file name, else that without suffix."""

    known: frozenset[str]
    by_name: dict[str, str]
    by_stem: dict[str, str]
    source: Source

    def find(self, image: str) -> str | None:
        """The name in the table for an image of the source."""
        folder = Path(self.source.origin).resolve().name
        bare = str(Path(image).with_suffix(""))
        paths: list[str] = [image, bare] if self.by_stem else [image]
        for path in paths:
            for name in (path, f"{folder}/{path}"):
                if name in self.known:
                    return name
        file, stem = Path(image).name, Path(image).stem
        if self._files[file] == 1 and file in self.by_name:
            return self.by_name[file]
        return self.by_stem.get(stem) if self._stems[stem] == 1 else None

    @cached_property
    def finds_all(self) -> bool:
        """Whether each image of the source has one."""
        return all(self.find(image) is not None for image in self.source.names)

    @cached_property
    def _files(self) -> Counter[str]:
        return Counter(Path(name).name for name in {*self.source.names})

    @cached_property
    def _stems(self) -> Counter[str]:
        return Counter(Path(name).stem for name in {*self.source.names})


def finder(cells: Sequence[str], source: Source) -> Finder:
    """Among the names that a table has."""
    known = frozenset(map(_path, cells))
    files = Counter(Path(path).name for path in known)
    by_name = {Path(path).name: path for path in known if files[Path(path).name] == 1}
    has_suffixes = any(Path(path).suffix.lower() in _SUFFIXES for path in known)
    return Finder(known, by_name, {} if has_suffixes else by_name, source)


def _path(cell: str) -> str:
    return cell.replace("\\", "/").removeprefix("./")


def _matched(cells: Sequence[str], values: np.ndarray, source: Source, where: str) -> np.ndarray:
    """The label of each image of a source.

    Raises:
        DataError: an image has no row, or rows that disagree.
    """
    table: dict[str, int] = {}
    for path, value in zip(map(_path, cells), values.tolist(), strict=True):
        if table.setdefault(path, value) != value:
            raise DataError(f"{where}: {path!r} has the labels {table[path]} and {value}: keep one row.")
    names = finder(cells, source)
    labels = []
    for image in source.names:
        name = names.find(image)
        if name is None:
            raise DataError(
                f"{where}: there is no row for {image!r} of {source.origin}, and it names "
                f"{listing([*cells[:2]])}: add one, with its path in that folder."
            )
        labels.append(table[name])
    return np.array(labels, np.int64)
