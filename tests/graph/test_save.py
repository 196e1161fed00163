"""A model appears whole or not at all, and nothing is left lying about."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sepfactor.errors import OutputError
from sepfactor.graph import save
from sepfactor.graph.external import locations
from sepfactor.graph.instrument import serialized
from sepfactor.graph.save import check_destination, publish, staged
from tests.graph.build import assert_same, model, normal, run

SHAPES = ("float[N,8,H,W] x", "float[N,8,P,Q] y")
PROTO = model("a = Conv(x, w)  y = Relu(a)", *SHAPES, w=normal(8, 8, 3, 3))
MODEL = ir.from_proto(PROTO)
OTHER = model("y = Conv(x, w)", *SHAPES, w=normal(8, 8, 3, 3, seed=1))
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


def write(target: Path, overwrite: bool = False, proto: onnx.ModelProto = PROTO) -> None:
    with staged(ir.from_proto(proto), target) as written:
        publish(written, target, overwrite=overwrite)


def assert_answers(target: Path, *protos: onnx.ModelProto) -> None:
    """What is at ``target`` is one of ``protos``, and it and its data are all there is."""
    found, used = onnx.load(target), [file.name for file in save._data_used(target)]
    assert names(target) == sorted(["out.onnx", *used])
    assert any(np.array_equal(run(found, FEED)[0], run(proto, FEED)[0]) for proto in protos)


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


@pytest.mark.parametrize("name", ["m.json", "m.textproto", "m.onnxtxt", "m.prototxt", "m.ort"])
def test_names_of_other_forms(name: str, tmp_path: Path) -> None:
    assert "ends in .onnx" in refusal(tmp_path / name)


@pytest.mark.parametrize("length", [200, 201, 240, 250])
def test_long_names(length: int, tmp_path: Path) -> None:
    target = tmp_path / ("x" * (length - 5) + ".onnx")
    check_destination(target, overwrite=False)
    write(target)
    assert names(target) == [target.name]
    assert "too long" in refusal(tmp_path / ("x" * 250 + ".onnx"))


def test_a_link_stays_and_leads_to_the_result(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "link.onnx"
    link.symlink_to(tmp_path / "far" / "out.onnx")
    write(link)
    assert link.is_symlink()
    assert_same(run((tmp_path / "far" / "out.onnx").read_bytes(), FEED), run(PROTO, FEED))
    assert "exists already" in refusal(link)


def test_places_that_cannot_be_written(tmp_path: Path, target: Path) -> None:
    assert "is a folder" in refusal(tmp_path)
    assert "is a folder" in refusal(tmp_path, overwrite=True)
    missing = tmp_path / "missing" / "out.onnx"
    assert str(missing.parent) in refusal(missing)
    with pytest.raises(OutputError, match="missing"), staged(MODEL, missing):
        pass
    target.write_bytes(b"")
    assert "there is no folder" in refusal(target / "below.onnx")


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
    for name in ("out.onnx.data2", "out.onnx.data3", "out.onnx.data2"):
        write(target, overwrite=True)
        assert names(target) == ["out.onnx", "out.onnx.data", name]
        assert_same(run(onnx.load(target), FEED), run(PROTO, FEED))
    assert data.read_bytes() == b"precious"


@pytest.mark.usefixtures("big")
def test_the_data_goes_if_the_model_cannot_follow(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target.write_bytes(b"precious")
    monkeypatch.setattr(save, "check_destination", lambda path, overwrite: None)
    with pytest.raises(OutputError, match="exists already"):
        write(target)
    assert names(target) == ["out.onnx"]
    assert target.read_bytes() == b"precious"


@pytest.mark.usefixtures("big")
def test_the_data_of_what_is_replaced_go(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(target)
    for proto, name in ((OTHER, "out.onnx.data2"), (PROTO, "out.onnx.data"), (OTHER, "out.onnx.data2")):
        write(target, overwrite=True, proto=proto)
        assert names(target) == ["out.onnx", name]
        assert_answers(target, proto)
    monkeypatch.setattr(save, "PROTOBUF_LIMIT", 10**6)
    write(target, overwrite=True)
    assert names(target) == ["out.onnx"]
    assert_answers(target, PROTO)


@pytest.mark.usefixtures("big")
@pytest.mark.parametrize("location", ["weights", "sub/out.onnx.data"])
def test_data_by_another_name_or_of_another_model_stay(location: str, target: Path) -> None:
    others = {"out.onnx.data", "out.onnx.database", "out.onnx.data1", "out.onnx.data02", "out.onnx2.data"}
    others |= {"weights", "sub"}
    (target.parent / "sub").mkdir()
    for name in others - {"sub"}:
        target.with_name(name).write_bytes(b"precious")
    assert [file.name for file in save.data_files(target)] == ["out.onnx.data"]
    own = onnx.ModelProto.FromString(PROTO.SerializeToString())  # onnx.save takes the weights out of it
    target.with_name("weights").unlink()
    onnx.save(own, target, save_as_external_data=True, location=location, size_threshold=0)
    target.with_name("weights").touch()
    for name in ("out.onnx.data2", "out.onnx.data3"):
        write(target, overwrite=True)
        assert set(names(target)) == {"out.onnx", name, *others}
    assert (target.parent / "sub" / "out.onnx.data").exists() == (location != "weights")


@pytest.mark.usefixtures("big")
def test_what_differs_is_the_name_alone(target: Path) -> None:
    write(target)
    first, data = target.read_bytes(), target.with_name("out.onnx.data").read_bytes()
    write(target, overwrite=True)
    second = target.with_name("out.onnx.data2")
    assert second.read_bytes() == data
    renamed = onnx.load(target, load_external_data=False)
    (location,) = locations(renamed)
    assert location.value == second.name
    location.value = "out.onnx.data"
    assert renamed.SerializeToString() == first


@pytest.mark.usefixtures("big")
def test_big_without_hard_links(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    write(target)
    with pytest.raises(OutputError, match="exists already"):
        write(target)
    assert_answers(target, PROTO)
    for proto, name in ((OTHER, "out.onnx.data2"), (PROTO, "out.onnx.data")):
        write(target, overwrite=True, proto=proto)
        assert names(target) == ["out.onnx", name]
        assert_answers(target, proto)


@pytest.mark.usefixtures("big")
@pytest.mark.parametrize("begun", [True, False])
def test_another_run_publishes_between_data_and_model(
    begun: bool, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs that overwrite at once: whoever is last wins, and nothing of the other stays."""
    if begun:
        write(target)
    move = save._move

    def moving(file: Path, place: Path, overwrite: bool) -> None:
        if place == target:
            monkeypatch.setattr(save, "_move", move)
            write(target, overwrite=True, proto=OTHER)
            assert_same(run(onnx.load(target), FEED), run(OTHER, FEED))
        move(file, place, overwrite)

    monkeypatch.setattr(save, "_move", moving)
    with staged(MODEL, target) as written:
        publish(written, target, overwrite=True)
    assert_same(run(onnx.load(target), FEED), run(PROTO, FEED))


