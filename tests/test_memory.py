"""What is kept comes back bit for bit, and takes no more than it may."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sepfactor.memory import Pool, StoredArrays, peak_bytes

LARGE = 10_000


def numbers(seed: int, count: int = LARGE) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.bool_, np.float16, np.uint8]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=40),
    ),
    st.sampled_from([1, 10**4, 2**40]),
)
def test_arrays_come_back_as_they_were(array: np.ndarray, total: int) -> None:
    pool = Pool(total)
    stored = pool.put(array.T)
    assert (stored.shape, stored.dtype, stored.nbytes) == (array.T.shape, array.dtype, array.nbytes)
    loaded = stored.load()
    assert loaded.dtype == array.dtype
    np.testing.assert_array_equal(loaded, array.T)


def test_half_is_kept_in_memory_and_the_rest_is_put_away() -> None:
    pool = Pool(10 * LARGE * 4)
    arrays = [numbers(seed) for seed in range(20)]
    kept = StoredArrays.of(arrays, pool)
    assert pool.held == 5 * LARGE * 4
    assert pool.put_away == 15 * LARGE * 4
    assert all(np.array_equal(a, b) for a, b in zip(arrays, kept, strict=True))
    assert np.array_equal(kept[-1], arrays[-1])
    assert np.array_equal(kept[3:5][1], arrays[4])
    assert kept.shapes == [(LARGE,)] * 20


def test_what_is_reserved_is_left_free() -> None:
    pool = Pool(10 * LARGE * 4)
    pool.reserve(4 * LARGE * 4)
    kept = StoredArrays.of((numbers(seed) for seed in range(20)), pool)
    assert pool.held == pool.working == 3 * LARGE * 4
    assert len(kept) == 20
    pool.reserve(2**40)
    assert pool.working == 10 * LARGE * 4 // 4


def test_work_waits_until_there_is_room() -> None:
    pool, height, now = Pool(200), list[int](), list[int]()

    def work(size: int) -> None:
        with pool.at_work(size):
            now.append(size)
            height.append(sum(now))
            now.remove(size)

    sizes = [40, 70, 30, 1000, 60, 5] * 5
    threads = [threading.Thread(target=work, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(height) == len(sizes)
    assert all(sum_ <= 100 or sum_ == 1000 for sum_ in height)


def test_room_is_used_again() -> None:
    pool = Pool(2)
    for seed in range(10):
        first, second = pool.put(numbers(seed)), pool.put(numbers(seed + 100))
        assert np.array_equal(first.load(), numbers(seed))
        assert np.array_equal(second.load(), numbers(seed + 100))
        del first, second
        gc.collect()
    assert pool.put_away <= 2 * LARGE * 4
    pool = Pool()
    stored = pool.put(numbers(0))
    assert pool.held == LARGE * 4
    del stored
    gc.collect()
    assert pool.held == 0


def test_threads_share_a_pool() -> None:
    pool, wrong = Pool(2), list[int]()

    def work(seed: int) -> None:
        kept = [pool.put(numbers(1000 * seed + i)) for i in range(20)]
        wrong.extend(
            i for i, one in enumerate(kept) if not np.array_equal(one.load(), numbers(1000 * seed + i))
        )

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(os.name != "posix", reason="files without a name are POSIX")
def test_nothing_is_left_in_the_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pool = Pool(2)
    stored = pool.put(numbers(0))
    assert not [*tmp_path.iterdir()]
    assert np.array_equal(stored.load(), numbers(0))


def test_the_peak_never_falls() -> None:
    before = peak_bytes()
    assert before is None or 10**7 < before <= (peak_bytes() or 0)
