"""Arrays that hardly can be meant are told in a sentence; others in none."""

from __future__ import annotations

import numpy as np
import pytest

from sepfactor.data import InputSpec, open_feeds
from sepfactor.errors import DataError
from tests.strategies import normal

PICTURE = InputSpec("x", np.dtype("f4"), ("n", 3, 8, 8))
BYTES = InputSpec("x", np.dtype("u1"), ("n", 3, 8, 8))
CACHE = InputSpec("cache", np.dtype("f4"), ("n", 2, "past"))
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8))
GOOD = normal(0, 6, 3, 8, 8).astype(np.float32)


def notes(data, *specs: InputSpec) -> str:
    return " ".join(open_feeds(data, specs).notes)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_bytes_in_a_network_of_floats(dtype) -> None:
    assert "whole numbers from 0 to 255" in notes({"x": PIXELS.astype(dtype)}, PICTURE)
    assert "whole numbers from 0 to 255" in notes([{"x": PIXELS[:1].astype(dtype)}] * 2, PICTURE)
    assert notes({"x": PIXELS.astype(np.uint8)}, BYTES) == ""


@pytest.mark.parametrize("value", [0, 0.5, -3])
def test_the_same_number_everywhere(value: float) -> None:
    said = notes({"x": np.full((4, 3, 8, 8), value, np.float32)}, PICTURE)
    assert f"'x' is {value:g} everywhere" in said


def test_a_cache_of_zeros_beside_real_data_is_none_of_these() -> None:
    assert notes({"x": GOOD, "cache": np.zeros((6, 2, 5), np.float32)}, PICTURE, CACHE) == ""


def test_samples_that_are_all_the_same() -> None:
    assert "are the same" in notes({"x": np.repeat(GOOD[:1], 5, axis=0)}, PICTURE)


def test_good_data_pass_in_silence() -> None:
    for data in (GOOD, 255 * np.abs(GOOD), PIXELS / 255, np.rint(GOOD)):
        assert notes({"x": data}, PICTURE) == ""


def test_arrays_that_no_input_reads() -> None:
    assert "'y', 'mask'" in notes({"x": GOOD, "y": GOOD, "mask": GOOD, "labels": np.arange(6)}, PICTURE)
    assert "'picture' of" in notes({"picture": GOOD}, PICTURE)
    assert "'y'" in notes([{"x": GOOD[:1], "y": GOOD}, {"x": GOOD[1:2], "y": GOOD}], PICTURE)


@pytest.mark.parametrize("past", ["past", None])
def test_an_array_without_numbers_where_the_axis_is_open(past: str | None) -> None:
    spec = InputSpec("cache", np.dtype("f4"), (1, 2, past))
    empty = np.zeros((1, 2, 0), np.float32)
    feeds = open_feeds([{"x": GOOD[:1], "cache": empty}, {"x": GOOD[1:2], "cache": empty}], [PICTURE, spec])
    assert [feed["cache"].shape for feed in feeds] == [(1, 2, 0)] * 2
    feeds = open_feeds({"x": GOOD, "cache": np.zeros((6, 2, 0), np.float32)}, [PICTURE, spec])
    assert [feed["cache"].shape for feed in feeds] == [(1, 2, 0)] * 6


def test_an_array_without_numbers_elsewhere(tmp_path) -> None:
    fixed = InputSpec("cache", np.dtype("f4"), (1, 2, 7))
    with pytest.raises(DataError, match=r"needs \(1, 2, 7\)"):
        open_feeds([{"x": GOOD[:1], "cache": np.zeros((1, 2, 0))}], [PICTURE, fixed])
    with pytest.raises(DataError, match="is empty"):
        open_feeds([{"x": GOOD[:0]}], [PICTURE])
    np.save(tmp_path / "cache.npy", np.zeros((3, 2, 0), np.float32))
    assert len(open_feeds(tmp_path / "cache.npy", [CACHE])) == 3


def test_rows_of_a_run_are_not_told_as_an_axis() -> None:
    spec = InputSpec("x", np.dtype("f4"), (2, "b", 16))
    with pytest.raises(DataError, match=r"needs \(2 × samples, b, 16\)"):
        open_feeds({"x": np.zeros((12, 2, 1, 16))}, [spec])
