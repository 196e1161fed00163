"""Reading the files that a user names."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

_ENDLESS = "it is no regular file, and what a pipe or a device holds may never end"


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """All that a regular file holds.

    Raises:
        OSError: it cannot be read, or is a pipe, a socket or a device.
        UnicodeDecodeError: it is no text.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, _ENDLESS, str(path))
    return path.read_text(encoding=encoding)
