"""Folders for temporary files, which do not outlive what made them for long.

A run that is killed cannot clear up behind itself. So such a folder is locked while it is in use, and the
next run removes those that nobody has locked.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PREFIX = "sepfactor-scratch-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder where temporary files go, gone afterwards.

    Raises:
        OSError: there is no room for one.
    """
    root = Path(tempfile.gettempdir())
    _sweep(root)
    folder, handle = locked_folder(_PREFIX, root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


@cache
def _sweep(root: Path) -> None:
    """Remove what killed runs left; once a process, for there may be many files to look through."""
    for folder in root.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # in use, or not ours
            handle = lock(folder)
            if handle is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(handle)


def locked_folder(prefix: str, parent: Path) -> tuple[Path, int | None]:
    """A new folder, and the handle that locks it, as of :func:`lock`.

    Raises:
        OSError: there is no room for one.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with suppress(BlockingIOError, FileNotFoundError):  # another run takes it for a dead one's: once more
            handle = lock(folder)
            if folder.exists():
                return folder, handle


def lock(folder: Path) -> int | None:
    """A handle that locks a folder until it is closed or the process ends; None where there are no locks.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: it is no folder, or not ours.
    """
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:  # a file system without locks
        os.close(handle)
        return None
    return handle
