"""Low-rank and Tucker approximation of (stacks of) matrices, by symmetric eigendecompositions."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg

from sepfactor.factor.covariance import Covariance
from sepfactor.factor.solving import Roots
from sepfactor.factor.stage import Array

LowRankFactors = Callable[[int], tuple[Array, Array]]
TuckerFactors = Callable[[tuple[int, int]], tuple[Array, Array, Array]]
"""Factors, or their outline, at a rank."""


class Left:
    """Left singular vectors and values of a ``(..., m, n)`` matrix; the vectors once they are asked for.

    Most forms are compared by what they leave out, and few are built.

    Args:
        energy: ``(..., k)`` squared singular values, strongest first.
        find: the vectors ``(..., m, k)``.
    """

    def __init__(self, energy: Array, find: Callable[[], Array]) -> None:
        self.energy = energy
        self._find: Callable[[], Array] | None = find

    @classmethod
    def of(cls, gram: Array) -> Left:
        """From the Gram ``(..., m, m)``, several times faster than by an SVD.

        Singular values below about 1e-8 of the largest are lost to rounding: well under the 1e-7 of the
        float32 weights that are factored. Projections built from the basis stay accurate to rounding.
        """
        if gram.shape[-1] < _LARGE:
            values, vectors = np.linalg.eigh(gram)
            return cls(np.maximum(values[..., ::-1], 0.0), lambda: vectors[..., ::-1])
        values = _stacked(_eigenvalues, gram)
        return cls(np.maximum(values[..., ::-1], 0.0), lambda: _stacked(_eigenvectors, gram)[..., ::-1])

    @property
    def vectors(self) -> Array:
        """``(..., m, k)``, strongest first."""
        if self._find is not None:
            self._vectors, self._find = self._find(), None  # which holds what they were found from
        return self._vectors


def leading(matrix: Array) -> Left:
    """Left singular vectors and squared singular values of ``(..., m, n)``, strongest first."""
    gram = matrix @ np.swapaxes(matrix, -1, -2)
    known = _remembered.known
    if known is None or gram.shape[-1] < _LARGE:
        return Left.of(gram)
    key = hashlib.blake2b(np.ascontiguousarray(gram).data).digest()
    found = known.pop(key, None) or Left.of(gram)
    known[key] = found  # behind those that were asked for less lately
    while len(known) > _REMEMBERED:
        del known[next(iter(known))]
    return found


_LARGE = 256
"""Rows of a Gram from which on it is worth remembering, and its vectors are worth putting off."""

_REMEMBERED = 4


def _eigenvalues(gram: Array) -> Array:
    """A quarter of the work of finding vectors too; scipy's way takes half of numpy's time."""
    found: Any = scipy.linalg.eigvalsh(gram, check_finite=False)
    return found  # type: ignore[no-any-return]


def _eigenvectors(gram: Array) -> Array:
    found: Any = scipy.linalg.eigh(gram, driver="evd", check_finite=False)
    return found[1]  # type: ignore[no-any-return]


def _stacked(of: Callable[[Array], Array], matrices: Array) -> Array:
    """What ``of`` makes of each of ``(..., m, m)``."""
    found = np.stack([of(one) for one in matrices.reshape(-1, *matrices.shape[-2:])])
    return found.reshape(*matrices.shape[:-2], *found.shape[1:])


class _Remembered(threading.local):
    known: dict[bytes, Left] | None = None


_remembered = _Remembered()


@contextmanager
def remembered() -> Iterator[None]:
    """Around work on one layer: several schemes decompose the same matrix, which then is done once."""
    _remembered.known = {}
    try:
        yield
    finally:
        _remembered.known = None


def balanced(left: Array, right: Array) -> tuple[Array, Array]:
    """Share the scale of ``left @ right`` evenly: each middle channel gets equal norms on both sides.

    ``left``: ``(..., m, r)``, ``right``: ``(..., r, n)``. Balanced factors keep float16 in range
    and spread rounding evenly.
    """
    before = np.linalg.norm(left, axis=-2)
    after = np.linalg.norm(right, axis=-1)
    safe = (before > 0) & (after > 0)
    ratio = np.sqrt(np.divide(after, before, out=np.ones_like(after), where=safe))
    return left * ratio[..., None, :], right / ratio[..., :, None]


@dataclass(frozen=True, eq=False)
class LowRank:
    """The best rank-``r`` approximations of a stack of matrices, for every ``r`` (Eckart–Young).

    Attributes:
        matrix: ``(..., m, n)``.
        side: singular vectors and values of the shorter side.
        on_left: whether that is the left one.
        unwhiten: what takes the whitened sides back.
    """

    matrix: Array
    side: Left
    on_left: bool = True
    unwhiten: tuple[Array | None, Array | None] = (None, None)

    @classmethod
    def of(cls, matrix: Array, left: Roots | None = None, right: Roots | None = None) -> LowRank:
        """Best in the Frobenius norm, or in the metric of covariances of the two sides.

        Args:
            matrix: ``(..., m, n)``.
            left: roots of the covariance ``(..., m, m)`` of what multiplies the matrix from the left.
            right: roots of the covariance ``(..., n, n)`` of what multiplies it from the right.
        """
        undo: list[Array | None] = [None, None]
        if left is not None:
            root, undo[0] = left
            matrix = root @ matrix
        if right is not None:
            root, undo[1] = right
            matrix = matrix @ np.swapaxes(root, -1, -2)
        wide = matrix.shape[-2] <= matrix.shape[-1]
        side = leading(matrix if wide else np.swapaxes(matrix, -1, -2))
        return cls(matrix, side, wide, (undo[0], undo[1]))

    @classmethod
    def seen_through(cls, matrix: Array, covariance: Covariance) -> LowRank:
        """Best for ``matrix @ x`` where ``x`` ``(n,)`` has this covariance.

        No root of it is needed, but where there are so many answers that their own covariance is far larger.
        """
        m, n = matrix.shape[-2:]
        if m >= _MANY and m > 2 * n:
            return cls(matrix, _by_the_inputs(matrix, covariance.matrix))
        full, found = min(m, n), Left.of(covariance.of_answers(matrix))
        return cls(matrix, Left(found.energy[..., :full], lambda: found.vectors[..., :full]))

    def factors(self, rank: int) -> tuple[Array, Array]:
        """``left (..., m, rank)`` and ``right (..., rank, n)``, balanced."""
        kept = self.side.vectors[..., :rank]
        flipped = np.swapaxes(kept, -1, -2)
        left, right = (kept, flipped @ self.matrix) if self.on_left else (self.matrix @ kept, flipped)
        before, after = self.unwhiten
        if before is not None:
            left = before @ left
        if after is not None:
            right = right @ np.swapaxes(after, -1, -2)
        return balanced(left, right)

    def outline(self, rank: int) -> tuple[Array, Array]:
        """Zeros in the shape of :meth:`factors`, for which nothing is looked for."""
        *stack, m, n = self.matrix.shape
        return np.zeros((*stack, m, rank)), np.zeros((*stack, rank, n))

    def squared_error(self) -> Array:
        """``error[r]``: share of the energy left out at rank ``r = 0 … min(m, n)``, over the whole stack."""
        return relative(_tail(self.side.energy.reshape(-1, self.side.energy.shape[-1]).sum(axis=0)))


_MANY = 1024
"""Answers from which on a decomposition by the inputs is worth its root of their covariance."""


def _by_the_inputs(matrix: Array, covariance: Array) -> Left:
    """``n`` vectors and values of the answers, in ``O(m·n²)`` in place of ``O(m³)``."""
    values, vectors = np.linalg.eigh(covariance)
    orthonormal, small = np.linalg.qr(matrix @ (vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]))
    left, strongest, _ = np.linalg.svd(small)
    return Left(strongest**2, lambda: orthonormal @ left)


@dataclass(frozen=True, eq=False)
class Tucker:
    """Truncations of two modes of ``(..., a, c, b)`` tensors, for every pair of ranks.

    The truncated higher-order SVD (De Lathauwer, De Moor & Vandewalle 2000): bases of the two modes
    from their unfoldings, the core by projection. A smaller rank is a prefix of a larger one, so one
    decomposition yields the errors of all pairs.

    Attributes:
        first: ``(..., a, a)`` basis of the first mode. last: ``(..., b, b)`` basis of the last.
        core: ``(..., a, c, b)``, in the metric decomposed in.
        build_core: the same in plain coordinates, where the metric is another.
    """

    first: Array
    last: Array
    core: Array
    build_core: Array | None = None

    @classmethod
    def of(cls, tensor: Array, first: Roots | None = None, middle: Roots | None = None) -> Tucker:
        """Of ``(..., a, c, b)``, in the metric of covariances of the first two modes if given as roots."""
        *stack, a, c, b = tensor.shape
        if first is None or middle is None:
            return cls._of(tensor)
        (root, undo), (inner, undo_inner) = first, middle
        whitened = (root @ tensor.reshape(*stack, a, c * b)).reshape(tensor.shape)
        whitened = np.einsum("...acb,...dc->...adb", whitened, inner)
        found = cls._of(whitened)
        core = np.einsum("...acb,...dc->...adb", found.core, undo_inner)
        return replace(found, first=undo @ found.first, build_core=core)

    @classmethod
    def _of(cls, tensor: Array) -> Tucker:
        *stack, a, c, b = tensor.shape
        first = leading(np.swapaxes(tensor, -1, -2).reshape(*stack, a, b * c)).vectors
        last = leading(np.moveaxis(tensor, -1, -3).reshape(*stack, b, a * c)).vectors
        rows = np.swapaxes(first, -1, -2) @ tensor.reshape(*stack, a, c * b)
        core = rows.reshape(*stack, a * c, b) @ last
        return cls(first, last, core.reshape(tensor.shape))

    def factors(self, rank: tuple[int, int]) -> tuple[Array, Array, Array]:
        """``first (..., a, r1)``, ``core (..., r1, c, r2)``, ``last (..., r2, b)``.

        The core's scale is shared out to all three by the cube root.
        """
        r1, r2 = rank
        whole = self.core if self.build_core is None else self.build_core
        core = whole[..., :r1, :, :r2]
        scale = np.cbrt(np.sqrt(np.mean(core**2, axis=(-1, -2, -3), keepdims=True)))
        scale = np.where(scale > 0, scale, 1.0)
        thin = scale[..., 0]
        last = np.swapaxes(self.last[..., :r2], -1, -2)
        return self.first[..., :r1] * thin, core / scale**2, last * thin

    def outline(self, rank: tuple[int, int]) -> tuple[Array, Array, Array]:
        """Zeros in the shape of :meth:`factors`."""
        (*stack, a, c, b), (r1, r2) = self.core.shape, rank
        return np.zeros((*stack, a, r1)), np.zeros((*stack, r1, c, r2)), np.zeros((*stack, r2, b))

    def squared_error(self) -> Array:
        """``error[r1, r2]``: share of the energy left out, for all pairs of ranks from 0."""
        a, c, b = self.core.shape[-3:]
        squares = (self.core.reshape(-1, a, c, b) ** 2).sum(axis=(0, 2))
        return relative(_tail_2d(squares))


def relative(tail: Array) -> Array:
    """Divide by the whole (the entry at rank 0); an all-zero kernel has no error at any rank."""
    whole = tail.flat[0]
    return tail / whole if whole > 0 else np.zeros_like(tail)


def _tail(energy: Array) -> Array:
    """``tail[r]``: the sum of ``energy[r:]``, added from the smallest up so that it keeps its digits."""
    return np.append(np.cumsum(energy[::-1])[::-1], 0.0)


def _tail_2d(squares: Array) -> Array:
    """``tail[a, b]``: the sum of ``squares`` outside its leading ``a × b`` block.

    Added up as *rows from a on* plus *columns from b on within the first a rows*: no cancellation.
    """
    rows, columns = squares.shape
    right = np.zeros((rows, columns + 1))
    right[:, :-1] = np.cumsum(squares[:, ::-1], axis=1)[:, ::-1]
    below = np.append(np.cumsum(right[::-1, 0])[::-1], 0.0)
    beside = np.vstack([np.zeros(columns + 1), np.cumsum(right, axis=0)])
    total: Array = below[:, None] + beside
    return total
