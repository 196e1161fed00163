"""Which search a journal is of: its network, its data, its options and its machine."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sepfactor.data import Feeds
from sepfactor.graph.instrument import serialized
from sepfactor.journal import Journal
from sepfactor.measure.timing_cache import default_path
from sepfactor.options import Options
from sepfactor.results import Environment
from sepfactor.study.network import Network
from sepfactor.study.splits import Splits

_MOST_SECONDS = 30 * 24 * 3600
"""A search that was killed so long ago is not taken up again."""

_OF_THE_MACHINE = (
    *("sepfactor", "engine", "engine_version", "precision", "processor", "provider"),
    *("threads", "usable_cores", "clock"),
)
"""What measurements depend on beside the network, the data and the options."""

_NOT_OF_THE_SEARCH = {"overwrite", "force", "data", "eval_data", "labels", "cache", "pictures"}
"""Options that change nothing of what a search measures, or are looked at by what they hold."""

_SAMPLES = 16
"""Of each set of data, by which it is told from others; all that is measured of them takes much longer."""


def open_journal(network: Network, splits: Splits, options: Options, environment: Environment) -> Journal:
    """That of this search, with what an earlier one left that was killed.

    Nothing is remembered where the user's own code judges or times are those of a file, since either may be
    another the next time, nor where no layer times are to be remembered.
    """
    cache = default_path()
    if cache is None or not options.cache or options.metric is not None or options.profile is not None:
        return Journal()
    folder = cache.parent / "searches"
    _clear(folder)
    return Journal(folder / f"{_digest(network, splits, options, environment)}.jsonl")


def _digest(network: Network, splits: Splits, options: Options, environment: Environment) -> str:
    digest = hashlib.sha256()
    asked: Mapping[str, Any] = options.model_dump(mode="python", exclude=_NOT_OF_THE_SEARCH)
    where = [getattr(environment, name) for name in _OF_THE_MACHINE]
    digest.update(repr((sorted((name, repr(value)) for name, value in asked.items()), where)).encode())
    digest.update(serialized(network.prepared))
    for site in network.sites:
        if site.stage is not None:
            digest.update(site.stage.weight.tobytes())
    for feeds in (splits.fit, splits.chosen_on, splits.judged_on):
        _update(digest, feeds)
    return digest.hexdigest()


def _update(digest: hashlib._Hash, feeds: Feeds) -> None:
    count = len(feeds)
    digest.update(repr((count, feeds.labels, feeds.boxes)).encode())
    places = sorted({k * count // _SAMPLES for k in range(_SAMPLES)} if count else ())
    some = (feeds[place] for place in places)
    for feed in some:
        for name, array in feed.items():
            digest.update(repr((name, array.shape, array.dtype.str)).encode())
            held = array.tolist() if array.dtype.hasobject else array.tobytes()
            digest.update(repr(held).encode() if array.dtype.hasobject else held)


def _clear(folder: Path) -> None:
    """Remove what was left so long ago that nobody will go on from it."""
    with suppress(OSError):
        for path in folder.glob("*.jsonl"):
            if time.time() - path.stat().st_mtime > _MOST_SECONDS:
                path.unlink()
