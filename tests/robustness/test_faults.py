"""Runs that are killed, stopped, starved of disk, or two at once: the output is whole or is not there."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from sepfactor.graph import save
from sepfactor.pipeline import Result
from sepfactor.search.layer_timing import LayerTimer
from sepfactor.study import study
from tests import networks
from tests.robustness.forks import Forked, Forks
from tests.robustness.way import attempt

TIMING_CACHE = study._timing_cache
"""As it is before anything is pretended."""

KILLS = int(os.environ.get("SEPFACTOR_KILLS", "3"))
"""Set it to 50 or more for the long mode."""

QUICK = ("--max-error", "0.05", "--bench-seconds", "0.1", "--force")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(networks.plain(), tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", image=networks.images(16))
    return tmp_path


@pytest.fixture(scope="module")
def forks(root: Path) -> Iterator[Forks]:
    server = Forks(root)
    yield server
    server.close()


Start = Callable[..., Forked]


@pytest.fixture
def start(folder: Path, forks: Forks) -> Start:
    """Start ``sepfactor compress`` in the folder."""

    def begin(*more: str, **options: Any) -> Forked:
        command = ("compress", "model.onnx", "--data", "data.npz", "-o", "out.onnx", *QUICK)
        return forks.start([*command, *more], folder, **options)

    (folder / "tmp").mkdir()
    return begin


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"model.onnx", "data.npz", "tmp"}


def assert_whole(path: Path) -> None:
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": networks.images(1)})
    assert np.isfinite(found).all()


def succeeds(process: Forked) -> bool:
    """Whether it ends well, whatever a slow machine says of how far it is."""
    code, said = process.finished()
    return code == 0 and "Error" not in said


@pytest.fixture
def whole(start: Start, folder: Path) -> float:
    """How long a run takes that is left alone, in seconds."""
    assert succeeds(start())
    (folder / "out.onnx").unlink()
    return float((folder / "tmp" / "seconds").read_text())


def test_killed_at_any_moment(start: Start, whole: float, folder: Path) -> None:
    draw = random.Random(0)
    for _ in range(KILLS):
        code, said = start(send=signal.SIGKILL, after=whole * draw.uniform(0.2, 1.1)).finished()
        assert code in (0, -signal.SIGKILL), said
        if "out.onnx" in names(folder):
            assert_whole(folder / "out.onnx")
            (folder / "out.onnx").unlink()
    assert succeeds(start())
    assert names(folder) == {"out.onnx"}
    assert_whole(folder / "out.onnx")


def test_killed_while_an_output_with_data_beside_it_is_replaced(
    start: Start, whole: float, folder: Path
) -> None:
    """Late, where it is written and put in its place."""
    assert succeeds(start(limit=1000))
    draw, out = random.Random(1), folder / "out.onnx"
    for _ in range(KILLS):
        after = whole * draw.uniform(0.5, 1.0)
        code, said = start("--overwrite", limit=1000, send=signal.SIGKILL, after=after).finished()
        assert code in (0, -signal.SIGKILL), said
        assert_whole(out)
    assert succeeds(start("--overwrite", limit=1000))
    assert names(folder) == {"out.onnx", *(file.name for file in save.data_files(out))}
    assert len(save.data_files(out)) == 1
    assert_whole(out)


class TestKilledWhileWriting:
    """The moments that matter most, one by one."""

    @pytest.fixture
    def killed(self, start: Start) -> Callable[[str], None]:
        """Run with a kill where a function of a module is called for the first time."""

        def run(where: str) -> None:
            code, said = start("--overwrite", killed_in=where).finished()
            assert code == -signal.SIGKILL, said

        return run

    @pytest.mark.parametrize(
        "where", ["onnx_ir.save", "os.fsync", "sepfactor.deliver.result.publish", "shutil.rmtree"]
    )
    def test_the_next_run_clears_away_what_is_left(
        self, where: str, killed: Callable[[str], None], start: Start, folder: Path
    ) -> None:
        killed(where)
        assert any(name.startswith(".out.onnx") for name in names(folder))
        (folder / "out.onnx").unlink(missing_ok=True)
        assert succeeds(start())
        assert names(folder) == {"out.onnx"}
        assert_whole(folder / "out.onnx")

    def test_the_old_output_stays(self, killed: Callable[[str], None], folder: Path) -> None:
        (folder / "out.onnx").write_text("old")
        killed("sepfactor.deliver.result.publish")
        assert (folder / "out.onnx").read_text() == "old"


def test_the_folder_of_a_run_still_going_stays(tmp_path: Path) -> None:
    import onnx_ir as ir

    model = ir.from_proto(networks.plain())
    with save.staged(model, tmp_path / "out.onnx") as first:
        with save.staged(model, tmp_path / "out.onnx") as second:
            assert first.exists()
            assert second.exists()
            save.publish(second, tmp_path / "out.onnx", overwrite=False)
        assert first.exists()
        save.publish(first, tmp_path / "out.onnx", overwrite=True)
    assert names(tmp_path) == {"out.onnx"}
    assert_whole(tmp_path / "out.onnx")


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_runs_at_once(overwrite: bool, start: Start, folder: Path) -> None:
    more = ["--overwrite"] if overwrite else []
    ends = [process.finished() for process in [start(*more) for _ in range(2)]]
    codes = sorted(code for code, _ in ends)
    said = "".join(text for _, text in ends)
    assert codes == ([0, 0] if overwrite or not said else [0, 1]), said
    assert not said or "out.onnx exists already" in said
    assert names(folder) == {"out.onnx"}
    assert_whole(folder / "out.onnx")


@pytest.mark.parametrize("size", [0, 1000, 16000])
def test_no_room_for_the_output(size: int, start: Start, folder: Path) -> None:
    """A limit on the size of any file stands for a full disk; it holds for temporary files too."""
    code, said = start(largest=size).finished()
    if code == 0:
        assert_whole(folder / "out.onnx")
        return
    assert code == 1
    assert said.startswith("Error: ")
    assert "unexpectedly" not in said
    assert len(said.splitlines()) == 1
    assert names(folder) == set()


class TestCache:
    """Times are really measured here, and remembered where that cannot be."""

    @pytest.fixture(autouse=True)
    def _as_fast_as_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(study, "_timing_cache", TIMING_CACHE)

    @staticmethod
    def compress(folder: Path) -> Result:
        data = {"image": networks.images(4)}
        result = attempt(folder / "model.onnx", folder / "out.onnx", data=data, overwrite=True, cache=True)
        assert not isinstance(result, str), result
        return result

    @pytest.mark.parametrize("state", ["a file", "a folder in its place", "damaged", "held by another"])
    def test_a_cache_that_cannot_be_used(
        self, state: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = folder / "cache"
        times = cache / "times.sqlite"
        monkeypatch.setenv("SEPFACTOR_CACHE", str(cache))
        monkeypatch.setattr("sepfactor.measure.timing_cache._WAIT_SECONDS", 0.05)
        with closing(sqlite3.connect(":memory:")) as other:
            if state == "a file":
                cache.write_text("in the way")
            elif state == "a folder in its place":
                times.mkdir(parents=True)
            else:
                cache.mkdir()
                times.write_bytes(b"\xff" * 5000 if state == "damaged" else b"")
            if state == "held by another":
                other.execute("ATTACH ? AS held", (str(times),))
                other.execute("CREATE TABLE held.x (y)")
                other.isolation_level = None
                other.execute("BEGIN EXCLUSIVE")
            result = self.compress(folder)
        assert result.report.totals.convolutions == 2
        if result.path is not None:
            assert_whole(result.path)

    def test_what_one_run_timed_the_next_does_not(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SEPFACTOR_CACHE", str(folder / "cache"))
        self.compress(folder)
        monkeypatch.setattr(LayerTimer, "_time", lambda *_: pytest.fail("timed again"))
        self.compress(folder)


def test_ctrl_c_at_any_moment(start: Start, whole: float, folder: Path) -> None:
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        code, said = start(send=signal.SIGINT, after=whole * share).finished()
        assert code == 0 or (code, said) == (130, "Error: Interrupted. No file was left half-written.\n"), (
            share
        )
        assert names(folder) in (set(), {"out.onnx"})  # there it is if only the table was still to print
        if names(folder):
            assert_whole(folder / "out.onnx")
            (folder / "out.onnx").unlink()
