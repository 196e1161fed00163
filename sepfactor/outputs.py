"""Where results go: refused before the work where they cannot be written, or where something is read."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sepfactor.errors import OptionError, OutputError


def check_outputs(
    outputs: Iterable[tuple[str, Path]],
    inputs: Iterable[Path],
    *,
    overwrite: bool,
    beside: Iterable[Path] = (),
) -> None:
    """Fail before the work where results could not be written, or would replace what is read or each other.

    Files are told apart by device and inode, behind links and by whatever path they are reached.

    Args:
        outputs: flags and the files they name.
        inputs: files that are read; not looked at where no output exists yet.
        overwrite: whether files that exist may be replaced.
        beside: further files that ``-o`` may write.

    Raises:
        OptionError: an output is an input, or another output.
        OutputError: an output exists and may not be replaced, or cannot be written.
    """
    named = list(outputs)
    taken: dict[tuple[object, ...], tuple[str, Path]] = {}
    for flag, path in (*named, *(("-o", path) for path in beside)):
        own = _identity(path)
        if own in taken and not is_stream(path):
            raise OptionError(
                f"{flag} names {path}, which is used otherwise: {taken[own][0]} names it too. Choose another "
                "file."
            )
        taken[own] = flag, path
    if any(os.path.lexists(path) for _, path in taken.values()):  # else there is nothing to replace
        for source in inputs:
            flag, path = taken.get(_identity(source), ("", source))
            if flag:
                raise OptionError(
                    f"{flag} names {path}, which is used otherwise: it is an input itself, and those are "
                    f"never touched. Choose another file with {flag}."
                )
    for flag, path in named:
        check_place(flag, path, overwrite=overwrite)


def check_place(flag: str, path: Path, *, overwrite: bool) -> None:
    """Fail where a file that ``flag`` names could not be written.

    Raises:
        OutputError: the message says why, and what to do.
    """
    choose = f"Choose another file with {flag}"
    real = resolved(path)
    try:
        mode = _mode(real)
        if mode is not None and stat.S_ISDIR(mode):
            raise OutputError(f"{path} is a folder and cannot be written. Name a file with {flag}.")
        if mode is not None and _is_stream(mode) and os.access(real, os.W_OK):
            return
        if mode is not None and not stat.S_ISREG(mode):
            raise OutputError(f"{path} is no regular file and cannot be written. {choose}.")
        if mode is not None and not overwrite:
            raise OutputError(f"{path} exists already. {choose}, or pass --overwrite.")
        if not real.parent.is_dir():
            raise OutputError(f"{path} cannot be written: there is no folder {path.parent}. Create it first.")
        with tempfile.TemporaryFile(prefix=".sepfactor-tmp", dir=real.parent):
            pass  # only by trying does one learn of quotas and file systems that cannot be written
    except (OSError, ValueError) as error:  # such as a name too long, or one with a zero byte
        why = getattr(error, "strerror", None) or error
        raise OutputError(f"{path} cannot be written: {why}. {choose}.") from None


def write_text(path: Path, text: str) -> None:
    """Text into a file, whole or not at all; into a device or a pipe as it comes.

    Raises:
        OutputError: it cannot be written.
    """
    real = resolved(path)
    try:
        if is_stream(real):
            with real.open("w", encoding="utf-8") as stream:
                stream.write(text)
            return
        with tempfile.TemporaryDirectory(prefix=".sepfactor-tmp", dir=real.parent) as folder:
            temporary = Path(folder) / "report"
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(real)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}. Choose another.") from None


def resolved(path: Path) -> Path:
    """Where a path leads, be it through links: they stay, and what they lead to is written."""
    return Path(os.path.realpath(path)) if "\0" not in str(path) else path


def is_stream(path: Path) -> bool:
    """Whether text is written into what is there and never replaces it, as with /dev/null or a pipe."""
    try:
        return _is_stream(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _is_stream(mode: int) -> bool:
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def _mode(path: Path) -> int | None:
    """Of what is there; None where nothing is."""
    try:
        return path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _identity(path: Path) -> tuple[object, ...]:
    """The same for every path that leads to a file, be it there yet or not."""
    real = resolved(path)
    for place, name in ((real, ()), (real.parent, (real.name,))):
        try:
            about = place.stat()
        except (OSError, ValueError):
            continue
        return about.st_dev, about.st_ino, *name
    return (str(real),)
