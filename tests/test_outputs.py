"""What is read is never replaced, by whatever name; what cannot be written is refused before the work."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from PIL import Image

import sepfactor
from sepfactor.cli import main
from sepfactor.errors import OptionError, OutputError
from sepfactor.options import Options
from sepfactor.outputs import check_outputs, check_place, write_text
from sepfactor.reads import files_read
from tests import networks
from tests.cli.conftest import listing

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and devices of POSIX")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with one input of each sort."""
    monkeypatch.chdir(tmp_path)
    onnx.save(
        networks.plain(), "model.onnx", save_as_external_data=True, location="model.weights", size_threshold=0
    )
    np.savez("data.npz", image=networks.images())
    for name in ("photos", "photos/deep", "arrays", "x"):
        Path(name).mkdir()
    for name in ("photos/0.png", "photos/deep/1.png"):
        Image.fromarray(np.full((16, 16, 3), 9, np.uint8)).save(name)
    np.savez("arrays/a.npz", image=networks.images())
    Path("feeds.py").write_text("def go():\n    return []\n\ndef score(o, i):\n    return 1.0\n")
    Path("c.toml").write_text("seed = 1\n")
    np.save("labels.npy", np.zeros(4, np.int64))
    Path("pi.json").write_text("{}")
    Path("around").symlink_to(tmp_path, target_is_directory=True)
    return tmp_path


INPUTS = {
    "model.onnx": {},
    "model.weights": {},
    "c.toml": {"config": "c.toml"},
    "data.npz": {"data": "data.npz"},
    "photos/0.png": {"data": "photos"},
    "photos/deep/1.png": {"eval_data": "photos", "data": "data.npz"},
    "arrays/a.npz": {"data": "arrays"},
    "feeds.py": {"data": "feeds.py:go"},
    "labels.npy": {"data": "data.npz", "labels": "labels.npy"},
    "pi.json": {"profile": "pi.json"},
}
"""Input → what has it read."""


def aliases(name: str) -> Iterator[str]:
    """Ways to name a file that is there."""
    yield name
    yield f"./x/../{name}"
    yield f"around/{name}"
    yield str(Path(name).absolute())
    Path("soft").symlink_to(Path(name).absolute())
    yield "soft"
    Path("hard").hardlink_to(name)
    yield "hard"


OUTPUTS = {
    "compress": ("-o", "--json", "--html", "--save-plan", "--save-config"),
    "plan": ("-o", "--json", "--save-config"),
    "profile": ("-o",),
    "inspect": ("--json",),
    "bench": ("--json",),
}


@pytest.mark.parametrize("name", INPUTS)
def test_no_output_is_an_input(name: str, folder: Path) -> None:
    names = list(aliases(name))
    before = listing(folder)
    for command, flags in OUTPUTS.items():
        used = sepfactor.uses.USES[command]  # type: ignore[attr-defined]
        options = {n: value for n, value in INPUTS[name].items() if n == "config" or n in used}
        if len(options) < len(INPUTS[name]):
            continue
        words = [word for n, value in options.items() for word in (f"--{n.replace('_', '-')}", value)]
        for flag in flags:
            for alias in names:
                said = CliRunner().invoke(main, [command, "model.onnx", *words, flag, alias, "--overwrite"])
                assert said.exit_code == 2, (command, flag, alias, said.output)
                assert "is an input itself" in said.stderr
                assert flag in said.stderr
    assert listing(folder) == before


@pytest.mark.parametrize("name", [name for name in INPUTS if name != "c.toml"])
def test_nor_in_python(name: str, folder: Path) -> None:
    for alias in aliases(name):
        if (name, alias) == ("model.weights", "hard"):  # a network whose weights have two names is no input
            continue
        with pytest.raises(OptionError, match="is an input itself"):
            sepfactor.compress("model.onnx", alias, overwrite=True, **INPUTS[name])  # type: ignore[arg-type]


def test_nor_a_metric_or_a_plan(folder: Path) -> None:
    options = Options(metric="feeds.py:score", max_drop="1%", plan="pi.json")
    read = set(files_read(options, ["model.onnx"]))
    assert {Path(name) for name in ("model.onnx", "model.weights", "feeds.py", "pi.json")} <= read


