"""Symmetric systems and roots of covariances, where rounding may have left them singular."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import scipy.linalg

from sepfactor.factor.stage import Array

Roots = tuple[Array, Array]
"""``R`` with ``RᵀR`` of a covariance, and its inverse."""

_CHOLESKY_FROM = 64
"""Rows of a covariance."""

_COLUMNS = 256
"""Of a matrix whose norm is wanted that are looked at at once."""


def solve(matrix: Array, right: Array) -> Array:
    """``matrix⁻¹ right`` of a symmetric non-negative matrix; what rounding leaves singular is damped."""
    scale = float(np.trace(matrix)) / len(matrix)
    if scale <= 0:
        return np.zeros_like(right)
    for power in (None, -12, -10, -8, -6, -4):
        damped = np.array(matrix, order="F")  # as LAPACK works, so that it needs no copy of its own
        damped[np.diag_indices(len(matrix))] += 0.0 if power is None else scale * 10.0**power
        try:
            factor = scipy.linalg.cho_factor(damped, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            continue
        if _reciprocal_condition(factor[0], matrix) < len(matrix) * np.finfo(np.float64).eps:
            continue  # a pivot that is rounding: by luck above zero
        found: Array = scipy.linalg.cho_solve(factor, right, check_finite=False)
        if np.isfinite(found).all():
            return found
    return np.zeros_like(right)


def _reciprocal_condition(factor: Array, matrix: Array) -> float:
    """Estimate of ``1 / (‖A‖ ‖A⁻¹‖)`` in the 1-norm from the Cholesky factor of ``A`` (Higham 1988)."""
    estimate = scipy.linalg.lapack.dpocon if factor.dtype == np.float64 else scipy.linalg.lapack.spocon
    columns = (np.abs(matrix[:, k : k + _COLUMNS]).sum(axis=0).max() for k in range(0, len(matrix), _COLUMNS))
    found, _ = estimate(factor, max(columns))
    return float(found)


def roots(covariance: Array, floor: float = 1e-6) -> Roots:
    """``R`` with ``RᵀR`` of each ``(..., n, n)`` covariance, and its inverse.

    Variances below ``floor`` of the mean one are lifted to it: directions never seen carry no
    weight, but must not be blown up on the way back. Of large ones ``R`` is the Cholesky factor, many times
    faster than a symmetric root, and all are lifted by that.
    """
    if covariance.shape[-1] >= _CHOLESKY_FROM:
        with suppress(np.linalg.LinAlgError):  # rounding of sums in float32 may make one indefinite
            return _triangular_roots(covariance, floor)
    values, vectors = np.linalg.eigh(covariance)
    mean = np.maximum(values.mean(axis=-1, keepdims=True), 0.0)
    lifted = np.where(mean > 0, np.maximum(values, floor * mean), 1.0)
    flipped = np.swapaxes(vectors, -1, -2)
    root = (vectors * np.sqrt(lifted)[..., None, :]) @ flipped
    inverse = (vectors / np.sqrt(lifted)[..., None, :]) @ flipped
    return root, inverse


def _triangular_roots(covariance: Array, floor: float) -> Roots:
    size = covariance.shape[-1]
    inverses, uppers = [], []
    for one in covariance.reshape(-1, size, size):
        mean = float(np.trace(one, dtype=np.float64)) / size
        lifted = one.astype(np.float64)
        lifted[np.diag_indices(size)] += floor * mean if mean > 0 else 1.0
        upper = scipy.linalg.cholesky(lifted, overwrite_a=True, check_finite=False)
        inverse, _ = scipy.linalg.lapack.dtrtri(upper)
        uppers.append(upper.astype(covariance.dtype))
        inverses.append(inverse.astype(covariance.dtype))
    return np.stack(uppers).reshape(covariance.shape), np.stack(inverses).reshape(covariance.shape)
