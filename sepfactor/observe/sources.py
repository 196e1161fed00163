"""From what a user names to feeds: arrays, folders, functions, iterables, labels.

The leading axis of an array is always samples, whatever file it comes from, and is cut into runs of
the model's fixed batch, or of one. Files are read by header first, and their contents when a run is
made, so a limit also limits what is read. Nothing pickled is ever loaded.
"""

from __future__ import annotations

import bisect
import importlib
import importlib.util
import itertools
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import IO, Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike

from sepfactor.errors import DataError, ModelError, OptionError, SepfactorError
from sepfactor.observe import images, synthetic
from sepfactor.observe.feeds import (
    Feed,
    Feeds,
    InputSpec,
    Source,
    align_labels,
    as_array,
    check_header,
    check_numbers,
    columns,
    conform,
    joined,
    listing,
    resolve,
    to_array,
)
from sepfactor.observe.images import Preprocessing

T = TypeVar("T")
Header = tuple[tuple[int, ...], np.dtype[Any]]

_DEFAULT = Preprocessing()
_READ_ERRORS = (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
_KINDS = "a .npz or .npy file, a folder of them or of images, or file.py:function"


def open_feeds(
    data: object,
    inputs: Sequence[InputSpec],
    *,
    labels: object = None,
    preprocessing: Preprocessing = _DEFAULT,
    shapes: Mapping[str, tuple[int, ...]] = {},
    limit: int | None = None,
    seed: int = 0,
    samples: int = 16,
) -> Feeds:
    """Feeds for a model with these inputs.

    Args:
        data: a path to a ``.npz`` or ``.npy`` file, to a folder of them, to an image or a folder of
            images; ``file.py:function`` or ``package.module:function``; a callable; an object with
            ``get_next()``; an iterable of ``{name: array}``; a mapping name → array; ``None`` for
            synthetic inputs.
        inputs: what the model declares.
        labels: a path to ``.npy``, ``.npz``, ``.csv`` or ``.txt``, or one integer (or array of
            them) per sample. ``None``: an array ``labels`` that comes with the data, if any.
        preprocessing: how an image becomes an input.
        shapes: full shapes for inputs with open dimensions.
        limit: at most so many runs: the first of an iterator, otherwise drawn with ``seed`` and
            kept in order.
        seed: of the synthetic inputs and of the draw.
        samples: how many synthetic runs to make.

    Raises:
        DataError: data or labels cannot be read or do not fit the model or each other.
        ModelError: the model has no inputs.
        OptionError: shapes, preprocessing or counts make no sense for this model.
    """
    for name, count in (("limit", limit), ("samples", samples)):
        if count is not None and count < 1:
            raise OptionError(f"{name} is {count}; give a number above 0.")
    if seed < 0:
        raise OptionError(f"seed is {seed}; give a number from 0.")
    if not inputs:
        raise ModelError("The model has no inputs, so there is nothing to feed it: give one that has.")
    specs = resolve(inputs, shapes)
    if data is None:
        source = synthetic.open_synthetic(specs, preprocessing, min(samples, limit or samples), seed)
    elif isinstance(data, str | os.PathLike):
        source = _open_named(os.fspath(data), specs, labels, preprocessing, limit)
    else:
        source = _open_object(data, specs, f"the {type(data).__name__} given", limit)
    if preprocessing != _DEFAULT and source.preprocessing is None and not source.synthetic:
        raise OptionError(
            f"Preprocessing is given, but {source.origin} holds arrays, which are fed as they are: "
            "leave it out, or give images."
        )
    feeds = Feeds(source, _labels_of(source, labels))
    if limit is not None and limit < len(feeds):
        drawn = np.random.default_rng(seed).choice(len(feeds), limit, replace=False)
        feeds = feeds.take(np.sort(drawn))
    feeds.probe()
    return feeds


def _open_named(
    name: str,
    specs: Sequence[InputSpec],
    labels: object,
    preprocessing: Preprocessing,
    limit: int | None,
) -> Source:
    path = Path(name)
    if path.is_dir():
        return _open_folder(path, specs, labels, preprocessing)
    if path.is_file():
        if path.suffix.lower() in images.SUFFIXES:
            return images.open_images([path], [path.name], specs, preprocessing, name)
        return _open_tables([_table(path)], specs, name)
    place, colon, function = name.rpartition(":")
    if colon and function.isidentifier() and (place.endswith(".py") or _is_module(place)):
        return _open_function(place, function, specs, limit)
    raise DataError(f"There is no file or folder {name!r}: give {_KINDS}.")


def _is_module(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _open_folder(
    folder: Path, specs: Sequence[InputSpec], labels: object, preprocessing: Preprocessing
) -> Source:
    labels_file = Path(labels) if isinstance(labels, str | os.PathLike) else None
    arrays = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in (".npz", ".npy") and not path.name.startswith(".")
        if labels_file is None or not labels_file.exists() or not path.samefile(labels_file)
    ]
    pictures = images.find_images(folder)
    if arrays and pictures:
        raise DataError(
            f"{folder}: the folder holds both arrays ({arrays[0].name}) and images "
            f"({pictures[0].name}), so it is unclear which to use: move one kind elsewhere."
        )
    if pictures:
        names = [path.relative_to(folder).as_posix() for path in pictures]
        return images.open_images(pictures, names, specs, preprocessing, str(folder))
    if not arrays:
        raise DataError(
            f"{folder}: the folder holds no .npz, .npy or image files "
            f"({', '.join(sorted(images.SUFFIXES))}): name a folder that does."
        )
    return _open_tables([_table(path) for path in arrays], specs, str(folder))


# Arrays ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Table:
    """Named arrays whose leading axes run over the same samples.

    Attributes:
        where: the file, for messages.
        headers: shape and type of each array.
        load: name → the array itself.
    """

    where: str
    headers: Mapping[str, Header]
    load: Callable[[str], np.ndarray]

    def runs(self, specs: Sequence[InputSpec], names: Mapping[str, str]) -> int:
        """How many runs the arrays are good for, after checking that they fit."""
        counts: dict[str, int] = {}
        for spec in specs:
            name = names[spec.name]
            shape, dtype = self.headers[name]
            rows = None if spec.shape is None else ("samples", *spec.shape[1:])
            check_header(shape, dtype, replace(spec, shape=rows), self.where, name)
            counts[name] = (shape[0] if shape else 0) // spec.batch
        if len(set(counts.values())) > 1:
            lengths = ", ".join(f"{name!r} {count}" for name, count in counts.items())
            raise DataError(
                f"{self.where}: the arrays differ in length (runs they make: {lengths}): give each "
                "input as many samples."
            )
        runs = min(counts.values())
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


def _open_tables(tables: Sequence[_Table], specs: Sequence[InputSpec], origin: str) -> Source:
    """Runs of one table after the other; a table's rows that fill no run are left out."""
    names = [columns(table.headers, specs, table.where) for table in tables]
    runs = [table.runs(specs, n) for table, n in zip(tables, names, strict=True)]
    lengths = [table.samples(n[specs[0].name]) for table, n in zip(tables, names, strict=True)]
    ends = list(itertools.accumulate(runs))
    batch = specs[0].batch
    starts = itertools.accumulate(lengths, initial=0)
    rows = [s + np.arange(r * batch) for s, r in zip(starts, runs, strict=False)]
    # The last few arrays are kept: splits visit a folder in any order.
    load = lru_cache(maxsize=16)(lambda number, name: tables[number].load(name))

    def make(run: int) -> Feed:
        number = bisect.bisect_right(ends, run)
        local = run - (ends[number] - runs[number])
        where = f"{tables[number].where}, run {local}"
        return {
            s.name: conform(_rows(load(number, names[number][s.name]), local, s), s, where) for s in specs
        }

    return Source(
        make,
        np.concatenate(rows).reshape(-1, batch),
        sum(lengths),
        origin,
        probe=make,
        labels=_labels_inside(tables, {s.name for s in specs}, lengths),
    )


def _rows(array: np.ndarray, run: int, spec: InputSpec) -> np.ndarray:
    if spec.shape == ():
        return np.asarray(array[run])
    return array[run * spec.batch : (run + 1) * spec.batch]


def _labels_inside(tables: Sequence[_Table], inputs: set[str], lengths: Sequence[int]) -> np.ndarray | None:
    holders = [table for table in tables if "labels" in table.headers]
    if not holders or "labels" in inputs:
        return None
    if len(holders) < len(tables):
        lacking = next(table for table in tables if table not in holders)
        raise DataError(
            f"{lacking.where}: there is no array 'labels', though {holders[0].where} has one: add "
            "it, or give all labels apart."
        )
    found = []
    for table, length in zip(tables, lengths, strict=True):
        what = f"{table.where}: array 'labels'"
        values = as_array(table.load("labels"), what)
        if values.shape[:1] != (length,):
            raise DataError(
                f"{what} has the shape {values.shape}, but there are {length} samples: give one "
                "label per sample."
            )
        found.append(values)
    return joined(found, np.concatenate, str(holders[0].where))


def _table(path: Path) -> _Table:
    where, suffix = str(path), path.suffix.lower()
    if suffix not in (".npz", ".npy"):
        raise DataError(f"{where}: files of type {suffix or 'unknown'} cannot be read: give {_KINDS}.")
    try:
        if suffix == ".npz":
            headers = _npz_headers(path)
        else:
            with path.open("rb") as stream:
                headers = {path.stem: _header(stream)}
    except _READ_ERRORS as error:
        raise _unreadable(where, error) from error
    return _Table(where, headers, lambda name: _load(path, name))


def _npz_headers(path: Path) -> dict[str, Header]:
    with zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.endswith(".npy")]
        headers = {}
        for member in members:
            with archive.open(member) as stream:
                headers[member.removesuffix(".npy")] = _header(stream)
        return headers


