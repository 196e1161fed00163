"""Measuring: sessions, interleaved timing, errors of outputs, accuracy, and profiles.

Importing this does not import onnxruntime; opening a session does.
"""

from __future__ import annotations

from sepfactor.measure.accuracy import compare_sessions
from sepfactor.measure.engine import Engine, NodeTime, Session
from sepfactor.measure.engines import ENGINES, open_and_time, open_engine
from sepfactor.measure.machine import Load, machine_load
from sepfactor.measure.metrics import OutputMeter
from sepfactor.measure.onnxruntime_engine import OnnxRuntime
from sepfactor.measure.rounds import Rounds, ratio, summarise

__all__ = [
    "ENGINES",
    "Engine",
    "Load",
    "NodeTime",
    "OnnxRuntime",
    "OutputMeter",
    "Rounds",
    "Session",
    "compare_sessions",
    "machine_load",
    "open_and_time",
    "open_engine",
    "ratio",
    "summarise",
]
