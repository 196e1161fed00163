"""What was timed is found again, by whom it concerns; a file that is not what it should be costs nothing."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from sepfactor.measure.timing_cache import DISTURBED, FORMAT, DiskCache, MemoryCache, RecordingCache

HERE, ELSEWHERE = {"processor": "one"}, {"processor": "another"}


def test_it_is_found_by_the_next_process(tmp_path: Path) -> None:
    DiskCache(tmp_path / "deep" / "times.sqlite", HERE).put("a", {"ms": 1.5})
    again = DiskCache(tmp_path / "deep" / "times.sqlite", HERE)
    assert again.get("a") == {"ms": 1.5}
    assert again.get("b") is None


def test_another_machine_sees_nothing(tmp_path: Path) -> None:
    DiskCache(tmp_path / "times.sqlite", HERE).put("a", {"ms": 1.5})
    assert DiskCache(tmp_path / "times.sqlite", ELSEWHERE).get("a") is None


def test_a_disturbed_time_is_gone_with_the_process(tmp_path: Path) -> None:
    path = tmp_path / "times.sqlite"
    DiskCache(path, HERE).put("a", {"ms": 1.0, DISTURBED: 0.0})
    here = DiskCache(path, HERE)
    here.put("a", {"ms": 9.0, DISTURBED: 1.0})
    here.put("b", {"ms": 9.0, DISTURBED: 1.0})
    assert [here.get(key) for key in "ab"] == [{"ms": 9.0, DISTURBED: 1.0}] * 2
    assert [DiskCache(path, HERE).get(key) for key in "ab"] == [{"ms": 1.0, DISTURBED: 0.0}, None]


def test_entries_of_another_format_are_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither those that tell their format, nor those from before there was one."""
    path = tmp_path / "times.sqlite"
    for known in (FORMAT - 1, FORMAT + 1):
        with monkeypatch.context() as patch:
            patch.setattr("sepfactor.measure.timing_cache.FORMAT", known)
            DiskCache(path, HERE).put("a", {"ms": 1.0})
    with closing(sqlite3.connect(path)) as database, database:
        old = json.dumps(HERE, sort_keys=True)
        database.execute("INSERT INTO times VALUES (?, 'a', '{\"ms\": 1.0}')", (old,))
    assert DiskCache(path, HERE).get("a") is None


def test_the_last_one_counts(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "times.sqlite", HERE)
    cache.put("a", {"ms": 1.0})
    cache.put("a", {"ms": 2.0})
    assert DiskCache(tmp_path / "times.sqlite", HERE).get("a") == {"ms": 2.0}


