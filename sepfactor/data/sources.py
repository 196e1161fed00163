"""From what a user names to feeds: arrays, folders, functions, iterables.

The leading axis of an array is always samples, whatever file it comes from, and is cut into runs of
the model's fixed batch, or of one. Files are read by header first, and their contents when a run is
made, so a limit also limits what is read. Nothing pickled is ever loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from sepfactor.data import images, sounds, synthetic
from sepfactor.data.arrays import KINDS, Table, check_target, joined, open_tables, read_table
from sepfactor.data.doubts import doubts
from sepfactor.data.feeds import Feeds, Source
from sepfactor.data.folders import contents, kind_of
from sepfactor.data.ground_truth import labels_of, targets_of
from sepfactor.data.inputs import (
    LABELS,
    NOT_INPUTS,
    TARGETS,
    InputSpec,
    as_array,
    columns,
    conform,
    resolve,
    said_of_names,
    to_array,
)
from sepfactor.data.making import Kind, Making
from sepfactor.data.preprocessing import Preprocessing
from sepfactor.data.true_boxes import are_boxes, boxes_of
from sepfactor.errors import DataError, ModelError, OptionError
from sepfactor.memory import Pool, Stored
from sepfactor.user_code import at_home, guarded, load_function, names_function

_Bounds = tuple[int | None, Pool]
"""At most so many runs, and what keeps them."""

MOST_ITEMS, MOST_BYTES = 10_000, 2 * 10**9
"""So many runs, and bytes of them, are taken from a function or an iterator that no limit is given for."""


def open_feeds(
    data: object,
    inputs: Sequence[InputSpec],
    *,
    labels: object = None,
    labels_by_name: bool = False,
    targets: object = None,
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008, of values only
    sample_rate: int | None = None,
    elsewhere: Kind | None = None,
    shapes: Mapping[str, tuple[int, ...]] = {},
    limit: int | None = None,
    seed: int = 0,
    samples: int = 16,
    pool: Pool | None = None,
) -> Feeds:
    """Feeds for a model with these inputs.

    Args:
        data: a path to a ``.npz`` or ``.npy`` file, an image or a ``.wav`` file, or to a folder of either;
            ``file.py:function`` or ``package.module:function``; a callable; an object with
            ``get_next()``; an iterable of ``{name: array}``; a mapping name → array; ``None`` for
            synthetic inputs.
        inputs: what the model declares.
        labels: a path to ``.npy``, ``.npz``, ``.csv`` or ``.txt``, or one integer (or array of them) per
            sample; or boxes, see :mod:`sepfactor.data.true_boxes`. ``None``: an array ``labels`` that comes
            with the data, if any.
        labels_by_name: take of ``labels`` only a table that names these images, and no other.
        targets: what dense outputs should be: a path to ``.npy`` or ``.npz``, or an array, one entry
            per sample. ``None``: an array ``target`` or ``targets`` that comes with the data, if any.
        preprocessing: how an image becomes an input.
        sample_rate: values a second that sounds are fed with; None: as many as in their files.
        elsewhere: kind of other data that the same preprocessing and rate are given for, which may be all
            that they are meant for.
        shapes: full shapes for inputs with open dimensions.
        limit: at most so many runs: the first of an iterator, otherwise drawn with ``seed`` and
            kept in order.
        seed: of the synthetic inputs and of the draw.
        samples: how many synthetic runs to make.
        pool: keeps what can be read once only.

    Raises:
        DataError: data, labels or targets cannot be read or do not fit the model or each other.
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
    making = Making(preprocessing, sample_rate, elsewhere)
    pool = pool or Pool()
    if data is None:
        making.check(None, "")
        source = synthetic.open_synthetic(specs, preprocessing, min(samples, limit or samples), seed)
    elif isinstance(data, str | os.PathLike):
        source = _open_named(os.fspath(data), specs, (labels, targets), making, (limit, pool))
    else:
        making.check("arrays", f"the {type(data).__name__} given")
        source = _open_object(data, specs, f"the {type(data).__name__} given", (limit, pool))
    boxes: np.ndarray | None = None
    said: tuple[str, ...] = ()
    if isinstance(labels, str | os.PathLike) and are_boxes(labels):
        (boxes, said), labels = boxes_of(source, labels, by_name=labels_by_name), None
    found, notes = labels_of(source, labels, by_name=labels_by_name)
    truth = targets_of(source, targets)
    feeds = Feeds(source, found, truth, boxes, notes=(*source.notes, *notes, *said))
    if limit is not None and limit < len(feeds):
        drawn = np.random.default_rng(seed).choice(len(feeds), limit, replace=False)
        feeds = feeds.take(np.sort(drawn))
    feeds.probe()
    return feeds if feeds.preprocessing or feeds.synthetic else feeds.noting(doubts(feeds, specs))


def kind_of_data(data: object, beside: Iterable[object] = ()) -> Kind | None:
    """What the data are, as far as names show it; None of synthetic inputs.

    Args:
        data: as :func:`open_feeds` takes them.
        beside: labels and targets, whose files may lie with the data and are none of them.

    Raises:
        DataError: a folder holds nothing, or several kinds.
    """
    if data is None:
        return None
    path = Path(data) if isinstance(data, str | os.PathLike) else None
    if path is not None and path.is_dir():
        return contents(path, _files(beside))[0]
    return kind_of(path) if path is not None and path.is_file() else "arrays"


