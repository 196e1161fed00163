"""Of what is printed while HiGHS works its own lines alone are left out."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile

import pytest

from sepfactor.plans.unprinted import without_lines_of_highs

ITS_OWN = b"HighsMipSolverData::transformNewIntegerFeasibleSolution tmpSolver.run();\n"


def test_its_lines_are_left_out_and_others_are_not(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(1, b"before\n")
    with without_lines_of_highs():
        os.write(1, b"of another thread\n" + ITS_OWN + b"more\n")
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "before\nof another thread\nmore\nafter\n"


@pytest.mark.skipif(sys.platform == "win32", reason="C has a stdout of its own there")
def test_what_c_has_in_store_is_looked_at(capfd: pytest.CaptureFixture[str]) -> None:
    c = ctypes.CDLL(None)
    c.printf(b"earlier\n")
    with without_lines_of_highs():
        c.printf(ITS_OWN)
    c.fflush(None)
    assert capfd.readouterr().out == "earlier\n"


def test_what_fails_leaves_stdout_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), without_lines_of_highs():
        1 / 0  # noqa: B018
    os.write(1, b"still there")
    assert capfd.readouterr().out == "still there"


def test_without_room_it_is_printed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with without_lines_of_highs():
        os.write(1, b"line")
    assert capfd.readouterr().out == "line"


def test_without_stdout_nothing_fails() -> None:
    code = (
        "import os; os.close(1)\n"
        "from sepfactor.plans.unprinted import without_lines_of_highs\n"
        "with without_lines_of_highs(): pass"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
