"""Second moments of what a convolution reads and what it should answer: all that least squares needs.

For patches ``x`` (``D`` entries per group) and targets ``y``, centred::

    C = Cov(x)   (D, D)        B = Cov(y, x)   (O, D)        power = Σ_o Var(y_o)
    E‖y − ȳ − F (x − x̄)‖² = power − 2 ⟨F, B⟩ + ⟨F C, F⟩        best bias: b = ȳ − F x̄

So any kernel ``F`` is judged, and any factor of it fitted, without going back to the data. Of few rows ``C``
is kept as these (:mod:`~sepfactor.factor.covariance`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.factor.covariance import Covariance, Formed, OfRows
from sepfactor.factor.solving import Roots, roots
from sepfactor.factor.stage import Array
from sepfactor.threads import one_blas_thread

_SINGLE_FROM = 100
"""From so many entries per patch on, products are formed in float32 (and summed in float64).

That is enough to fit by; but an error read off such sums is uncertain by some 0.3 % of the spread of the
targets. So sums to judge by are formed in float64 up to ``_DOUBLE_TO`` entries.
"""

_DOUBLE_TO = 800


BATCH, _NUMBERS = 4096, 2**23
"""Patches collected before they are multiplied, and their numbers at most: few large products are faster than
many small ones."""

ROWS_FROM = 1000
"""Entries per patch from which on rows are kept while they are fewer; below, their matrix is small anyway."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of one convolution, per group.

    Attributes:
        kernel_shape: ``(in/group, *kernel)``: how the ``D`` entries of a patch are laid out.
        inputs: ``C``.
        cross: ``(group, out/group, D)``.
        power: total variance of the targets.
        x_mean: ``(group, D)``. y_mean: ``(out,)``.
        count: patches seen.
        spread: ``(group, out/group, out/group)``, covariance of the targets, where it was asked for.
        known: roots of averages over the covariance, kept as they are asked for.
    """

    kernel_shape: tuple[int, ...]
    inputs: Covariance
    cross: Array
    power: float
    x_mean: Array
    y_mean: Array
    count: int
    spread: Array | None = None
    known: dict[tuple[int, ...], Roots] = field(default_factory=dict, repr=False)

    @property
    def group(self) -> int:
        """Number of groups."""
        return self.inputs.group

    @property
    def covariance(self) -> Array:
        """``C`` as a matrix ``(group, D, D)``, which may have to be formed."""
        return self.inputs.matrix

    def split(self, weight: Array) -> Array:
        """A kernel ``(out, in/group, *kernel)`` as ``(group, out/group, D)``."""
        return weight.reshape(self.group, -1, self.inputs.entries)

    def error(self, weight: Array, bias: Array | None = None) -> float:
        """Relative output error: root of the mean square missed over the variance of the targets.

        Without a bias, with the best one.
        """
        missed = max(self.loss(weight), 0.0)
        if bias is not None:
            missed += float(np.sum((self.bias(weight) - bias) ** 2))
        return math.sqrt(missed / self.power) if self.power > 0 else 0.0

    def loss(self, weight: Array) -> float:
        """``E‖y − ȳ − F (x − x̄)‖²``."""
        f = self.split(weight)
        return self.power + float(np.sum(f * (self.inputs.times(f) - 2.0 * self.cross)))

    def bias(self, weight: Array) -> Array:
        """``ȳ − F x̄``, ``(out,)``: with it the mean of the answer is exact."""
        answered: Array = np.einsum("god,gd->go", self.split(weight), self.x_mean).reshape(-1)
        return self.y_mean - answered

    def ridged(self, anchor: Array, share: float) -> Moments:
        """The same with ``share`` of the mean variance of ``x`` added as a ridge towards ``anchor``.

        Least squares on these moments is ridge regression towards the kernel ``anchor``.
        """
        each = share * self.inputs.variance() / self.inputs.entries
        ridge, f = each[:, None, None], self.split(anchor)
        ridged = replace(
            self,
            inputs=self.inputs.ridged(each),
            cross=self.cross + ridge * f,
            power=self.power + float(np.sum(ridge * f * f)),
            known={},
        )
        if self.spread is None:
            return ridged
        return replace(ridged, spread=self.spread + ridge * f @ np.swapaxes(f, 1, 2))

    def turned(self, left: Array) -> Moments:
        """With ``left @ y`` as targets, for ``(group, out/group, out/group)``; needs the spread."""
        assert self.spread is not None
        spread = left @ self.spread @ np.swapaxes(left, 1, 2)
        return replace(
            self,
            cross=left @ self.cross,
            y_mean=(left @ self.y_mean.reshape(*left.shape[:2], 1)).reshape(-1),
            power=float(np.einsum("goo->", spread)),
            spread=spread,
        )

    def target(self) -> Array:
        """``(out, in/group, *kernel)``: the least-squares map from ``x`` to ``y``."""
        return self.inputs.solved(self.cross).reshape(-1, *self.kernel_shape)

    def channels(self) -> Array:
        """``(group, in, in)``: covariance between channels at one tap, averaged over taps."""
        return self.inputs.averaged(self.kernel_shape, [0])

    def strips(self, axes: Sequence[int]) -> Array:
        """``(group, in·k, in·k)``: covariance of patches one tap wide along all other axes, averaged.

        ``k`` counts the taps on ``axes``.
        """
        return self.inputs.averaged(self.kernel_shape, [0, *(1 + axis for axis in axes)])

    def strip_roots(self, axes: Sequence[int] = ()) -> Roots:
        """Roots of :meth:`strips`, or without axes of :meth:`channels`: many forms need these, and wait."""
        key = tuple(axes)
        if key not in self.known:
            self.known[key] = roots(self.strips(key))
        return self.known[key]

    def single(self) -> Moments:
        """With a covariance of single precision, for decompositions to be compared: twice as fast."""
        return replace(self, inputs=self.inputs.single(), known={})

    def taps_on(self, axes: Sequence[int]) -> Array:
        """``(group, k, k)``: covariance of taps along ``axes``, averaged over channels and all other axes."""
        return self.inputs.averaged(self.kernel_shape, [1 + axis for axis in axes])

    def neighbour_correlation(self) -> float | None:
        """Correlation of pixels side by side, pooled over channels; None for 1×1 kernels or no variance."""
        own = self.per_channel()
        variance = np.einsum("gikk->gik", own).reshape(-1, *self.kernel_shape[1:])
        grid = np.arange(own.shape[-1]).reshape(self.kernel_shape[1:])
        lines = [np.moveaxis(grid, axis, 0) for axis in range(grid.ndim)]
        pairs = np.concatenate([np.stack([line[:-1].ravel(), line[1:].ravel()], axis=1) for line in lines])
        if not len(pairs) or variance.mean() <= 0:
            return None
        return float(own[..., pairs[:, 0], pairs[:, 1]].mean() / variance.mean())

    def channel_correlation(self) -> float | None:
        """Mean absolute correlation of two channels at one pixel; None where there is one channel."""
        covariance = self.channels()
        deviation = np.sqrt(np.einsum("gii->gi", covariance))
        scale = deviation[:, :, None] * deviation[:, None, :]
        apart = ~np.eye(covariance.shape[-1], dtype=bool) & (scale > 0)
        if not apart.any():
            return None
        return float(np.mean(np.abs(covariance[apart] / scale[apart])))

    def per_channel(self) -> Array:
        """``(group, in, k, k)``: covariance between the taps of each channel."""
        return self.inputs.per_channel(self.kernel_shape[0])


class MomentSums:
    """Adds up moments, batch by batch.

    Args:
        patch_shape: ``(in, *kernel)``, all groups together.
        group: number of groups. outs: output channels.
        precise: for reading small errors off.
        spread: whether the covariance of the targets is wanted too.
    """

    def __init__(
        self,
        patch_shape: tuple[int, ...],
        group: int,
        outs: int,
        precise: bool = False,
        spread: bool = False,
    ) -> None:
        kernel_shape = (patch_shape[0] // group, *patch_shape[1:])
        d = math.prod(kernel_shape)
        self._kernel_shape, self._group = kernel_shape, group
        self._dtype = np.float32 if d >= (_DOUBLE_TO if precise else _SINGLE_FROM) else np.float64
        self._inputs = _Inputs(group, d)
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

    def __init__(self, group: int, entries: int) -> None:
        self._shape = (group, entries, entries)
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
                self._sums += np.swapaxes(one, 1, 2) @ one
            self._rows = []

    def centred(self, mean: Array) -> Covariance:
        """Around ``(group, entries)``; nothing may be added from then on."""
        if self._sums is not None:
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
