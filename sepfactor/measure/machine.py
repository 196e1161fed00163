"""This machine and the software on it, and how busy it is."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sepfactor import __version__
from sepfactor.measure.onnxruntime_session import onnxruntime_module
from sepfactor.results import Clock, Environment
from sepfactor.threads import cores

_PROBE_S = 0.03
"""For so long is a core held to see whether it is taken away: some time slices of an operating system."""

_BUSY_LOAD = 1.25
"""Threads that want a core, for each core there is: one more than this program's own on most machines."""

_BUSY_TAKEN = 0.1


@dataclass(frozen=True)
class Load:
    """What else the machine does.

    Attributes:
        average: how many threads wanted a core in the last minute (load average); None if the system does
            not say, as Windows.
        cores: that this process may use.
        taken: share of a moment in which other programs kept a thread that had work from its core, 0 to 1.
    """

    average: float | None
    cores: int
    taken: float

    @property
    def per_core(self) -> float | None:
        """Threads that wanted a core, for each core."""
        return None if self.average is None else self.average / self.cores

    @property
    def is_busy(self) -> bool:
        """Whether other programs leave too few cores."""
        return self.taken > _BUSY_TAKEN or (self.per_core is not None and self.per_core > _BUSY_LOAD)

    def warning(self, clock: Clock) -> str | None:
        """What to tell before anything is timed; None where the machine is free.

        Args:
            clock: what times will be of.
        """
        if not self.is_busy:
            return None
        many = f"load {self.average:.1f} on {self.cores} cores" if self.average is not None else ""
        taken = (
            f"{100 * self.taken:.0f} % of a thread's time taken by others" if self.taken > _BUSY_TAKEN else ""
        )
        said = f"This machine is busy ({', '.join(filter(None, (many, taken)))})"
        if clock == "cpu":
            return (
                f"{said}: it takes longer; times count the work of the processor, which others hardly change."
            )
        return (
            f"{said}, and work on several threads has no clock of its own: only undisturbed runs count, and "
            "what is timed without any is marked. Stop other programs, or take --threads 1."
        )


def machine_load() -> Load:
    """How busy the machine is now; holds a core for a moment."""
    average = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return Load(average, cores(), _taken())


def _taken() -> float:
    passed, worked = time.perf_counter(), time.thread_time()
    until = passed + _PROBE_S
    while time.perf_counter() < until:
        pass
    passed, worked = time.perf_counter() - passed, time.thread_time() - worked
    return min(max(1.0 - worked / passed, 0.0), 1.0)


def this_machine(
    *,
    engine: str,
    engine_version: str,
    threads: int,
    provider: str,
    clock: Clock,
    precision: str = "float32",
) -> Environment:
    """This machine as it is now, and the software on it, for an engine that says the rest."""
    name, physical = processor(Path("/proc/cpuinfo"))
    load = machine_load()
    return Environment(
        engine=engine,
        engine_version=engine_version,
        precision=precision,
        onnxruntime=str(onnxruntime_module().__version__),
        onnx=importlib.metadata.version("onnx"),
        numpy=np.__version__,
        sepfactor=__version__,
        processor=name,
        physical_cores=physical,
        logical_cores=os.cpu_count() or 1,
        usable_cores=load.cores,
        threads=threads,
        provider=provider,
        platform=f"{platform.system()} {platform.machine()}",
        python=".".join(map(str, sys.version_info[:3])),
        clock=clock,
        load=load.average,
        taken=load.taken,
    )


def processor(cpuinfo: Path) -> tuple[str, int | None]:
    """Name of the processor and number of physical cores, from Linux if it is Linux."""
    text = cpuinfo.read_text(errors="replace") if cpuinfo.exists() else ""
    names = re.findall(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    cores = {
        tuple(re.findall(r"^(?:physical id|core id)\s*:\s*(\d+)$", block, flags=re.MULTILINE))
        for block in text.split("\n\n")
    }
    name = names[0].strip() if names else platform.processor() or platform.machine() or "unknown"
    return name, len([core for core in cores if len(core) == 2]) or None
