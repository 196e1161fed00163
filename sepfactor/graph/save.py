"""Write a model whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir

from sepfactor.errors import OutputError

_PROTOBUF_LIMIT = 2**31 - 1


def check_destination(path: Path, *, overwrite: bool) -> None:
    """Fail before the work begins if the result could not be written afterwards.

    Raises:
        OutputError: the file exists, or its folder does not or cannot be written.
    """
    try:
        path.lstat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):  # such as a name too long
            raise OutputError(
                f"{path} cannot be written: {error.strerror}. Choose another with -o."
            ) from None
    if path.is_dir():
        raise OutputError(f"{path} is a folder. Name the file to write with -o.")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already. Choose another file with -o, or pass --overwrite.")
    if not path.parent.is_dir():
        raise OutputError(f"The folder {path.parent} of the output does not exist. Create it first.")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"The folder {path.parent} cannot be written. Choose another with -o.")


def are_same(one: Path, other: Path) -> bool:
    """Whether both exist and are one file, be it through a link."""
    try:
        return one.samefile(other)
    except OSError:
        return False


@contextmanager
def staged(model: ir.Model, path: Path) -> Iterator[Path]:
    """Write ``model`` beside ``path`` under its final file name, and yield where.

    Nothing exists at ``path`` until :func:`publish`; the staging folder is gone afterwards.
    Models over 2 GB keep their tensors in ``<name>.data`` next to them.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.sepfactor-tmp", dir=path.parent))
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be written: {error.strerror}. Choose another.") from None
    try:
        target = folder / path.name
        try:
            _write(model, target)
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written: {error.strerror}. Make room, or choose another with -o."
            ) from None
        yield target
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(written: Path, path: Path, *, overwrite: bool) -> None:
    """Move a staged model (and its data file) to ``path``, the model last.

    Raises:
        OutputError: ``path`` has come into being meanwhile and may not be overwritten.
    """
    files = [(_data(written), _data(path)), (written, path)]
    files = [(file, target) for file, target in files if file.exists()]
    for _, target in files:
        check_destination(target, overwrite=overwrite)
    done: list[Path] = []
    try:
        for file, target in files:
            _move(file, target, overwrite)
            done.append(target)
    except OSError as error:
        if not overwrite:
            for target in done:
                target.unlink()
        if isinstance(error, FileExistsError):
            raise OutputError(f"{path} exists already. Choose another file, or pass --overwrite.") from None
        raise OutputError(f"{path} cannot be written: {error.strerror}. Choose another.") from None


def _data(model: Path) -> Path:
    return model.with_name(model.name + ".data")


def _move(file: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        file.replace(target)
        return
    try:
        target.hardlink_to(file)  # unlike a rename, fails if the file has appeared meanwhile
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        file.replace(target)


def _write(model: ir.Model, target: Path) -> None:
    size = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    # Leave room for everything that is not an initialiser.
    external = f"{target.name}.data" if size > 0.9 * _PROTOBUF_LIMIT else None
    ir.save(model, target, external_data=external)
    for file in target.parent.iterdir():
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())
