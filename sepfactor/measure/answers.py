"""What a network answers to many inputs, kept within the memory that may be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sepfactor.memory import Array, Pool, Stored, StoredArrays


def answers_of(runs: Iterable[Sequence[Array]], places: Sequence[int], pool: Pool) -> list[StoredArrays]:
    """By output, its value in each run.

    Args:
        runs: all outputs of each run, of which one is there at a time.
        places: which of them are wanted, by number.
        pool: keeps them.
    """
    found: list[list[Stored]] = [[] for _ in places]
    for values in runs:
        for kept, place in zip(found, places, strict=True):
            kept.append(pool.put(values[place]))
        del values  # before the next ones are there
    return [StoredArrays(kept) for kept in found]


def by_run(names: Sequence[str], answers: Sequence[Sequence[Array]]) -> Iterable[Mapping[str, Array]]:
    """What :func:`answers_of` found as one mapping a run, each read when it is asked for."""
    return (dict(zip(names, values, strict=True)) for values in zip(*answers, strict=True))
