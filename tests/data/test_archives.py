"""Large arrays of a .npz come into memory row by row, whatever the order they are asked for in."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.data import InputSpec, arrays, open_feeds
from sepfactor.data.archives import PackedRows
from sepfactor.errors import DataError
from tests.strategies import normal

X = InputSpec("x", np.dtype("f4"), ("n", 3))
ROWS = normal(0, 40, 3).astype(np.float32)


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose arrays all count as large."""
    monkeypatch.setattr(arrays, "_WHOLE", 0)
    np.savez_compressed(tmp_path / "a.npz", x=ROWS, labels=np.arange(40), target=ROWS[:, :1])
    assert isinstance(arrays.read_table(tmp_path / "a.npz").load("x"), PackedRows)
    return tmp_path / "a.npz"


@given(order=st.lists(st.integers(0, 39), min_size=1, max_size=60))
def test_any_order(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    np.savez_compressed(path, x=ROWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_WHOLE", 0)
        array = arrays.read_table(path).load("x")
    for row in order:
        np.testing.assert_array_equal(array[row], ROWS[row])
        np.testing.assert_array_equal(array[row : row + 3], ROWS[row : row + 3])
    np.testing.assert_array_equal(np.asarray(array), ROWS)


@pytest.mark.parametrize("batch", ["n", 1, 7])
def test_feeds_are_what_they_are_of_small_files(packed: Path, batch: int | str) -> None:
    spec = InputSpec("x", np.dtype("f4"), (batch, 3))
    found = open_feeds(packed, [spec])
    wanted = open_feeds({"x": ROWS, "labels": np.arange(40), "target": ROWS[:, :1]}, [spec])
    for one, other in zip((*found, *found), (*wanted, *wanted), strict=True):
        np.testing.assert_array_equal(one["x"], other["x"])
    np.testing.assert_array_equal(found.labels, wanted.labels)
    np.testing.assert_array_equal(found.targets, wanted.targets)


def test_columns_first_is_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_WHOLE", 0)
    np.savez(tmp_path / "a.npz", x=np.asfortranarray(ROWS))
    np.testing.assert_array_equal(np.concatenate([f["x"] for f in open_feeds(tmp_path / "a.npz", [X])]), ROWS)


def write_zeros(path: Path, shape: tuple[int, int]) -> None:
    """So many float32 in a file of some kilobytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for _ in range(shape[0]):
            stream.write(bytes(4 * shape[1]))


def test_a_few_samples_of_much_take_little_memory(tmp_path: Path) -> None:
    write_zeros(tmp_path / "a.npz", (64, 2**20))
    wide = InputSpec("x", np.dtype("f4"), ("n", "w"))
    tracemalloc.start()
    try:
        feeds = open_feeds(tmp_path / "a.npz", [wide], limit=2)
        assert [feed["x"].shape for feed in (*feeds, *feeds)] == [(1, 2**20)] * 4
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_more_samples_than_anybody_has(tmp_path: Path) -> None:
    many = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (2**33, 3), (0, 0))
    with pytest.raises(DataError, match="8,589,934,592 samples, more than"):
        open_feeds({"x": many}, [X])


def test_a_sample_that_no_memory_holds(tmp_path: Path) -> None:
    wide = InputSpec("x", np.dtype("f4"), ("n", "w"))
    header = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (2, 2**29), (0, 0))
    with pytest.raises(DataError, match="numbers in one run"):
        open_feeds({"x": header}, [wide])


def test_damage_behind_the_header(packed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        data = archive.read("x.npy")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("x.npy", data)
    whole = (tmp_path / "b.npz").read_bytes()
    at = whole.index(data[-200:])
    (tmp_path / "b.npz").write_bytes(whole[:at] + bytes(100) + whole[at + 100 :])
    with pytest.raises(DataError, match=r"b\.npz: the file cannot be read"):
        open_feeds(tmp_path / "b.npz", [X])
