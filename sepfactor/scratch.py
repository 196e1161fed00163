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

_PREFIX = "sepfactor-scratch-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder where temporary files go, gone afterwards.

    Raises:
        OSError: there is no room for one.
    """
    root = Path(tempfile.gettempdir())
    _sweep(root)
    folder, lock = _locked(root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


@cache
def _sweep(root: Path) -> None:
    """Remove what killed runs left; once a process, for there may be many files to look through."""
    for folder in root.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(root: Path) -> tuple[Path, int | None]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        with suppress(BlockingIOError, FileNotFoundError):  # another run takes it for a dead one's: once more
            lock = _lock(folder)
            if folder.exists():
                return folder, lock


def _lock(folder: Path) -> int | None:
    """A handle that locks a folder until it is closed or the process ends; None where there are no locks.

    Raises:
        OSError: another process has locked it, or it is not ours.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle
