"""A run that never ends is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sepfactor.errors import ModelError
from sepfactor.graph import limits
from sepfactor.measure import OnnxRuntime
from sepfactor.measure.time_limit import LIMIT_S, run_seconds
from tests.graph.build import model, normal

FEED = {"x": normal(1, 3, 16, 16)}


def loop(trips: int) -> bytes:
    """A convolution, and a Relu over and over."""
    return model(
        """a = Conv<pads = [1,1,1,1]>(x, w)
           y = Loop(trips, yes, a) <body = b (int64 i, bool c, float[N,3,16,16] before)
               => (bool d, float[N,3,16,16] after) { d = Identity(c)  after = Relu(before) }>""",
        "float[N,3,16,16] x",
        "float[N,3,P,Q] y",
        w=normal(3, 3, 3, 3),
        trips=np.array(trips),
        yes=np.array(True),
    ).SerializeToString()


def refusal() -> str:
    with pytest.raises(ModelError) as caught:
        OnnxRuntime().open(loop(2**40)).run(FEED)
    return str(caught.value)


def test_a_loop_without_end(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SEPFACTOR_RUN_SECONDS", "0.2")
    assert "longer than 0.2 s" in refusal()
    with ThreadPoolExecutor(1) as pool:
        assert "longer than 0.2 s" in pool.submit(refusal).result()
    assert capfd.readouterr() == ("", "")


def test_what_ends_in_time_is_left_alone() -> None:
    session = OnnxRuntime().open(loop(3))
    (here,) = session.run(FEED)
    with ThreadPoolExecutor(1) as pool:
        (there,) = pool.submit(session.run, FEED).result()
    np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("feed", [{}, {"x": normal(1, 4, 16, 16)}, {"x": np.array(["a"])}])
def test_errors_are_those_of_the_run(feed: dict[str, np.ndarray]) -> None:
    session = OnnxRuntime().open(loop(3))
    with ThreadPoolExecutor(1) as pool:
        for call in (session.run, lambda given: pool.submit(session.run, given).result()):
            with pytest.raises(ModelError, match="cannot run the model"):
                call(feed)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("", LIMIT_S),
        ("soon", LIMIT_S),
        ("-1", LIMIT_S),
        ("nan", LIMIT_S),
        ("7.5", 7.5),
        ("inf", threading.TIMEOUT_MAX),
    ],
)
def test_how_long_is_said_by_the_environment(
    said: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEPFACTOR_RUN_SECONDS", said)
    assert run_seconds() == seconds


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_leaves_at_once(tmp_path: Path, root: Path) -> None:
    (tmp_path / "loop.onnx").write_bytes(loop(limits._TURNS))  # the most that is not refused
    script = "import sys, sepfactor.cli; sepfactor.cli.main(sys.argv[1:], prog_name='sepfactor')"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "inspect", "loop.onnx", "--input-shape", "x:1,3,16,16"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "Error: Interrupted. No file was left half-written."
