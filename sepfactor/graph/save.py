"""Write a model whole or not at all."""

from __future__ import annotations

import glob
import hashlib
import itertools
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

import onnx
import onnx_ir as ir

from sepfactor.errors import ModelError, OutputError, is_text
from sepfactor.graph.external import external_tensors, locations, read_external
from sepfactor.graph.load import PROTOBUF_LIMIT, refusing
from sepfactor.graph.maps import write_types
from sepfactor.outputs import check_place, is_stream, resolved
from sepfactor.scratch import lock, locked_folder

_LONG_NAME = 200
"""Bytes of a name to which more can be added; file systems take 255."""


def check_destination(path: Path, *, overwrite: bool) -> None:
    """Fail before the work begins if the result could not be written afterwards.

    Raises:
        OutputError: the file exists, its folder does not or cannot be written, or its name ends as files of
            another form do.
    """
    check_place("-o", path, overwrite=overwrite)
    if not is_text(path):
        raise OutputError(
            f"{path} is a name that is not text in UTF-8; onnxruntime opens no such file. Choose another -o."
        )
    if is_stream(path):  # a network is looked at again after it is written
        raise OutputError(f"{path} is no regular file and cannot be written. Choose another file with -o.")
    form = onnx.serialization.registry.get_format_from_file_extension(path.suffix)
    if form not in (None, "protobuf") or path.suffix == ".ort":
        raise OutputError(
            f"{path} cannot be written: a network is written as binary ONNX, and by its name that is another "
            "form. Choose a name that ends in .onnx with -o."
        )
    try:
        data_of(resolved(path)).lstat()
    except FileNotFoundError:
        pass
    except OSError as error:  # a name too long once weights beside it are called like it
        raise OutputError(f"{path}.data could not be written: {error.strerror}. Choose another -o.") from None


@contextmanager
def staged(model: ir.Model, path: Path) -> Iterator[Path]:
    """Write ``model`` beside ``path`` under its final file name, and yield where.

    Nothing exists at ``path`` until :func:`publish`; the staging folder is gone afterwards. One that a
    killed run left is cleared away by the next run to ``path``, with what that run had put beside ``path``
    already. Models over 2 GB keep their tensors in ``<name>.data`` next to them.
    """
    path = resolved(path)
    with _staging_folder(path) as folder:
        target = folder / path.name
        try:
            _write(model, target)
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written: {error.strerror}. Make room, or choose another with -o."
            ) from None
        yield target


@contextmanager
def _staging_folder(path: Path) -> Iterator[Path]:
    """A folder beside ``path``, locked while it is in use, so that others can tell it from a dead run's."""
    name = path.name if len(os.fsencode(path.name)) <= _LONG_NAME else _digest(path.name)
    prefix = f".{name}.sepfactor-tmp"
    try:
        for dead in path.parent.glob(glob.escape(prefix) + "*"):
            _clear_away(dead, path)
        folder, handle = locked_folder(prefix, path.parent)
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be written: {error.strerror}. Choose another.") from None
    try:
        yield folder
    finally:
        try:
            _remove(folder, path)
        except KeyboardInterrupt:  # nothing is left, even of a run interrupted while it clears away
            _remove(folder, path)
            raise
        if handle is not None:
            os.close(handle)


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:32]


def _clear_away(folder: Path, path: Path) -> None:
    """Remove a folder unless a process has locked it."""
    with suppress(OSError):  # in use, cleared away by another run, or no folder
        handle = lock(folder)
        if handle is not None:
            _remove(folder, path)
            os.close(handle)


