"""Factors put away are those that were put away, and outlines of them know all but their numbers."""

from __future__ import annotations

import numpy as np
import pytest

from sepfactor.factor import Chain, Factorization, Stage
from sepfactor.memory import Pool
from sepfactor.search.stored import StoredFactorization
from tests.graph.build import normal


def pair() -> Factorization:
    """Two stages of some kilobytes each, with a bias."""
    ones = (1, 1)
    tall = Stage(normal(32, 64, 3, 1), ones, ((1, 1), (0, 0)), ones)
    wide = Stage(normal(64, 32, 1, 3), ones, ((0, 0), (1, 1)), ones)
    return Factorization((Chain((tall, wide)),), normal(64))


@pytest.mark.parametrize("room", [0, 2**30])
def test_factors_come_back_as_they_were(room: int) -> None:
    pool, factors = Pool(room), pair()
    found = StoredFactorization(factors, pool).load()
    for one, other in zip(found.stages, factors.stages, strict=True):
        np.testing.assert_array_equal(one.weight, other.weight)
        assert (one.pads, one.strides, one.group) == (other.pads, other.strides, other.group)
    np.testing.assert_array_equal(found.bias, factors.bias)


def test_they_are_in_the_temporary_file_where_there_is_no_room() -> None:
    pool, factors = Pool(0), pair()
    stored = StoredFactorization(factors, pool)
    assert pool.held == 0
    assert pool.put_away == sum(stage.weight.nbytes for stage in factors.stages)
    del stored


def test_room_is_free_again_when_they_go() -> None:
    pool = Pool()
    stored = StoredFactorization(pair(), pool)
    assert pool.held > 0
    del stored
    assert pool.held == 0


def test_an_outline_counts_as_its_factors_do() -> None:
    factors = pair()
    outline = StoredFactorization(factors, Pool(0)).outline
    assert outline.parameters == factors.parameters
    assert outline.macs((16, 12)) == factors.macs((16, 12))
    assert outline.output_size((16, 12)) == factors.output_size((16, 12))
    assert all(stage.weight.base is not None and stage.weight.strides == (0,) * 4 for stage in outline.stages)
