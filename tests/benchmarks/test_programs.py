"""Every program in benchmarks/ loads, and the command they time is run as typed."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import onnx
import pytest
from child import compress

from tests import networks

PROGRAMS = sorted(path.stem for path in Path(__file__).resolve().parents[2].glob("benchmarks/*.py"))
RUN_AS_MODULES = ("picture", "traces")

counts_work = pytest.mark.skipif(not hasattr(os, "wait4"), reason="no clock of a process that has ended")


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_loads(name: str) -> None:
    pytest.importorskip("PIL")
    if name == "picture":
        pytest.importorskip("vl_convert")
    if name.startswith("beyond"):
        pytest.importorskip("torch")
    importlib.import_module(f"benchmarks.{name}" if name in RUN_AS_MODULES else name)


@counts_work
def test_the_command_tells_what_it_took(tmp_path: Path) -> None:
    onnx.save(networks.plain(), tmp_path / "model.onnx")
    asked = ["--rank", "2", "--bench-seconds", "0", "--no-refit", "--threads", "1"]
    run = compress(tmp_path / "model.onnx", asked, tmp_path / "out.onnx", cache=tmp_path / "cache")
    assert run.exit_code in (0, 4)
    assert run.report["model"] == "model.onnx"
    assert run.cpu_seconds > 0
    assert 0 < run.peak_gib < 8


@counts_work
def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"junk")
    with pytest.raises(SystemExit, match=r"model\.onnx"):
        compress(tmp_path / "model.onnx", ["--rank", "2"], tmp_path / "out.onnx", cache=tmp_path)
