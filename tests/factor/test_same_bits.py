"""What is summed up from data has the same bits on any number of cores, without any limit around it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_SUMS = """
import hashlib
import numpy as np
from sepfactor.factor import Factorization, weight_error
from sepfactor.factor.moment_sums import MomentSums, MovedTargets
from sepfactor.factor.spatial import VERTICAL_FIRST
from sepfactor.factor.statistics import Statistics
from tests.strategies import normal, unpadded

stage = unpadded(normal(0, 96, 48, 3, 3))
patches = normal(1, 4001, *stage.weight.shape[1:]).astype(np.float32)
sample = Statistics(patches)
sums = MomentSums(stage.weight.shape[1:], 1, 96, spread=True)
answers = sample.outputs(stage.weight, 1)
sums.add(patches, answers)
moments = sums.moments()
moved = MovedTargets(moments)
moved.add(patches, answers, 0.1 * answers)
replacement = Factorization(VERTICAL_FIRST.decompose(stage).build((20,)))
found = [answers, moments.covariance, moments.cross, moments.spread, moved.moments().cross]
found += [replacement.dense().weight, np.float64(weight_error(stage, replacement))]
print(*(hashlib.sha256(np.ascontiguousarray(array)).hexdigest() for array in found))
"""
_LIMITS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def _hashes(code: str, threads: str | None, core: int | None) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in _LIMITS}
    if threads is not None:
        environment |= dict.fromkeys(_LIMITS, threads)
    pinned = f"import os; os.sched_setaffinity(0, [{core}])\n" if core is not None else ""
    done = subprocess.run(
        [sys.executable, "-c", pinned + code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="processes cannot be pinned here")
def test_on_any_number_of_cores() -> None:
    core = min(os.sched_getaffinity(0))
    found = {_hashes(_SUMS, *limit) for limit in ((None, None), ("1", None), ("3", None), (None, core))}
    assert len(found) == 1