def _remove(folder: Path, path: Path) -> None:
    """Remove a folder, and first the data beside ``path`` that its run placed or replaced and none uses."""
    for data in set(data_files(path)) - _data_used(path):
        with suppress(OSError):
            if _note(folder, data).exists():
                data.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def publish(written: Path, path: Path, *, overwrite: bool) -> None:
    """Move a staged model (and its data file) to ``path``, the model last.

    At every moment the model at ``path`` is the old one or the new one, whole and with its own data. So new
    data never take the name of a file that is there: where ``<name>.data`` is, they are ``<name>.data2``, and
    so on. That name, as the model tells it, is all in which the bytes of an output that replaces another may
    differ. Data of the output that is replaced go with the staging folder; others are never touched.

    Raises:
        OutputError: ``path`` or ``<name>.data`` has come into being meanwhile and may not be overwritten.
    """
    check_destination(path, overwrite=overwrite)
    path = resolved(path)
    try:
        if data_of(written).exists():
            _place_data(written, path, overwrite)
        for old in _data_used(path):
            _note(written.parent, old).touch()
        _move(written, path, overwrite)
    except FileExistsError:
        raise OutputError(f"{path} exists already. Choose another file, or pass --overwrite.") from None
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}. Choose another.") from None


def data_of(model: Path) -> Path:
    """Where the tensors of a model over 2 GB are, unless a file was there before."""
    return model.with_name(model.name + ".data")


def data_files(model: Path) -> list[Path]:
    """Files that are named like data of ``model``: ``<name>.data``, ``<name>.data2`` and so on."""
    ours = re.compile(re.escape(data_of(model).name) + r"([2-9]|[1-9]\d+)?")
    near = model.parent.glob(glob.escape(data_of(model).name) + "*")
    return sorted(file for file in near if ours.fullmatch(file.name))


def _data_used(path: Path) -> set[Path]:
    """Those of its data files that the model at ``path`` refers to; none where there is no model."""
    files = data_files(path)
    if not files or not path.is_file():
        return set()
    try:
        with refusing(str(path)):
            proto = onnx.load(path, load_external_data=False)
    except ModelError:
        return set()
    used = {str(PurePath(entry.value)) for entry in locations(proto)}
    return {file for file in files if file.name in used}


def _note(folder: Path, data: Path) -> Path:
    """A file that says that the run of a folder placed or replaced these data, be they moved."""
    return folder / f"{data.stat().st_ino}.own"


def _place_data(written: Path, path: Path, overwrite: bool) -> None:
    """Move the data of a staged model beside ``path``, under a name that is free and that the model tells."""
    data = data_of(written)
    _note(written.parent, data).touch()
    for number in itertools.count(1):
        place = path.with_name(data.name + (str(number) if number > 1 else ""))
        try:
            _move(data, place, overwrite=False)
        except FileExistsError:
            if overwrite:
                continue
            raise OutputError(f"{place} exists already. Choose another file, or pass --overwrite.") from None
        data.unlink(missing_ok=True)  # a link made it, and onnx refuses data with two names
        if place.name != data.name:
            _tell_location(written, data.name, place.name)
        return


def _tell_location(model: Path, old: str, new: str) -> None:
    proto = onnx.load(model, load_external_data=False)
    for entry in locations(proto):
        if entry.value == old:
            entry.value = new
    onnx.save(proto, model)
    _sync(model)


def _move(file: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        file.replace(target)
        return
    try:
        target.hardlink_to(file)  # unlike a rename, fails if the file has appeared meanwhile
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError from None
        file.replace(target)


def _write(model: ir.Model, target: Path) -> None:
    values = [value for graph in model.graphs() for value in graph.initializers.values()]
    size = sum(value.const_value.nbytes for value in values if value.const_value is not None)
    # Leave room for everything that is not an initialiser.
    external = data_of(target).name if size > 0.9 * PROTOBUF_LIMIT else None
    if external is None and next(external_tensors(model), None) is not None:
        model = model.clone()
        read_external(model)
    ir.save(model, target, external_data=external)
    write_types(model, target)
    for file in target.parent.iterdir():
        _sync(file)


def _sync(file: Path) -> None:
    with file.open("rb+") as handle:
        os.fsync(handle.fileno())
