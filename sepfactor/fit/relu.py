"""Fit what goes into a ReLU: where the original's value is negative, any negative answer is right.

Least squares cannot say so, but it can be told step by step: the targets of such rows become
``min(answer, 0)``, which costs nothing where the answer is negative already, and the factors are
fitted again from where they are. What is added before the ReLU counts on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.factor import Factorization
from sepfactor.factor.moments import Moments
from sepfactor.factor.output_metric import OutputMetric
from sepfactor.factor.stage import Array
from sepfactor.fit.samples import Block, Rows, Single, fits_into
from sepfactor.graph.survey import Site

Refit = Callable[[Factorization, Moments], Factorization]


def refit_behind_relu(
    start: Factorization,
    parts: tuple[Rows, Rows],
    moments: Moments,
    *,
    rounds: int,
    again: Refit,
    metric: OutputMetric | None = None,
) -> Factorization:
    """``start``, or what ``rounds`` of new targets make of it if held-out rows are missed by less.

    Args:
        start: the usual fit.
        parts: rows to fit to, and rows to judge on; kept.
        moments: of those to fit to.
        rounds: how often targets are moved.
        again: fits factors to moments, starting from the factors given.
        metric: of errors behind the ReLU.
    """
    seen, held = parts
    best, least = start, error_behind_relu(start, held, metric)
    current = start
    for _ in range(rounds):
        current = again(current, seen.moved(moments, current, _move))
        error = error_behind_relu(current, held, metric)
        if not error < least:
            break
        best, least = current, error
    return best


def error_behind_relu(factorization: Factorization, held: Rows, metric: OutputMetric | None = None) -> float:
    """Relative error of the rows kept once negatives are 0: root of the share of variance missed.

    Args:
        factorization: what answers.
        held: what to answer.
        metric: of errors and answers.
    """
    missed, square, count = 0.0, 0.0, 0
    total: Single | float = 0.0
    for block, answers in held.answered(factorization):
        right = np.maximum(block.whole(block.y), 0)
        wrong = np.maximum(block.whole(answers), 0) - right
        if metric is not None:
            wrong, right = metric.weigh(wrong), metric.weigh(right)
        missed += float(np.sum(np.square(wrong), dtype=np.float64))
        square += float(np.sum(np.square(right), dtype=np.float64))
        total = total + right.sum(axis=0, dtype=np.float64)
        count += len(right)
    power = square - float(np.sum(np.square(total))) / max(count, 1)
    return math.sqrt(missed / power) if power > 0 else 0.0


def row_of(site: Site, offset: NDArray[Any]) -> Array | None:
    """A constant added to the answers of a site as ``(out,)``; None if pixels get different ones."""
    assert site.stage is not None
    shape = site.kind.shape(1, site.stage.out_channels, (1,) * len(site.stage.axes))
    if not fits_into(offset, shape):
        return None
    return site.kind.maps(np.broadcast_to(offset.astype(np.float64), shape)).reshape(-1)


def _move(block: Block, answers: Single) -> Single:
    right = block.whole(block.y)
    move: Single = np.where(right < 0, np.minimum(block.whole(answers), 0) - right, np.float32(0))
    return move
