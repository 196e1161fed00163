"""``sepfactor compress`` as typed, in a process of its own, and what that took."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

_GIB = 2**20
"""Kilobytes, as Linux counts the memory of a process."""


@dataclass(frozen=True)
class Run:
    """One run of the command.

    Attributes:
        exit_code: of the command.
        report: what ``--json`` wrote.
        seconds: that passed.
        cpu_seconds: that processors worked for it, all threads together: other programs add little to that.
        peak_gib: memory at its height, GiB; onnxruntime and the images included.
    """

    exit_code: int
    report: dict[str, Any]
    seconds: float
    cpu_seconds: float
    peak_gib: float


def compress(
    model: Path, arguments: Sequence[str], output: Path, *, cache: Path, code: Path | None = None
) -> Run:
    """Run ``sepfactor compress model … -o output``.

    Args:
        model: the network.
        arguments: of the command, as typed.
        output: the file to write; the report lies beside it.
        cache: folder of layer times; where it is empty, none are remembered.
        code: a checkout of another version to run, such as one to compare with; None for this one.

    Raises:
        SystemExit: it ended otherwise than with a network or without one that keeps the budget.
    """
    report, said = output.with_suffix(".json"), output.with_suffix(".log")
    command = [sys.executable, "-m", "sepfactor", "compress", str(model), *arguments]
    command += ["--json", str(report), "-o", str(output), "--overwrite"]
    variables = os.environ | {"SEPFACTOR_CACHE": str(cache)}
    variables["PYTHONPATH"] = str(code or Path(__file__).resolve().parents[1])
    begin = time.perf_counter()
    with said.open("w", encoding="utf-8") as log:
        child = Popen(command, env=variables, cwd=output.parent, stdout=DEVNULL, stderr=log)
        _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 3, 4):
        raise SystemExit(said.read_text(encoding="utf-8"))
    return Run(
        exit_code=child.returncode,
        report=json.loads(report.read_text(encoding="utf-8")),
        seconds=time.perf_counter() - begin,
        cpu_seconds=used.ru_utime + used.ru_stime,
        peak_gib=used.ru_maxrss / _GIB,
    )
