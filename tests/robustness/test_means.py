"""A machine that has not enough of something: a sentence from every function, whatever it was doing."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

import sepfactor
from sepfactor.errors import ModelError, OptionError, OutputError
from tests import networks
from tests.robustness.way import assert_sentence

CALLS = {
    "compress": lambda: sepfactor.compress(networks.plain(), limit=1, max_error=0.1, bench_seconds=0),
    "inspect": lambda: sepfactor.inspect(networks.plain(), limit=1),
    "bench": lambda: sepfactor.bench([networks.plain()], limit=1, bench_seconds=0),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


def raising(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@every_call
def test_no_memory(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sepfactor.data.synthetic.dead_leaves", raising(MemoryError()))
    with pytest.raises(ModelError, match="Memory ran out") as caught:
        call()
    assert_sentence(str(caught.value))


@pytest.mark.parametrize("call", [CALLS["compress"], CALLS["inspect"]], ids=["compress", "inspect"])
@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), FileNotFoundError("No usable temporary directory")],
    ids=["full", "none"],
)
def test_no_room_for_temporary_files(call: Any, error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", raising(error))
    with pytest.raises(OutputError, match=r"No space left|No usable") as caught:
        call()
    assert_sentence(str(caught.value))
    assert "TMPDIR" in str(caught.value)


def test_an_error_keeps_its_kind(tmp_path: Path) -> None:
    """What is raised on purpose passes through."""
    with pytest.raises(ModelError, match="There is no file"):
        sepfactor.compress(tmp_path / "nowhere.onnx")


@pytest.mark.parametrize("text", ["9" * 5000 + " = 2", "[layers." + "x" * 5000 + "]\nranks = 2"])
def test_an_option_with_an_endless_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(OptionError, match="There is no option") as caught:
        sepfactor.compress(networks.plain(), config=tmp_path / "config.toml")
    assert_sentence(str(caught.value))
