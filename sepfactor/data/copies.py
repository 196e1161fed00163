"""Samples that are given twice, which would be fitted to and judged on."""

from __future__ import annotations

import hashlib

import numpy as np

from sepfactor.data.feeds import Feed, Feeds
from sepfactor.words import plural

_MOST_BYTES = 2**30
"""So much is looked at: of large data a copy more or less says little."""


def without_copies(feeds: Feeds, others: Feeds | None = None) -> Feeds:
    """The same without runs that are copies of an earlier one, or of one of ``others``; a note says so.

    Args:
        feeds: of which some may be copies.
        others: that these must not be among.
    """
    known = set() if others is None else {_digest(feed) for feed in others[: _count(others)]}
    left: list[int] = []
    among = 0
    looked_at = _count(feeds)
    own: set[bytes] = set()
    for number in range(looked_at):
        digest = _digest(feeds[number])
        among += digest in known
        if digest not in known and digest not in own:
            left.append(number)
        own.add(digest)
    twice = looked_at - among - len(left)
    if not twice and not among:
        return feeds
    notes = []
    if twice:
        notes.append(f"{plural(twice, 'sample')} of {len(feeds)} given twice: copies count once.")
    if among:
        notes.append(f"{plural(among, 'sample')} of {len(feeds)} to judge on also to fit to: left out there.")
    return feeds.take([*left, *range(looked_at, len(feeds))]).noting(notes)


def _count(feeds: Feeds) -> int:
    """How many runs are looked at."""
    size = sum(value.nbytes for value in feeds[0].values()) if len(feeds) else 1
    return min(len(feeds), max(_MOST_BYTES // max(size, 1), 1))


def _digest(feed: Feed) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for name in sorted(feed):
        value = np.ascontiguousarray(feed[name])
        found.update(f"{name} {value.dtype} {value.shape}".encode())
        found.update(value.tobytes() if value.dtype != object else repr(value.tolist()).encode())
    return found.digest()
