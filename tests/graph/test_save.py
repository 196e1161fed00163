"""A model appears whole or not at all, and nothing is left lying about."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from sepfactor.errors import OutputError
from sepfactor.graph import save
from sepfactor.graph.instrument import serialized
from sepfactor.graph.save import check_destination, publish, staged
from tests.graph.build import assert_same, model, normal, run

PROTO = model("a = Conv(x, w)  y = Relu(a)", "float[N,8,H,W] x", "float[N,8,P,Q] y", w=normal(8, 8, 3, 3))
MODEL = ir.from_proto(PROTO)
FEED = {"x": normal(1, 8, 6, 7)}

as_anyone = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere"
)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out.onnx"


@pytest.fixture
def big(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is over the limit of protobuf."""
    monkeypatch.setattr(save, "PROTOBUF_LIMIT", 1000)


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


def write(target: Path, overwrite: bool = False) -> None:
    with staged(MODEL, target) as written:
        publish(written, target, overwrite=overwrite)


def refusal(target: Path, overwrite: bool = False) -> str:
    with pytest.raises(OutputError) as caught:
        check_destination(target, overwrite=overwrite)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


def test_nothing_is_there_before_and_only_the_model_after(target: Path) -> None:
    with staged(MODEL, target) as written:
        assert not target.exists()
        assert written.name == target.name
        assert_same(run(written.read_bytes(), FEED), run(PROTO, FEED))
        publish(written, target, overwrite=False)
        assert target.exists()
    assert names(target) == ["out.onnx"]
    assert_same(run(target.read_bytes(), FEED), run(PROTO, FEED))


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_destination(Path("out.onnx"), overwrite=False)
    write(Path("out.onnx"))
    assert names(tmp_path / "out.onnx") == ["out.onnx"]


def test_the_same_model_gives_the_same_bytes(target: Path, tmp_path: Path) -> None:
    write(target)
    again = tmp_path / "again.onnx"
    write(again)
    assert again.read_bytes() == target.read_bytes()


def test_not_published_it_is_gone(target: Path) -> None:
    with staged(MODEL, target):
        pass
    assert names(target) == []


def test_after_an_exception_nothing_is_left(target: Path) -> None:
    for exception in (ValueError, KeyboardInterrupt):
        with pytest.raises(exception), staged(MODEL, target):
            raise exception
        assert names(target) == []


def test_what_is_there_stays_unless_it_may_go(target: Path) -> None:
    target.write_bytes(b"precious")
    assert str(target) in refusal(target)
    with pytest.raises(OutputError, match="exists already"):
        write(target)
    assert target.read_bytes() == b"precious"
    check_destination(target, overwrite=True)
    write(target, overwrite=True)
    assert_same(run(target.read_bytes(), FEED), run(PROTO, FEED))
    assert names(target) == ["out.onnx"]


def test_what_appears_in_the_last_moment_stays(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target.write_bytes(b"precious")
    monkeypatch.setattr(save, "check_destination", lambda path, overwrite: None)
    with pytest.raises(OutputError, match="exists already"):
        write(target)
    assert target.read_bytes() == b"precious"
    assert names(target) == ["out.onnx"]


def test_places_that_cannot_be_written(tmp_path: Path, target: Path) -> None:
    assert "is a folder" in refusal(tmp_path)
    assert "is a folder" in refusal(tmp_path, overwrite=True)
    missing = tmp_path / "missing" / "out.onnx"
    assert str(missing.parent) in refusal(missing)
    with pytest.raises(OutputError, match="missing"), staged(MODEL, missing):
        pass
    target.write_bytes(b"")
    assert "does not exist" in refusal(target / "below.onnx")


@as_anyone
def test_a_folder_that_may_not_be_written(tmp_path: Path, target: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "cannot be written" in refusal(target)
        with pytest.raises(OutputError, match="cannot be written"), staged(MODEL, target):
            pass
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: ir.Model, path: Path, external_data: object) -> None:
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ir, "save", fail)
    with pytest.raises(OutputError, match="No space left"), staged(MODEL, target):
        pass
    assert names(target) == []


def test_without_hard_links(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    write(target)
    assert names(target) == ["out.onnx"]


@pytest.mark.usefixtures("big")
def test_a_big_model_keeps_its_tensors_beside_it(target: Path) -> None:
    with staged(MODEL, target) as written:
        onnx.checker.check_model(str(written), full_check=True)
        publish(written, target, overwrite=False)
    assert names(target) == ["out.onnx", "out.onnx.data"]
    (weight,) = onnx.load(target, load_external_data=False).graph.initializer
    assert {entry.key: entry.value for entry in weight.external_data}["location"] == "out.onnx.data"
    assert_same(run(onnx.load(target), FEED), run(PROTO, FEED))
    # The model in memory does not depend on the file.
    for name in names(target):
        (target.parent / name).unlink()
    assert_same(run(serialized(MODEL), FEED), run(PROTO, FEED))


@pytest.mark.usefixtures("big")
def test_the_data_of_another_model_stays(target: Path) -> None:
    data = target.with_name("out.onnx.data")
    data.write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"out\.onnx\.data exists already"):
        write(target)
    assert names(target) == ["out.onnx.data"]
    assert data.read_bytes() == b"precious"
    write(target, overwrite=True)
    assert_same(run(onnx.load(target), FEED), run(PROTO, FEED))


@pytest.mark.usefixtures("big")
def test_the_data_goes_if_the_model_cannot_follow(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target.write_bytes(b"precious")
    monkeypatch.setattr(save, "check_destination", lambda path, overwrite: None)
    with pytest.raises(OutputError, match="exists already"):
        write(target)
    assert names(target) == ["out.onnx"]
    assert target.read_bytes() == b"precious"


KILLED = """
import os, signal, sys
from pathlib import Path
import onnx_ir as ir
from sepfactor.graph import save
save.PROTOBUF_LIMIT = 1000
move, left = save._move, [int(sys.argv[2])]
def moving(*given):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    move(*given)
save._move = moving
target = Path("out.onnx")
with save.staged(ir.load(sys.argv[1]), target) as written:
    save.publish(written, target, overwrite=True)
"""
"""Killed before the first or the second of the two files is moved."""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("moves", [0, 1])
@pytest.mark.usefixtures("big")
def test_killed_between_the_data_and_the_model(moves: int, target: Path, root: Path) -> None:
    """No model is ever there with the data of another, and the next run is as good as the first."""
    other = model("y = Conv(x, w)", "float[N,8,H,W] x", "float[N,8,P,Q] y", w=normal(8, 8, 3, 3, seed=1))
    onnx.save(other, target.with_name("other.onnx"))
    write(target)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, "other.onnx", str(moves)],
        cwd=target.parent,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    write(target, overwrite=True)
    target.with_name("other.onnx").unlink()
    assert names(target) == ["out.onnx", "out.onnx.data"]
    assert_same(run(onnx.load(target), FEED), run(PROTO, FEED))
