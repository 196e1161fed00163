"""Covariance of what a convolution reads, ``C`` ``(D, D)`` per group: as a matrix, or as the rows it is of.

A layer may read more entries ``D`` than rows ``n`` were seen. ``C`` is then never formed, since with the
centred rows ``X`` ``(n, D)`` and a ridge ``λ``::

    C = XᵀX / n + λI        F C = (F Xᵀ) X / n + λF        G C⁻¹ = (G − G Xᵀ (XXᵀ + nλI)⁻¹ X) / λ

The last is Woodbury's identity: a system of ``n`` in place of ``D``.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sepfactor.factor.solving import solve
from sepfactor.factor.stage import Array

Single = NDArray[np.float32]
Places = NDArray[np.intp]

_AT_ONCE = 2**22
"""Numbers of the rows that are in double precision at once."""

_LEAST_RIDGE = 1e-8
"""Of the mean variance, for solving with rows: what they do not show has none of its own."""


class Covariance(Protocol):
    """Of what each group reads."""

    @property
    def group(self) -> int:
        """Number of groups."""

    @property
    def entries(self) -> int:
        """``D``, per group."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """In which products are formed."""

    @property
    def matrix(self) -> Array:
        """``(group, D, D)``; it may have to be formed."""

    def variance(self) -> Array:
        """``(group,)``, of all entries together."""

    def times(self, kernels: Array) -> Array:
        """``F C`` of ``(group, o, D)``."""

    def of_answers(self, kernels: Array) -> Array:
        """``F C Fᵀ`` of ``(group, o, D)``."""

    def between(self, entries: Places) -> Array:
        """``(group, m, m)``: the part of ``C`` that is of so many of the ``D`` entries; not to be changed."""

    def solved(self, kernels: Array) -> Array:
        """``G C⁻¹`` of ``(group, o, D)``; what is singular is damped."""

    def ridged(self, ridge: Array) -> Covariance:
        """With ``ridge`` ``(group,)`` on the diagonals."""

    def of_group(self, number: int) -> Covariance:
        """That of one group."""

    def single(self) -> Covariance:
        """With products in single precision: twice as fast."""

    def averaged(self, shape: Sequence[int], kept: Sequence[int]) -> Array:
        """``(group, m, m)``: between entries that differ on ``kept`` axes of ``shape``; the mean over others.

        Args:
            shape: how the ``D`` entries are laid out.
            kept: axes of it, whose sizes multiply to ``m``.
        """

    def per_channel(self, channels: int) -> Array:
        """``(group, channels, k, k)``: within each of so many parts of equal size, in their order."""


@dataclass(frozen=True, eq=False)
class Formed:
    """As matrices ``(group, D, D)``."""

    matrix: Array

    @property
    def group(self) -> int:
        return len(self.matrix)

    @property
    def entries(self) -> int:
        return int(self.matrix.shape[-1])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.matrix.dtype

    def variance(self) -> Array:
        traces: Array = np.trace(self.matrix, axis1=1, axis2=2)
        return traces

    def times(self, kernels: Array) -> Array:
        return kernels @ self.matrix

    def of_answers(self, kernels: Array) -> Array:
        return self.times(kernels) @ np.swapaxes(kernels, -1, -2)

    def between(self, entries: Places) -> Array:
        if np.array_equal(entries, np.arange(self.entries)):
            return self.matrix
        return self.matrix[:, entries[:, None], entries]

    def solved(self, kernels: Array) -> Array:
        found = [solve(c, g.T).T for c, g in zip(self.matrix, kernels, strict=True)]
        return np.stack(found)

    def ridged(self, ridge: Array) -> Covariance:
        made = self.matrix.copy()
        np.einsum("gii->gi", made)[:] += ridge[:, None]
        return Formed(made)

    def of_group(self, number: int) -> Covariance:
        return Formed(self.matrix[number : number + 1])

    def single(self) -> Covariance:
        matrix: Any = self.matrix.astype(np.float32)
        return Formed(matrix)

    def averaged(self, shape: Sequence[int], kept: Sequence[int]) -> Array:
        one = string.ascii_lowercase[: len(shape)]
        other = "".join(letter.upper() if axis in kept else letter for axis, letter in enumerate(one))
        wanted = "".join([side[axis] for side in (one, other) for axis in kept])
        size = math.prod(shape[axis] for axis in kept)
        taps = self.matrix.reshape(self.group, *shape, *shape)
        total: Array = np.einsum(f"...{one}{other}->...{wanted}", taps)
        return total.reshape(self.group, size, size) / (self.entries // size)

    def per_channel(self, channels: int) -> Array:
        k = self.entries // channels
        taps = self.matrix.reshape(self.group, channels, k, channels, k)
        own: Array = np.einsum("gikil->gikl", taps)
        return own


@dataclass(frozen=True, eq=False)
class OfRows:
    """As the rows seen, ``n`` of them, fewer than a row has entries.

    Attributes:
        rows: ``(group, n, D)``, centred.
        ridge: ``(group,)``, on the diagonals.
        dtype: in which products are formed; sums over many rows are in double precision.
        known: ``XXᵀ / n``, once it was asked for: ridges do not change it.
    """

    rows: Single
    ridge: Array
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.float64))
    known: list[Array] = field(default_factory=list, repr=False)

    @property
    def group(self) -> int:
        return len(self.rows)

    @property
    def entries(self) -> int:
        return int(self.rows.shape[-1])

    @property
    def matrix(self) -> Array:
        eye: Array = np.eye(self.entries, dtype=self.dtype)
        return self.times(np.broadcast_to(eye, (self.group, *eye.shape)))

    def variance(self) -> Array:
        squares = [np.einsum("nd,nd->", one, one, dtype=np.float64) for one in self.rows]
        seen: Array = np.array(squares) / self.rows.shape[1]
        return seen + self.entries * self.ridge

    def times(self, kernels: Array) -> Array:
        ridge = self.ridge.astype(self.dtype)
        found = [self._seen(k, x) + r * k for k, x, r in zip(kernels, self.rows, ridge, strict=True)]
        return np.stack(found)

    def _seen(self, kernels: Array, rows: Single) -> Array:
        """``F XᵀX / n`` of ``(o, D)``."""
        total = np.zeros(kernels.shape, self.dtype)
        for x in self._parts(rows):
            total += (kernels @ x.T) @ x
        total /= len(rows)
        return total

    def _parts(self, rows: Single) -> Iterator[Array]:
        count = max(1, _AT_ONCE // self.entries) if self.dtype == np.float64 else len(rows)
        for begin in range(0, len(rows), count):
            yield rows[begin : begin + count].astype(self.dtype, copy=False)

    def _answers(self, kernels: Array, rows: Single) -> Array:
        """``F Xᵀ`` of ``(o, D)``."""
        return np.concatenate([kernels @ x.T for x in self._parts(rows)], axis=1)

    def of_answers(self, kernels: Array) -> Array:
        found = []
        for k, x, ridge in zip(kernels, self.rows, self.ridge.astype(self.dtype), strict=True):
            answers = self._answers(k, x)
            found.append(answers @ answers.T / len(x) + ridge * (k @ k.T))
        return np.stack(found)

    def between(self, entries: Places) -> Array:
        found = []
        for x, ridge in zip(self.rows, self.ridge, strict=True):
            total = np.zeros((len(entries), len(entries)), self.dtype)
            for part in self._parts(x):
                some = part[:, entries]
                total += some.T @ some
            total /= len(x)
            total[np.diag_indices(len(entries))] += ridge
            found.append(total)
        return np.stack(found)

    def solved(self, kernels: Array) -> Array:
        double = replace(self, dtype=np.dtype(np.float64))
        least = _LEAST_RIDGE * double.variance() / self.entries
        grams = self.known or [double._gram(x) for x in self.rows]
        self.known[:] = grams
        found = []
        for g, x, gram, r in zip(kernels, self.rows, grams, np.maximum(self.ridge, least), strict=True):
            if r <= 0:
                found.append(np.zeros_like(g))
                continue
            system = gram.copy()
            system[np.diag_indices(len(x))] += r
            missed = solve(system, double._answers(g, x).T).T / len(x)
            back = g.astype(np.float64)
            at = 0
            for part in double._parts(x):
                back -= missed[:, at : at + len(part)] @ part
                at += len(part)
            found.append(back / r)
        return np.stack(found)

    def _gram(self, rows: Single) -> Array:
        """``XXᵀ / n``."""
        total = np.zeros((len(rows), len(rows)))
        count = max(1, _AT_ONCE // len(rows))
        for begin in range(0, self.entries, count):
            x = rows[:, begin : begin + count].astype(np.float64)
            total += x @ x.T
        total /= len(rows)
        return total

    def ridged(self, ridge: Array) -> Covariance:
        return replace(self, ridge=self.ridge + ridge)

    def of_group(self, number: int) -> Covariance:
        one = slice(number, number + 1)
        return replace(self, rows=self.rows[one], ridge=self.ridge[one], known=self.known[one])

    def single(self) -> Covariance:
        return replace(self, dtype=np.dtype(np.float32))

    def averaged(self, shape: Sequence[int], kept: Sequence[int]) -> Array:
        group, count = self.rows.shape[:2]
        size = math.prod(shape[axis] for axis in kept)
        others = [axis for axis in range(len(shape)) if axis not in kept]
        order = [0, *(2 + axis for axis in others), 1, *(2 + axis for axis in kept)]
        taps = self.rows.reshape(group, count, *shape).transpose(order)
        total = np.zeros((group, size, size))
        places = [*np.ndindex(*(shape[axis] for axis in others))]
        for place in places:
            x = taps[(slice(None), *place)].reshape(group, count, size)
            total += np.swapaxes(x, 1, 2) @ x
        total /= len(places) * count
        np.einsum("gii->gi", total)[:] += self.ridge[:, None]
        return total.astype(self.dtype, copy=False)

    def per_channel(self, channels: int) -> Array:
        group, count = self.rows.shape[:2]
        x = self.rows.reshape(group, count, channels, -1).transpose(0, 2, 3, 1)
        own: Array = (x @ np.swapaxes(x, 2, 3)).astype(self.dtype) / count
        np.einsum("gikk->gik", own)[:] += self.ridge[:, None, None].astype(self.dtype)
        return own
