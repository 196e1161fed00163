"""Samples that a network takes for nearly the same: photographs of one person, windows of one recording.

What was fitted to some of them is better on the others than on strangers: a face descriptor lost 0.16 points
of cosine on held-out photographs of people it was fitted to, and 0.26 on people it was not. So of embeddings,
which say themselves what belongs together, relatives stay on one side of every split.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from sepfactor.errors import ModelError
from sepfactor.measure.engine import Feed, Session
from sepfactor.measure.tasks import Answers, Wanted, batch_of, embedding

Groups = NDArray[np.int64]

_NEAR = (0.6, 0.7, 0.8, 0.9)
"""Cosines, without what all samples have in common, from which on two are relatives: the first by which no
group is too large."""

_LARGEST = 0.25
"""Of all samples."""

_MOST = 512
"""So many samples are looked at; among more, those that are alike say less."""


def relatives(session: Session, feeds: Sequence[Feed]) -> Groups | None:
    """``(runs,)`` number of the group of each; None where no output is an embedding, or none are related.

    Args:
        session: of the network.
        feeds: one sample each.
    """
    if not 1 < len(feeds) <= _MOST:
        return None
    try:
        first = feeds[0]
        at = [k for k, one in enumerate(session.run(first)) if batch_of(first) == 1 and embedding.may_be(one)]
        if not at:
            return None
        rows = [session.run(feed)[at[0]] for feed in feeds]
    except ModelError:  # is said where it is run for good
        return None
    name = session.get_outputs()[at[0]].name
    for found in embedding.Embedding.find([Answers(name, rows, [1] * len(rows))], Wanted()):
        return _groups(found.task.answers.runs)
    return None


def joined(count: int, *several: Groups | None) -> Groups:
    """The groups of runs that are together in any of several groupings; each its own where there is none."""
    edges, size = [np.empty((2, 0), np.int64)], count  # from runs to groups, which are numbered behind them
    for groups in several:
        if groups is not None:
            edges.append(np.stack([np.arange(count), size + groups]))
            size += int(groups.max(initial=0)) + 1
    rows, columns = np.concatenate(edges, axis=1)
    graph = csr_array((np.ones(len(rows), np.int8), (rows, columns)), (size, size))
    _, parts = connected_components(graph, directed=False)
    _, found = np.unique(parts[:count], return_inverse=True)
    return found.astype(np.int64)


def _groups(runs: Sequence[NDArray[np.generic]]) -> Groups | None:
    rows = np.stack([np.asarray(run, np.float64).ravel() for run in runs])
    rows -= rows.mean(axis=0)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    similar = rows @ rows.T
    for near in _NEAR:
        _, groups = connected_components(similar > near, directed=False)
        sizes = np.bincount(groups)
        if sizes.max() <= max(_LARGEST * len(rows), 1):
            return groups.astype(np.int64) if sizes.max() > 1 else None
    return None
