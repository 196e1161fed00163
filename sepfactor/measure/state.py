"""State that a recurrent network hands on: an input that is what an output was at the step before.

Judged one step at a time, each with the original's state, a network looks better than it is: in use its own
errors go on. So state is carried over from run to run, of every network that is judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.answers import answers_of
from sepfactor.measure.engine import Feed, Session, ValueInfo
from sepfactor.memory import Pool, StoredArrays

Array = NDArray[Any]

_SIDES = re.compile(
    r"(in|out|input|output|new|next|prev|previous|old|updated|0|n|t)$|^(in|out|new|next|prev|updated)"
)
"""What tells the name of a state that goes in from that of the one that comes out."""


@dataclass(frozen=True)
class States:
    """Which inputs carry state, and in which runs they do.

    Attributes:
        pairs: input → the output that becomes it.
        goes_on: of each run, whether it takes over the state of the run before it.
    """

    pairs: Mapping[str, str]
    goes_on: tuple[bool, ...]

    def runs(self, session: Session, feeds: Sequence[Feed]) -> Iterator[list[Array]]:
        """Outputs of a session on the first feeds, its own state carried over.

        Args:
            session: whose outputs have the original's names.
            feeds: of which these are states.
        """
        order = [output.name for output in session.get_outputs()]
        before: list[Array] | None = None
        for feed, goes_on in zip(feeds, self.goes_on, strict=False):
            if before is not None and goes_on:
                feed = {**feed, **{name: before[order.index(to)] for name, to in self.pairs.items()}}
            before = session.run(feed)
            yield before


def states_of(
    original: Session, feeds: Sequence[Feed], pool: Pool
) -> tuple[States | None, list[StoredArrays]]:
    """The states of a network, None if it has none, and what it answers to the feeds, by output.

    Runs go on from one another where the feeds say so, since each gives the state that the one before it
    ended with, or where all give the same: the one to begin with.

    Args:
        original: its session.
        feeds: inputs of each run.
        pool: keeps the answers.
    """
    names = [output.name for output in original.get_outputs()]
    pairs = _pairs(original.get_inputs(), original.get_outputs(), feeds[0])
    goes_on: list[bool] = []
    is_start = bool(pairs) and all(_same(feed[name], feeds[0][name]) for feed in feeds for name in pairs)

    def runs() -> Iterator[list[Array]]:
        ends: Feed | None = None
        for feed in feeds:
            follows = ends is not None and _follows(feed, ends, is_start=is_start)
            goes_on.append(follows)
            values = original.run({**feed, **ends} if follows and ends is not None else feed)
            ends = {name: values[k] for name, k in pairs.items()} if pairs else None
            yield values

    answers = answers_of(runs(), range(len(names)), pool)
    if not any(goes_on):
        return None, answers
    return States({name: names[k] for name, k in pairs.items()}, tuple(goes_on)), answers


def _follows(feed: Feed, ends: Feed, *, is_start: bool) -> bool:
    """Whether a run goes on from where the one before it ended."""
    fits = all(end.shape == feed[name].shape for name, end in ends.items())
    return fits and (is_start or all(_same(end, feed[name]) for name, end in ends.items()))


def _pairs(inputs: Sequence[ValueInfo], outputs: Sequence[ValueInfo], feed: Feed) -> dict[str, int]:
    """Inputs and outputs of one type and rank whose names differ in their side alone."""
    if len(inputs) < 2 or len(outputs) < 2:
        return {}
    main = max(inputs, key=lambda one: feed[one.name].size if one.name in feed else 0)
    found: dict[str, int] = {}
    for one in inputs:
        if one is main or one.name not in feed:
            continue
        for k, other in enumerate(outputs):
            alike = one.type == other.type and len(one.shape) == len(other.shape)
            if alike and k not in found.values() and _stem(one.name) == _stem(other.name):
                found[one.name] = k
                break
    return found


def _stem(name: str) -> str:
    """A name without what says on which side it is."""
    stem = re.sub(r"[^a-z0-9]", "", name.lower())
    return _SIDES.sub("", _SIDES.sub("", stem)) or stem


def _same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-3, atol=1e-5, equal_nan=True))
