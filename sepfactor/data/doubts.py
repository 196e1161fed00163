"""What makes one doubt that arrays are what a network should be fed: found by looking at some of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sepfactor.data.feeds import Feeds
from sepfactor.data.inputs import InputSpec

_RUNS = 8
"""Runs that are looked at, one at a time."""

_LIKE_PIXELS = 16
"""Whole numbers from 0 up to at least this, and 255 at most, look like bytes of pictures."""

_PICTURE_AXES = 3


@dataclass(frozen=True)
class _Look:
    """What is kept of an array: its ends, whether it may be bytes of a picture, and a digest."""

    ends: tuple[float, ...]
    is_bytes: bool
    digest: bytes

    @classmethod
    def at(cls, array: np.ndarray) -> _Look:
        digest = hashlib.sha256(array.tobytes()).digest()
        if not array.size:
            return cls((), False, digest)
        low, high = float(array.min()), float(array.max())
        in_range = array.ndim >= _PICTURE_AXES and low >= 0 and high <= np.iinfo(np.uint8).max
        return cls((low, high), in_range and np.array_equal(array, np.rint(array)), digest)


def doubts(feeds: Feeds, specs: Sequence[InputSpec]) -> Iterator[str]:
    """Sentences on arrays that hardly can be meant: all zeros, all alike, bytes where floats belong.

    Args:
        feeds: of arrays, fed as they are.
        specs: the inputs of the model.
    """
    chosen = np.unique(np.linspace(0, len(feeds) - 1, min(len(feeds), _RUNS)).astype(int)).tolist()
    seen: dict[str, list[_Look]] = {spec.name: [] for spec in specs}
    for run in chosen:
        for name, array in feeds[run].items():
            seen[name].append(_Look.at(array))
    floats = {s.name: seen[s.name] for s in specs if s.dtype.kind == "f" and s.shape != ()}
    for name, looks in floats.items():
        highest = max((end for look in looks for end in look.ends), default=0.0)
        if highest >= _LIKE_PIXELS and all(look.is_bytes for look in looks):
            yield (
                f"The input {name!r} takes floats and is fed whole numbers from 0 to 255, as pictures hold. "
                "Unless the network scales them itself, bring them into the range it was trained on."
            )
    values = [{end for look in looks for end in look.ends} for looks in floats.values()]
    if floats and all(len(ends) == 1 for ends in values):
        names, said = " and ".join(map(repr, floats)), f"{values[0].pop():g}"
        yield f"What is fed to {names} is {said} everywhere, which says nothing of a layer: give real data."
    elif len(chosen) > 1 and all(len({look.digest for look in looks}) == 1 for looks in seen.values()):
        yield "All samples looked at are the same, so that none judges what was fitted to another: give more."