def _header(stream: IO[bytes]) -> Header:
    if np.lib.format.read_magic(stream) == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    return shape, dtype


def _load(path: Path, name: str) -> np.ndarray:
    try:
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        with np.load(path, allow_pickle=False) as archive:
            return np.asarray(archive[name])
    except _READ_ERRORS as error:
        raise _unreadable(str(path), error) from error


def _unreadable(where: str, error: Exception) -> DataError:
    return DataError(
        f"{where}: the file cannot be read ({error}): write it again with numpy.save or numpy.savez, "
        "without pickled objects."
    )


# Functions and iterables -------------------------------------------------------------------------


def _open_function(place: str, name: str, specs: Sequence[InputSpec], limit: int | None) -> Source:
    where = f"{place}:{name}"
    with _on_path(Path(place).resolve().parent if place.endswith(".py") else Path.cwd()):
        module = _guarded(where, "cannot be imported", lambda: _module(place))
        function = getattr(module, name, None)
        if not callable(function):
            raise DataError(f"{where}: {place} defines no function {name!r}: name one that it does.")
        return _open_object(function, specs, where, limit)


def _module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place).resolve()
    spec = importlib.util.spec_from_file_location(f"_sepfactor_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no loader for {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """Let a user's file import its neighbours, as it could if it were run."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):  # their code may have removed it
            sys.path.remove(str(folder))


def _guarded(where: str, what: str, call: Callable[[], T]) -> T:
    """Run code of the user's, and say that it was theirs if it fails."""
    try:
        return call()
    except SepfactorError:
        raise
    except Exception as error:
        raise DataError(
            f"{where} {what} ({type(error).__name__}: {error}): mend it so that it yields "
            "dicts {input name: array}."
        ) from error


def _open_object(data: object, specs: Sequence[InputSpec], where: str, limit: int | None) -> Source:
    if isinstance(data, np.ndarray):
        data = {"array": data}
    if isinstance(data, Mapping):
        arrays = {str(n): to_array(v, f"{where}: array {n!r}") for n, v in data.items()}
        headers = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        return _open_tables([_Table(where, headers, arrays.__getitem__)], specs, where)
    get_next = getattr(data, "get_next", None)
    if callable(get_next) and not isinstance(data, type):
        return _collected(iter(get_next, None), specs, where, limit)
    if isinstance(data, Iterable):
        return _collected(iter(data), specs, where, limit)
    if callable(data):
        result = _guarded(where, "failed", data)
        if not callable(result) or hasattr(result, "get_next"):
            return _open_object(result, specs, where, limit)
        data = result
    raise DataError(
        f"{where}: a {type(data).__name__} gives no inputs: yield dicts {{input name: array}}, or "
        f"give {_KINDS}."
    )


def _collected(items: Iterator[object], specs: Sequence[InputSpec], where: str, limit: int | None) -> Source:
    """Runs kept in memory: an iterator can be read once only, and runs are visited many times."""
    runs: list[Feed] = []
    labels: list[np.ndarray] = []
    end = object()
    while (item := _guarded(where, "failed", lambda: next(items, end))) is not end:
        if len(runs) == limit:
            break
        what = f"{where}, item {len(runs)}"
        if not isinstance(item, Mapping):
            raise DataError(
                f"{what} is a {type(item).__name__}, but each item must be a dict "
                "{input name: array}: yield dicts."
            )
        names = columns(item, specs, what)
        runs.append({s.name: conform(item[names[s.name]], s, what) for s in specs})
        if "labels" in item and "labels" not in names:
            labels.append(as_array(item["labels"], f"{what}: 'labels'"))
    if not runs:
        raise DataError(f"{where} yields no items: yield at least one dict {{input name: array}}.")
    if labels and len(labels) < len(runs):
        raise DataError(f"{where}: only {len(labels)} of {len(runs)} items have labels: add the rest.")
    sizes = {run[s.name].shape[:1] for run in runs for s in specs[:1]}
    batch = next(iter(sizes))[0] if len(sizes) == 1 and sizes != {()} else 1
    return Source(
        lambda run: {name: array.copy() for name, array in runs[run].items()},
        np.arange(len(runs) * batch).reshape(-1, batch),
        len(runs) * batch,
        where,
        labels=_item_labels(labels, batch, where) if labels else None,
        partial=item is not end,
    )


def _item_labels(labels: Sequence[np.ndarray], batch: int, where: str) -> np.ndarray:
    """``(samples, ...)`` where the items' labels count their samples, else ``(items, ...)``."""
    stacked = joined(labels, np.stack, where)
    if batch > 1 and stacked.shape[1:2] == (batch,):
        return stacked.reshape(-1, *stacked.shape[2:])
    return stacked


# Labels ------------------------------------------------------------------------------------------


def _labels_of(source: Source, given: object) -> np.ndarray | None:
    """Labels ``(runs, ...)``: those given, else those that came with the data."""
    if given is None:
        if source.labels is None:
            return None
        return align_labels(source.labels, source, f"{source.origin}: array 'labels'")
    if source.synthetic:
        raise OptionError("Labels are given without data, and made-up inputs have none: name the data.")
    if not isinstance(given, str | os.PathLike):
        return align_labels(as_array(cast(ArrayLike, given), "the labels"), source, "the labels")
    path = Path(given)
    if not path.is_file():
        raise DataError(f"There is no file {str(path)!r} with labels: give a .npy, .npz or .csv file.")
    if path.suffix.lower() in (".csv", ".txt"):
        names, values = images.read_label_table(path)
        if names and source.names:
            values = images.match_labels(names, values, source, str(path))
        return align_labels(values, source, str(path))
    table = _table(path)
    name = "labels" if "labels" in table.headers else next(iter(table.headers), "")
    if len(table.headers) != 1 and name != "labels":
        raise DataError(
            f"{path}: the file holds the arrays {listing(table.headers)}, and which are the labels "
            "is unclear: name one of them 'labels'."
        )
    check_numbers(table.headers[name][1], f"{path}: array {name!r}")
    return align_labels(table.load(name), source, str(path))