def _files(given: Iterable[object]) -> list[Path]:
    return [Path(one) for one in given if isinstance(one, str | os.PathLike)]


def _open_named(
    name: str, specs: Sequence[InputSpec], beside: Sequence[object], making: Making, bounds: _Bounds
) -> Source:
    path = Path(name)
    if path.is_dir():
        return _open_files(*contents(path, _files(beside)), path, specs, making, str(path))
    if path.is_file():
        return _open_files(kind_of(path), [path], path.parent, specs, making, name)
    if names_function(name):
        making.check("arrays", name)
        with at_home(name):
            return _open_object(load_function(name), specs, name, bounds)
    raise DataError(f"There is no file or folder {name!r}: give {KINDS}.")


def _open_files(
    kind: Kind, paths: Sequence[Path], folder: Path, specs: Sequence[InputSpec], making: Making, origin: str
) -> Source:
    making.check(kind, origin)
    names = [path.relative_to(folder).as_posix() for path in paths]
    if kind == "images":
        return images.open_images(paths, names, specs, making.images, origin)
    if kind == "sounds":
        return sounds.open_sounds(paths, names, specs, making.sample_rate, origin)
    return open_tables([read_table(path) for path in paths], specs, origin)


# Functions and iterables -------------------------------------------------------------------------


def _open_object(data: object, specs: Sequence[InputSpec], where: str, bounds: _Bounds) -> Source:
    if isinstance(data, np.ndarray):
        data = {"array": data}
    if isinstance(data, Mapping):
        arrays = {str(n): to_array(v, f"{where}: array {n!r}") for n, v in data.items()}
        headers = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        return open_tables([Table(where, headers, arrays.__getitem__)], specs, where)
    get_next = getattr(data, "get_next", None)
    if callable(get_next) and not isinstance(data, type):
        return _collected(iter(get_next, None), specs, where, *bounds)
    if isinstance(data, Iterable):
        return _collected(iter(data), specs, where, *bounds)
    if callable(data):
        result = guarded(data, where)()
        if not callable(result) or hasattr(result, "get_next"):
            return _open_object(result, specs, where, bounds)
        data = result
    raise DataError(
        f"{where}: a {type(data).__name__} gives no inputs: yield dicts {{input name: array}}, or "
        f"give {KINDS}."
    )


def _collected(
    items: Iterator[object], specs: Sequence[InputSpec], where: str, limit: int | None, pool: Pool
) -> Source:
    """Runs that are kept: an iterator can be read once only, and runs are visited many times."""
    runs: list[dict[str, Stored]] = []
    notes: tuple[str, ...] = ()
    labels: list[np.ndarray] = []
    targets: list[Stored] = []
    end = object()
    following = guarded(lambda: next(items, end), where)
    size = 0
    while (item := following()) is not end:
        if len(runs) == limit:
            break
        if limit is None and (len(runs) == MOST_ITEMS or size > MOST_BYTES):
            raise DataError(
                f"{where} yields more than {MOST_ITEMS:,} items, or {MOST_BYTES / 1e9:g} GB of them, and may "
                "never end: say with --limit how many to take."
            )
        what = f"{where}, item {len(runs)}"
        if not isinstance(item, Mapping):
            raise DataError(
                f"{what} is a {type(item).__name__}, but each item must be a dict "
                "{input name: array}: yield dicts."
            )
        names = columns(item, specs, what)
        notes = notes or said_of_names(item, names, where)
        runs.append({s.name: pool.put(conform(item[names[s.name]], s, what)) for s in specs})
        size += sum(array.nbytes for array in runs[-1].values())
        extra = [name for name in NOT_INPUTS if name in item and name not in names]
        beside = {name: as_array(item[name], f"{what}: {name!r}").copy() for name in extra}
        labels += [beside[n] for n in LABELS if n in beside][:1]
        targets += [pool.put(beside[n]) for n in TARGETS if n in beside][:1]
    if not runs:
        raise DataError(f"{where} yields no items: yield at least one dict {{input name: array}}.")
    for count, name in ((len(labels), "labels"), (len(targets), "targets")):
        if 0 < count < len(runs):
            raise DataError(f"{where}: only {count} of {len(runs)} items have {name}: add the rest.")
    for number, target in enumerate(targets):
        check_target(target.shape, target.dtype, f"{where}, item {number}: the target")
    sizes = {run[s.name].shape[:1] for run in runs for s in specs[:1]}
    batch = next(iter(sizes))[0] if len(sizes) == 1 and sizes != {()} else 1
    return Source(
        lambda run: {name: array.load().copy() for name, array in runs[run].items()},
        np.arange(len(runs) * batch).reshape(-1, batch),
        len(runs) * batch,
        where,
        labels=_item_labels(labels, batch, where) if labels else None,
        target=(lambda run: targets[run].load()) if targets else None,
        partial=item is not end,
        notes=notes,
    )


def _item_labels(labels: Sequence[np.ndarray], batch: int, where: str) -> np.ndarray:
    """``(samples, ...)`` where the items' labels count their samples, else ``(items, ...)``."""
    stacked = joined(labels, np.stack, where)
    if batch > 1 and stacked.shape[1:2] == (batch,):
        return stacked.reshape(-1, *stacked.shape[2:])
    return stacked
