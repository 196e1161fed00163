"""Odd names, odd environments, full disks: a sentence, and never "unexpectedly"."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import platformdirs
import pytest
from click.testing import CliRunner

from sepfactor.cli import main
from sepfactor.measure.timing_cache import DiskCache, default_path
from sepfactor.scratch import scratch_folder
from tests import networks

pytestmark = pytest.mark.skipif(os.name != "posix", reason="names and devices of POSIX")

FAST = ("--scheme", "spatial", "--rank", "2", "--no-refit", "--bench-seconds", "0", "-q")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    weights = {"w": networks.kernel(16, 3), "v": networks.kernel(16, 16)}
    nodes = [networks.conv("image", "w", "a", pads=[1] * 4), networks.conv("a", "v", "map", pads=[1] * 4)]
    shapes = {"image": ("batch", 3, 12, 12)}, {"map": ("batch", 16, 12, 12)}
    onnx.save(networks.network(nodes, weights, *shapes), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", image=networks.images(3, 12))
    return tmp_path


def typed(folder: Path, *arguments: str, **settings: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "sepfactor", *arguments]
    variables = os.environ | {"SEPFACTOR_CACHE": str(folder / "cache")} | settings
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, check=False)
    return done.returncode, done.stderr.decode(errors="replace")


@pytest.mark.parametrize(
    "asked",
    [
        ("report", "device"),
        ("apply", "m.onnx", "device"),
        ("compress", "m.onnx", "--config", "device"),
        ("compress", "m.onnx", "--data", "d.npz", "--profile", "device", "--min-snr", "9"),
        ("compress", "m.onnx", "--data", "d.npz", "--labels", "device.json"),
    ],
    ids=["report", "plan", "config", "profile", "boxes"],
)
def test_what_may_never_end_is_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...]
) -> None:
    """The device is one that does end, so that a test of this does as well."""
    monkeypatch.chdir(folder)
    for name in ("device", "device.json"):
        Path(name).symlink_to("/dev/null")
    ran = CliRunner().invoke(main, [*asked, *(() if asked[0] == "report" else ("-o", "out.onnx"))])
    assert ran.exit_code in (1, 2), ran.output
    assert "no regular file" in ran.stderr
    assert not Path("out.onnx").exists()


@pytest.mark.parametrize(
    ("model", "arguments"),
    [(b"m\xff.onnx", ()), (b"m.onnx", ("-o", os.fsdecode(b"o\xfe.onnx")))],
    ids=["model", "output"],
)
def test_names_that_are_not_text(folder: Path, model: bytes, arguments: tuple[str, ...]) -> None:
    name = os.fsdecode(model)
    if not (folder / name).exists():
        (folder / name).write_bytes((folder / "m.onnx").read_bytes())
    code, said = typed(folder, "compress", name, "--data", "d.npz", *FAST, *arguments)
    assert code == 1
    assert "not text in UTF-8" in said


def test_a_folder_for_temporary_files_that_is_not_text(folder: Path) -> None:
    away = folder / os.fsdecode(b"tmp\xff")
    away.mkdir()
    code, said = typed(folder, "compress", "m.onnx", "--data", "d.npz", *FAST, TMPDIR=str(away))
    assert code == 1
    assert "Set TMPDIR" in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("inspect", "m.onnx", "--data", "d.npz"),
        ("compress", "m.onnx", "--data", "d.npz", *FAST, "--json", "-"),
    ],
    ids=["help", "inspect", "compress"],
)
def test_a_full_disk_behind_stdout(folder: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sepfactor", *arguments],
            cwd=folder,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "cannot be written out: No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpectedly" not in done.stderr


def test_a_ctrl_c_at_any_time_is_a_sentence(folder: Path) -> None:
    for wait in (0.05, 0.15, 0.3, 0.6, 1.0):
        child = subprocess.Popen(
            [sys.executable, "-c", "from sepfactor.__main__ import run; print('!', flush=True); run()"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(wait / 10)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
        assert b"Traceback" not in said


def test_numbers_beyond_all_floats_in_the_cache(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "times.sqlite", {})
    cache._ask("INSERT INTO times VALUES (?, ?, ?)", cache._machine, "k", '{"ms": 1' + "0" * 400 + "}")
    assert cache.get("k") is None


def test_a_cache_of_another_version(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "times.sqlite") as database:
        database.execute("CREATE TABLE times (other INTEGER)")
    cache = DiskCache(tmp_path / "times.sqlite", {})
    cache.put("k", {"ms": 1.0})
    assert cache.get("k") == {"ms": 1.0}


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEPFACTOR_CACHE", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: f"~/.cache/{name}")
    assert default_path() is None


def test_folders_of_killed_runs_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    hold = "from sepfactor.scratch import scratch_folder as s\nwith s() as f: print(f, flush=True); input()"
    command = [sys.executable, "-c", hold]
    variables = os.environ | {"TMPDIR": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    dead, alive = (subprocess.Popen(command, env=variables, **pipes) for _ in range(2))  # type: ignore[call-overload]
    left, used = (Path(child.stdout.readline().strip()) for child in (dead, alive))
    dead.kill()
    dead.communicate()
    assert left.exists()
    with scratch_folder() as own:
        assert own.exists()
        assert not left.exists()
        assert used.exists()
    assert not own.exists()
    alive.communicate("\n")
    assert not used.exists()
