"""Write a model whole or not at all."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import onnx_ir as ir

from sepfactor.errors import OutputError
from sepfactor.graph.external import external_tensors, read_external
from sepfactor.graph.load import PROTOBUF_LIMIT

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


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

    Nothing exists at ``path`` until :func:`publish`; the staging folder is gone afterwards. One that a
    killed run left is cleared away by the next run. Models over 2 GB keep their tensors in
    ``<name>.data`` next to them.
    """
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
    prefix = f".{path.name}.sepfactor-tmp"
    try:
        _clear_away(path.parent.glob(glob.escape(prefix) + "*"))
        folder, lock = _locked_folder(prefix, path.parent)
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be written: {error.strerror}. Choose another.") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _clear_away(folders: Iterable[Path]) -> None:
    """Remove what no process has locked."""
    for folder in folders:
        with suppress(BlockingIOError, FileNotFoundError):  # in use, or cleared away by another run
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked_folder(prefix: str, parent: Path) -> tuple[Path, int | None]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with suppress(BlockingIOError, FileNotFoundError):  # another run took it for a dead one's: once more
            lock = _lock(folder)
            if folder.exists():
                return folder, lock


def _lock(folder: Path) -> int | None:
    """A handle that locks a folder until it is closed or the process ends; None where there are no locks.

    Raises:
        BlockingIOError: another process has locked it.
    """
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:  # a file system without locks
        os.close(handle)
        return None
    return handle


def publish(written: Path, path: Path, *, overwrite: bool) -> None:
    """Move a staged model (and its data file) to ``path``, the model last.

    Raises:
        OutputError: ``path`` has come into being meanwhile and may not be overwritten.
    """
    files = [(data_of(written), data_of(path)), (written, path)]
    files = [(file, target) for file, target in files if file.exists()]
    for _, target in files:
        check_destination(target, overwrite=overwrite)
    done: list[Path] = []
    try:
        if overwrite and len(files) > 1:
            path.unlink(missing_ok=True)  # at no moment may the old model read the new data
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


def data_of(model: Path) -> Path:
    """Where the tensors of a model over 2 GB are."""
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
    external = data_of(target).name if size > 0.9 * PROTOBUF_LIMIT else None
    if external is None and next(external_tensors(model), None) is not None:
        model = model.clone()
        read_external(model)
    ir.save(model, target, external_data=external)
    for file in target.parent.iterdir():
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())
