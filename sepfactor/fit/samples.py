"""What one site reads and should answer, row by row: moments of it, and the rows themselves if need be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.data.patches import usable
from sepfactor.factor import Factorization, Stage
from sepfactor.factor.moment_sums import BATCH, MomentSums, MovedTargets
from sepfactor.factor.moments import Moments
from sepfactor.factor.output_metric import both_positive
from sepfactor.factor.stage import Array
from sepfactor.factor.statistics import on_grid
from sepfactor.memory import Stored
from sepfactor.resources import Resources

Single = NDArray[np.float32]


def fits_into(summand: NDArray[Any], shape: tuple[int, ...]) -> bool:
    """Whether a sum with an array of ``shape`` is of that shape."""
    ends = zip(summand.shape[::-1], shape[::-1], strict=False)
    return summand.ndim <= len(shape) and all(own in (1, size) for own, size in ends)


@dataclass(frozen=True, eq=False)
class Block:
    """Some thousands of rows.

    Attributes:
        x: ``(n, in, *kernel)`` patches. y: ``(n, out)`` what to answer.
        beside: ``(n, out)`` what is added to the answer; None where nothing is.
    """

    x: Single
    y: Single
    beside: Single | None

    def whole(self, answers: Single) -> Single:
        """Answers with what is added to them."""
        return answers if self.beside is None else answers + self.beside


class Rows:
    """Rows of one site.

    Args:
        stage: the convolution.
        keep: whether the rows are wanted again; if not, only their moments are left.
        precise: whether small errors are to be read off their moments.
        spread: whether their moments are to hold the covariance of the answers.
        resources: for the rows, and for products of them.
    """

    def __init__(
        self,
        stage: Stage,
        keep: bool,
        precise: bool = False,
        spread: bool = False,
        resources: Resources | None = None,
    ) -> None:
        self._stage, self.kept = stage, keep
        shape = (stage.in_channels, *stage.kernel_shape)
        resources = resources or Resources()
        self._pool = resources.pool
        self._sums = MomentSums(
            shape, stage.group, stage.out_channels, precise, spread, executor=resources.executor
        )
        self._stored: list[tuple[Stored, ...]] = []
        self._waiting: list[tuple[Single, ...]] = []

    def add(self, x: Single, y: Single, beside: Single | None) -> None:
        """Add patches and answers, but for those not finite."""
        rows = usable(x, y) if beside is None else usable(x, y, beside)
        self._sums.add(rows[0], rows[1])
        if self.kept:
            self._waiting.append(rows)
            if sum(len(x) for x, *_ in self._waiting) >= BATCH:
                self._flush()

    def _flush(self) -> None:
        if self._waiting:
            together = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
            self._stored.append(tuple(self._pool.put(part) for part in together))
            self._waiting = []

    def _blocks(self) -> Iterator[Block]:
        """The rows kept, each block in memory only while it is looked at."""
        self._flush()
        for stored in self._stored:
            x, y, *beside = (part.load() for part in stored)
            yield Block(x, y, beside[0] if beside else None)

    def moments(self) -> Moments:
        """Of all rows."""
        return self._sums.moments()

    def both_positive(self) -> Array:
        """``(group, out/group, out/group)``: how often two answers are positive at once; of the rows kept."""
        group = self._stage.group
        size = self._stage.out_channels // group
        total, count = np.zeros((group, size, size)), 0
        for block in self._blocks():
            total += both_positive(block.whole(block.y), group)
            count += len(block.y)
        return total / max(count, 1)

    def answered(self, factorization: Factorization) -> Iterator[tuple[Block, Single]]:
        """Block by block the rows kept, and what ``factorization`` answers to them, ``(n, out)``."""
        stage = self._stage
        kernels = on_grid(stage, factorization).reshape(stage.group, -1, stage.weight[0].size)
        flipped = kernels.astype(np.float32).swapaxes(1, 2)
        bias = np.float32(0) if factorization.bias is None else factorization.bias.astype(np.float32)
        for block in self._blocks():
            patches = block.x.reshape(len(block.x), stage.group, -1).swapaxes(0, 1)
            yield block, (patches @ flipped).swapaxes(0, 1).reshape(block.y.shape) + bias

    def moved(
        self, moments: Moments, factorization: Factorization, move: Callable[[Block, Single], Single]
    ) -> Moments:
        """``moments`` of the rows kept after ``move`` of their targets, given what is answered now."""
        moved = MovedTargets(moments)
        for block, answers in self.answered(factorization):
            moved.add(block.x, block.y, move(block, answers))
        return moved.moments()