KILLED = """
import os, pathlib, shutil, signal, sys
from pathlib import Path
import onnx_ir as ir
from sepfactor.graph import save
from sepfactor.graph.external import locations
save.PROTOBUF_LIMIT, overwrite = int(sys.argv[1]), sys.argv[2] == "True"

def publish(left):
    def dying(call):
        def called(*given, **more):
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*given, **more)
        return called

    with save.staged(ir.load("../new.onnx"), Path("out.onnx")) as written:
        for name in ("link", "replace", "unlink", "rmdir", "fsync"):
            setattr(os, name, dying(getattr(os, name)))
            if hasattr(pathlib, "_NormalAccessor"):  # of Python 3.10, which keeps these calls itself
                setattr(pathlib._NormalAccessor, name, staticmethod(getattr(os, name)))
        save.publish(written, Path("out.onnx"), overwrite=overwrite)

for moment in range(100):
    shutil.copytree("begin", str(moment))
    process = os.fork()
    if not process:
        os.chdir(str(moment))
        publish(moment)
        os._exit(0)
    _, status = os.waitpid(process, 0)
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL, status
"""
"""Killed before everything a run does to files once it publishes, each time in a folder of its own."""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("before", "after"),
    [("nothing", "big"), ("small", "big"), ("big", "small"), ("big", "big"), ("big, data2", "big")],
)
def test_killed_at_every_step(
    before: str, after: str, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old output or the new one is there, whole; and the next run leaves nothing but its own."""
    begin, limits = tmp_path / "begin" / "out.onnx", {"big": 1000, "small": 10**6}
    begin.parent.mkdir()
    onnx.save(OTHER, tmp_path / "new.onnx")
    if before != "nothing":
        monkeypatch.setattr(save, "PROTOBUF_LIMIT", limits[before.split(",")[0]])
        write(begin)
        if before == "big, data2":
            write(begin, overwrite=True)
    overwrite = before != "nothing"
    subprocess.run(
        [sys.executable, "-c", KILLED, str(limits[after]), str(overwrite)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=True,
    )
    moments = [path for path in tmp_path.iterdir() if path.name.isdecimal()]
    assert len(moments) > 4
    last = max(moments, key=lambda path: int(path.name))
    assert_answers(last / "out.onnx", OTHER)  # that one was left alone
    seen = set()
    for target in (moment / "out.onnx" for moment in moments):
        if overwrite or target.exists():
            answers = run(onnx.load(target), FEED)[0]
            is_new = np.array_equal(answers, run(OTHER, FEED)[0])
            assert is_new or np.array_equal(answers, run(PROTO, FEED)[0])
            seen.add(is_new)
        for limit in limits.values():
            monkeypatch.setattr(save, "PROTOBUF_LIMIT", limit)
            write(target, overwrite=target.exists())
            assert_answers(target, PROTO)
    assert seen == ({True, False} if overwrite else {True})