@pytest.mark.parametrize("content", [b"", b"not a database at all", b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_damaged_file_costs_the_memory_only(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "times.sqlite"
    path.write_bytes(content)
    cache = DiskCache(path, HERE)
    assert cache.get("a") is None
    cache.put("a", {"ms": 1.0})
    assert cache.get("a") == {"ms": 1.0}


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = DiskCache(tmp_path / "file" / "times.sqlite", HERE)
    cache.put("a", {"ms": 1.0})
    assert cache.get("a") == {"ms": 1.0}


def test_noting_what_is_asked_of_another() -> None:
    inner = MemoryCache({"a": {"ms": 1.0}, "b": {"ms": 2.0}})
    noting = RecordingCache(inner)
    assert noting.get("a") == {"ms": 1.0}
    noting.put("c", {"ms": 3.0})
    assert noting.entries == {"a": {"ms": 1.0}, "c": {"ms": 3.0}}
    assert inner.get("c") == {"ms": 3.0}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database that holds two entries."""
    path = tmp_path / "times.sqlite"
    for key in ("a", "b"):
        DiskCache(path, HERE).put(key, {"ms": 1.5})
    return path


@pytest.mark.parametrize("at", [16, 100, 4096 + 1, 8192 + 1])
def test_a_damaged_database_is_begun_anew(at: int, path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + 3000] = b"\xff" * len(content[at : at + 3000])
    path.write_bytes(content)
    cache = DiskCache(path, HERE)
    for key in "abcd":
        assert cache.get(key) in (None, {"ms": 1.5})
        cache.put(key, {"ms": 2.0})
    assert DiskCache(path, HERE).get("d") == {"ms": 2.0}


def test_a_database_cut_off_anywhere(path: Path) -> None:
    content = path.read_bytes()
    for length in range(0, len(content), 511):
        path.write_bytes(content[:length])
        cache = DiskCache(path, HERE)
        assert cache.get("a") in (None, {"ms": 1.5})
        cache.put("c", {"ms": 2.0})
        assert cache.get("c") == {"ms": 2.0}


def test_what_is_no_database_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "times.sqlite"
    path.write_text("a diary")
    cache = DiskCache(path, HERE)
    cache.put("a", {"ms": 1.0})
    assert cache.get("a") == {"ms": 1.0}
    assert path.read_text() == "a diary"


@pytest.mark.parametrize("make", ["folder", "pipe", "of another kind"])
def test_what_is_in_its_place(make: str, tmp_path: Path) -> None:
    path = tmp_path / "times.sqlite"
    if make == "folder":
        path.mkdir()
    elif make == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("there are no pipes")
        os.mkfifo(path)
    else:
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE times (a, b)")
    cache = DiskCache(path, HERE)
    assert cache.get("a") is None
    cache.put("a", {"ms": 1.0})
    assert cache.get("a") == {"ms": 1.0}


def test_a_folder_nobody_may_write() -> None:
    cache = DiskCache(Path("/proc/nowhere/times.sqlite"), HERE)
    cache.put("a", {"ms": 1.0})
    assert cache.get("a") == {"ms": 1.0}


def test_who_holds_it_for_ever_is_waited_for_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sepfactor.measure.timing_cache._WAIT_SECONDS", 0.05)
    opened = []
    connect = sqlite3.connect
    with closing(connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: opened.append(a) or connect(*a, **k))
        cache = DiskCache(path, HERE)
        for key in "abc":
            assert cache.get(key) is None
            cache.put(key, {"ms": 3.0})
            assert cache.get(key) == {"ms": 3.0}
        assert len(opened) == 1
    assert DiskCache(path, HERE).get("a") == {"ms": 1.5}


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[1]", "3", "[" * 10**5, b"\xff", 7),
        *('{"ms": "x"}', '{"ms": NaN}', '{"ms": Infinity}', '{"ms": null}'),
    ],
    ids=lambda text: repr(text)[:20],
)
def test_entries_that_say_nothing(text: object, path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE times SET entry = ? WHERE key = 'a'", (text,))
    cache = DiskCache(path, HERE)
    assert cache.get("a") is None
    assert cache.get("b") == {"ms": 1.5}


WRITER = """
import itertools, resource, sys
from pathlib import Path
from sepfactor.measure.timing_cache import DiskCache
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]),) * 2)
cache = DiskCache(Path(sys.argv[1]), {"processor": "one"})
print("begun", flush=True)
for number in itertools.islice(itertools.count(), int(sys.argv[3])):
    cache.put(f"{sys.argv[2]}{number}", {"ms": float(number)})
    assert cache.get(f"{sys.argv[2]}{number}") == {"ms": float(number)}
"""
"""Writes many entries under a limit of the size of files, which stands for a full disk."""

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")


def writer(path: Path, prefix: str, count: int, root: Path, most: int = 2**30) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), prefix, str(count), str(most)],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@posix
def test_several_write_at_once(path: Path, root: Path) -> None:
    running = [writer(path, prefix, 40, root) for prefix in ("x", "y")]
    for process in running:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    cache = DiskCache(path, HERE)
    assert all(cache.get(f"{p}{i}") == {"ms": float(i)} for p in "xy" for i in range(40))


@posix
def test_killed_while_writing_it_stays_whole(path: Path, root: Path) -> None:
    for wait in (0.0, 0.01, 0.03, 0.07):
        process = writer(path, "k", 10**6, root)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(wait)
        process.kill()
        process.communicate(timeout=60)
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert DiskCache(path, HERE).get("a") == {"ms": 1.5}


@posix
def test_a_full_disk(path: Path, root: Path) -> None:
    process = writer(path, "f", 2000, root, most=path.stat().st_size + 4096)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert DiskCache(path, HERE).get("a") == {"ms": 1.5}
