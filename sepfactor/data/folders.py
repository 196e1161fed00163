"""What a folder holds that networks can be fed with."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from sepfactor.data import images, wave_files
from sepfactor.data.making import Kind
from sepfactor.errors import DataError

_ARRAYS = frozenset({".npz", ".npy"})
_OTHER_SOUNDS = frozenset({".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".aif", ".aiff"})
"""Files that are not read."""


def kind_of(path: Path) -> Kind:
    """What a file is taken for, by its name."""
    suffix = path.suffix.lower()
    if suffix in images.SUFFIXES:
        return "images"
    return "sounds" if suffix == wave_files.SUFFIX else "arrays"


def contents(folder: Path, apart: Iterable[Path]) -> tuple[Kind, tuple[Path, ...]]:
    """What a folder holds, and the files, sorted by path: arrays in it, or images or sounds in it and below.

    Hidden files and folders are left out.

    Args:
        folder: to look through.
        apart: files of arrays that are something else.

    Raises:
        DataError: there is nothing, or several kinds.
    """
    others = [file for file in apart if file.exists()]
    known = find_files(folder, _ARRAYS | images.SUFFIXES | {wave_files.SUFFIX})
    every: dict[Kind, tuple[Path, ...]] = {
        kind: tuple(path for path in known if kind_of(path) == kind)
        for kind in ("arrays", "images", "sounds")
    }
    every["arrays"] = tuple(
        path
        for path in every["arrays"]
        if path.parent == folder and not any(path.samefile(file) for file in others)
    )
    found = {kind: paths for kind, paths in every.items() if paths}
    if len(found) > 1:
        (one, files), (other, more), *_ = found.items()
        raise DataError(
            f"{folder}: the folder holds both {one} ({files[0].name}) and {other} "
            f"({more[0].name}), so it is unclear which to use: move one kind elsewhere."
        )
    if not found:
        raise DataError(f"{folder}: {_nothing(folder)}.")
    return next(iter(found.items()))


def find_files(folder: Path, suffixes: Collection[str]) -> tuple[Path, ...]:
    """Files of these endings in a folder and below, sorted by path; hidden files and folders are left out."""
    return tuple(
        sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in suffixes and not _is_hidden(path.relative_to(folder)) and path.is_file()
        )
    )


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _nothing(folder: Path) -> str:
    if find_files(folder, _OTHER_SOUNDS):
        return (
            "of sounds only .wav files are read, and the folder holds others: convert them, or give "
            "file.py:function, as the manual's page on sound shows"
        )
    return (
        "the folder holds no .npz, .npy, .wav or image files "
        f"({', '.join(sorted(images.SUFFIXES))}): name a folder that does"
    )
