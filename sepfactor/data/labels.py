"""Labels in text tables: read, and matched to images by their names."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sepfactor.data.feeds import Source
from sepfactor.data.images import SUFFIXES
from sepfactor.errors import DataError

_DIGITS = 19
"""Whole numbers of fewer digits fit 64 bits."""


def read_label_table(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Labels from a text table, and the column of image file names if it has one (else empty).

    The labels are the column headed ``label`` or ``labels``, or else the last one of whole numbers.

    Raises:
        DataError: the file cannot be read or has no such column.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
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
    table = list(zip(*(row for _, row in rows), strict=True))
    named = [n for n, cell in enumerate(head) if cell.lower() in ("label", "labels")]
    whole = [n for n, column in enumerate(table) if all(map(_is_whole, column))]
    chosen = (named or whole or [len(table) - 1])[-1]
    for line, row in rows:
        if not _is_whole(row[chosen]):
            raise DataError(
                f"{path}: line {line} has {row[chosen][:40]!r} where a label is expected, which is not "
                "a whole number: give class numbers."
            )
    names = next((c for c in table if all(Path(x).suffix.lower() in SUFFIXES for x in c)), ())
    return names, np.array([int(cell) for cell in table[chosen]], np.int64)


def _is_whole(cell: str) -> bool:
    return cell.removeprefix("-").isdecimal() and len(cell) < _DIGITS


def match_labels(names: Sequence[str], values: np.ndarray, source: Source, where: str) -> np.ndarray:
    """The label of each image of a source, found by path, or by file name where that is unique.

    Raises:
        DataError: an image has no row, or rows that disagree.
    """
    paths = [name.replace("\\", "/").removeprefix("./") for name in names]
    table: dict[str, int] = {}
    for path, value in zip(paths, values.tolist(), strict=True):
        if table.setdefault(path, value) != value:
            raise DataError(f"{where}: {path!r} has the labels {table[path]} and {value}: keep one row.")
    rows = Counter(Path(path).name for path in table)
    by_name = {Path(p).name: v for p, v in table.items() if rows[Path(p).name] == 1}
    pictures = Counter(Path(name).name for name in source.names)
    folder = Path(source.origin).resolve().name
    labels = []
    for image in source.names:
        base = Path(image).name
        found = table.get(image, table.get(f"{folder}/{image}"))
        if found is None and pictures[base] == 1:
            found = by_name.get(base)
        if found is None:
            raise DataError(
                f"{where}: there is no row for the image {image!r} of {source.origin}: add one, "
                "with its path in that folder."
            )
        labels.append(found)
    return np.array(labels, np.int64)
