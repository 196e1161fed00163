"""How many threads numpy's matrix products may take."""

from __future__ import annotations

from contextlib import AbstractContextManager

from threadpoolctl import threadpool_limits

_WORTH_IT = 1500
"""Rows of a square matrix from which a second thread gains more than it costs."""


def blas_threads(size: int) -> AbstractContextManager[object]:
    """One thread while matrices are smaller than ``size × size`` suggests, all of them beyond.

    Small products on many threads are slower even on an idle machine, and ten times slower on a busy
    one, where the threads spin waiting for each other.
    """
    limits: AbstractContextManager[object] = threadpool_limits(  # type: ignore[no-untyped-call]
        None if size >= _WORTH_IT else 1, user_api="blas"
    )
    return limits
