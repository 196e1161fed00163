"""Add up second moments batch by batch, and move targets afterwards."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.factor.covariance import Covariance, Formed, OfRows
from sepfactor.factor.moments import Moments
from sepfactor.factor.stage import Array
from sepfactor.threads import Executor, Threads, map_in_order, one_blas_thread

_SINGLE_FROM = 100
"""From so many entries per patch on, products are formed in float32 (and summed in float64).

That is enough to fit by; but an error read off such sums is uncertain by some 0.3 % of the spread of the
targets. So sums to judge by are formed in float64 up to ``_DOUBLE_TO`` entries.
"""

_DOUBLE_TO = 800


BATCH, _NUMBERS = 4096, 2**23
"""Patches collected before they are multiplied, and their numbers at most: few large products are faster than
many small ones."""

_IN_BLOCKS_FROM = 400
"""Entries per patch from which products are worth sharing out among cores."""

ROWS_FROM = 1000
"""Entries per patch from which on rows are kept while they are fewer; below, their matrix is small anyway."""


class MomentSums:
    """Adds up moments, batch by batch.

    Args:
        patch_shape: ``(in, *kernel)``, all groups together.
        group: number of groups. outs: output channels.
        precise: for reading small errors off.
        spread: whether the covariance of the targets is wanted too.
        executor: for products of wide patches; None for one core.
    """

    def __init__(
        self,
        patch_shape: tuple[int, ...],
        group: int,
        outs: int,
        precise: bool = False,
        spread: bool = False,
        *,
        executor: Executor | None = None,
    ) -> None:
        kernel_shape = (patch_shape[0] // group, *patch_shape[1:])
        d = math.prod(kernel_shape)
        self._kernel_shape, self._group = kernel_shape, group
        self._dtype = np.float32 if d >= (_DOUBLE_TO if precise else _SINGLE_FROM) else np.float64
        self._inputs = _Inputs(group, d, executor or Threads())
        self._batch = min(BATCH, max(1, _NUMBERS // (group * d)))
        self._yx = np.zeros((group, outs // group, d))
        self._x, self._y = np.zeros((group, d)), np.zeros(outs)
        self._yy, self._count = 0.0, 0
        self._spread = np.zeros((group, outs // group, outs // group)) if spread else None
        self._waiting: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        self._origin: tuple[Array, Array] | None = None
        self._made: Moments | None = None

    def add(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Add patches ``(n, in, *kernel)`` and their targets ``(n, out)``."""
        assert self._made is None
        self._waiting.append((x, y))
        if sum(len(rows) for rows, _ in self._waiting) >= self._batch:
            self._flush()

    @one_blas_thread()
    def _flush(self) -> None:
        if not self._waiting:
            return
        x, y = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting = []
        n = len(x)
        if not n:  # no row held numbers to compute with
            return
        rows = x.reshape(n, self._group, -1).transpose(1, 0, 2).astype(self._dtype)
        answers = y.reshape(n, self._group, -1).transpose(1, 0, 2).astype(self._dtype)
        if self._origin is None:  # sums around some mean keep their digits
            self._origin = (rows.mean(axis=1, dtype=np.float64), answers.mean(axis=1, dtype=np.float64))
        rows = rows - self._origin[0][:, None].astype(self._dtype)
        answers = answers - self._origin[1][:, None].astype(self._dtype)
        self._inputs.add(rows)
        flipped = np.swapaxes(answers, 1, 2)
        self._yx += flipped @ rows
        if self._spread is not None:
            self._spread += flipped @ answers
        self._x += rows.sum(axis=1, dtype=np.float64)
        self._y += answers.sum(axis=1, dtype=np.float64).reshape(-1)
        self._yy += float(np.sum(answers.astype(np.float64) ** 2))
        self._count += n

    def moments(self) -> Moments:
        """What has been added up, centred; nothing may be added from then on.

        The sums become the moments where they are: of wide layers either takes half a gigabyte.
        """
        if self._made is None:
            self._made = self._centred()
        return self._made

    def _centred(self) -> Moments:
        self._flush()
        n = max(self._count, 1)
        x, y = self._x / n, self._y / n
        ys = y.reshape(self._group, -1)
        _centre(self._yx, n, ys, x)
        origin = self._origin or (np.zeros_like(x), np.zeros_like(ys))
        return Moments(
            self._kernel_shape,
            self._inputs.centred(x),
            self._yx,
            max(self._yy / n - float(np.sum(y * y)), 0.0),
            x + origin[0],
            y + origin[1].reshape(-1),
            self._count,
            None if self._spread is None else self._spread / n - ys[:, :, None] * ys[:, None, :],
        )