@pytest.mark.parametrize("one", ["out", "./x/../out", "around/out"])
def test_no_two_outputs_are_one_file(one: str, folder: Path) -> None:
    with pytest.raises(OptionError, match=r"--json names .*used otherwise: -o"):
        check_outputs([("-o", Path("out")), ("--json", Path(one))], [], overwrite=True)
    said = CliRunner().invoke(main, ["compress", "model.onnx", "--json", one, "--html", "out"])
    assert said.exit_code == 2
    Path("dangling").symlink_to("out")
    with pytest.raises(OptionError, match="used otherwise"):
        check_outputs([("-o", Path("dangling")), ("--json", Path(one))], [], overwrite=True)


def test_what_is_new_may_be_written_beside_inputs(folder: Path) -> None:
    read = list(files_read(Options(data="photos"), ["model.onnx"]))
    check_outputs([("-o", Path("photos/out.onnx")), ("--json", Path("out.json"))], read, overwrite=False)


def test_only_one_result_goes_to_stdout(folder: Path) -> None:
    said = CliRunner().invoke(main, ["compress", "model.onnx", "--json", "-", "--html", "-"])
    assert said.exit_code == 2
    assert "cannot both go to stdout" in said.stderr


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


def _null(path: Path) -> None:
    path.symlink_to("/dev/null")


class TestStreams:
    """Devices and pipes are written into, and stay what they are; what else is no file is refused."""

    @pytest.mark.parametrize("make", [_fifo, _socket, _null])
    def test_a_network_never_replaces_them(self, make: Callable[[Path], None], folder: Path) -> None:
        make(Path("odd"))
        mode = Path("odd").stat().st_mode
        with pytest.raises(OutputError, match="no regular file"):
            sepfactor.compress("model.onnx", "odd", overwrite=True)
        assert Path("odd").stat().st_mode == mode

    def test_a_socket_is_refused(self, folder: Path) -> None:
        _socket(Path("odd"))
        with pytest.raises(OutputError, match="no regular file"):
            check_place("--json", Path("odd"), overwrite=True)

    def test_a_device_takes_text_and_needs_no_overwrite(self, folder: Path) -> None:
        _null(Path("odd"))
        for path in (Path("odd"), Path("/dev/null")):
            check_place("--json", path, overwrite=False)
            write_text(path, "text")
            assert not path.is_file()
        assert Path("odd").is_symlink()
        check_outputs([("--json", Path("/dev/null")), ("--html", Path("odd"))], [], overwrite=False)

    def test_a_pipe_takes_text(self, folder: Path) -> None:
        _fifo(Path("odd"))
        read: list[str] = []
        reader = threading.Thread(target=lambda: read.append(Path("odd").read_text()))
        reader.start()
        write_text(Path("odd"), "text")
        reader.join()
        assert read == ["text"]
        assert Path("odd").is_fifo()


def test_a_link_is_written_through(folder: Path) -> None:
    Path("link.json").symlink_to("far.json")
    write_text(Path("link.json"), "{}")
    assert Path("link.json").is_symlink()
    assert Path("far.json").read_text() == "{}"


@pytest.mark.parametrize("flag", ["-o", "--json", "--html", "--save-plan", "--save-config"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no/where", "no folder"),
        ("x", "is a folder"),
        ("data.npz/out", "no folder"),
        ("y" * 300, "too long"),
        ("c.toml", "exists already"),
        ("loop", "no regular file"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_model_is_read(
    flag: str, name: str, words: str, folder: Path
) -> None:
    Path("loop").symlink_to("loop")
    Path("model.onnx").write_bytes(b"no model")
    before = listing(folder)
    said = CliRunner().invoke(main, ["compress", "model.onnx", flag, name])
    assert said.exit_code == 1
    assert words in said.stderr
    assert flag in said.stderr or words == "no folder"
    assert listing(folder) == before


def test_names_of_other_forms_are_refused_before_the_work(folder: Path) -> None:
    with pytest.raises(OutputError, match=r"m\.json .*ends in \.onnx"):
        sepfactor.compress("model.onnx", "m.json")
