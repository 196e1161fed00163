from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from sepfactor.measure.machine import Load, machine_load

FREE = Load(average=1.0, cores=2, taken=0.01)


def test_a_free_machine_is_not_worth_a_word() -> None:
    assert not FREE.is_busy
    assert FREE.warning("cpu") is FREE.warning("wall") is None
    assert Load(None, 2, 0.0).warning("cpu") is None


@pytest.mark.parametrize("load", [Load(5.2, 2, 0.01), Load(1.0, 2, 0.4), Load(None, 2, 0.4)])
def test_a_busy_one_is_told_by_what_is_known_and_what_to_do(load: Load) -> None:
    one, several = load.warning("cpu"), load.warning("wall")
    assert one is not None
    assert several is not None
    for said in (one, several):
        assert said.startswith("This machine is busy (")
        assert ("load 5.2 on 2 cores" in said) == (load.average == 5.2)
        assert ("40 %" in said) == (load.taken == 0.4)
    assert "--threads 1" in several
    assert "--threads" not in one


def test_this_machine_says_something() -> None:
    here = machine_load()
    assert here.cores >= 1
    assert 0 <= here.taken <= 1
    json.dumps(asdict(here), allow_nan=False)