class _Inputs:
    """Adds up the covariance of what is read; rows are kept as long as they are fewer than its entries."""

    def __init__(self, group: int, entries: int, executor: Executor) -> None:
        self._shape = (group, entries, entries)
        self._executor = executor
        self._rows: list[Any] = []
        self._count = 0
        self._sums = np.zeros(self._shape) if entries < ROWS_FROM else None

    def add(self, rows: Array) -> None:
        """Add ``(group, n, entries)``."""
        self._count += rows.shape[1]
        self._rows.append(rows)
        if self._sums is None and self._count >= self._shape[-1]:
            self._sums = np.zeros(self._shape)
        if self._sums is not None:
            for one in self._rows:
                self._add_products(self._sums, one)
            self._rows = []

    def _add_products(self, sums: Array, rows: Array) -> None:
        """``XᵀX`` of each group; of wide patches what is above the diagonal is left for later.

        There the two blocks on the diagonal take as long as the one below it, for they are symmetric: two
        cores share the work, and the sums have the same bits on any number.
        """
        if not self._in_blocks:
            sums += np.swapaxes(rows, 1, 2) @ rows
            return
        halves = self._halves
        parts = ([(0, 0), (1, 1)], [(1, 0)])

        def add(blocks: list[tuple[int, int]]) -> None:
            for i, j in blocks:
                one, other = rows[..., halves[i]], rows[..., halves[j]]
                sums[:, halves[i], halves[j]] += np.swapaxes(one, 1, 2) @ other

        map_in_order(self._executor, add, parts)

    @property
    def _in_blocks(self) -> bool:
        return self._shape[-1] >= _IN_BLOCKS_FROM

    @property
    def _halves(self) -> tuple[slice, slice]:
        middle = self._shape[-1] // 2
        return slice(middle), slice(middle, None)

    def centred(self, mean: Array) -> Covariance:
        """Around ``(group, entries)``; nothing may be added from then on."""
        if self._sums is not None:
            if self._in_blocks:
                first, second = self._halves
                self._sums[:, first, second] = np.swapaxes(self._sums[:, second, first], 1, 2)
            _centre(self._sums, max(self._count, 1), mean, mean)
            return Formed(self._sums)
        group, entries, _ = self._shape
        together = np.concatenate(self._rows or [np.zeros((group, 1, entries), np.float32)], axis=1)
        self._rows = []
        together -= mean[:, None].astype(np.float32)
        return OfRows(together, np.zeros(group))


class MovedTargets:
    """Moments after the targets moved: the inputs, and so the covariance, are as they were.

    Args:
        moments: with the targets where they were before.
    """

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._inputs = moments.x_mean.astype(np.float32).reshape(-1)
        self._answers = moments.y_mean.astype(np.float32)
        self._cross = np.zeros_like(moments.cross)
        self._sum = np.zeros_like(moments.y_mean)
        self._square, self._count = 0.0, 0
        self._spread = None if moments.spread is None else np.zeros_like(moments.spread)

    @one_blas_thread()
    def add(self, x: NDArray[np.float32], y: NDArray[np.float32], move: NDArray[np.float32]) -> None:
        """Add patches ``(n, in, *kernel)``, their targets ``(n, out)`` and by how much these moved."""
        n, group = len(x), self._moments.group
        rows = (x.reshape(n, -1) - self._inputs).reshape(n, group, -1).swapaxes(0, 1)
        self._cross += move.reshape(n, group, -1).transpose(1, 2, 0) @ rows
        self._sum += move.sum(axis=0, dtype=np.float64)
        answers = y + move - self._answers
        self._square += float(np.sum(np.square(answers), dtype=np.float64))
        if self._spread is not None:
            parts = answers.reshape(n, group, -1).swapaxes(0, 1)
            self._spread += np.swapaxes(parts, 1, 2) @ parts
        self._count += n

    def moments(self) -> Moments:
        """With the targets where they are now."""
        n = max(self._count, 1)
        shift = self._sum / n
        by_group = shift.reshape(self._moments.group, -1)
        spread = None if self._spread is None else self._spread / n - by_group[:, :, None] * by_group[:, None]
        return replace(
            self._moments,
            cross=self._moments.cross + self._cross / n,
            power=max(self._square / n - float(np.sum(shift * shift)), 0.0),
            y_mean=self._moments.y_mean + shift,
            spread=spread,
        )


def _centre(sums: Array, count: int, rows: Array, columns: Array) -> None:
    """From sums of products to covariances, in place and row by row."""
    sums /= count
    for one, left, right in zip(sums, rows, columns, strict=True):
        for k, value in enumerate(left):
            one[k] -= value * right
