"""Measuring: sessions, interleaved timing, errors of outputs, accuracy, and profiles.

Importing this does not import onnxruntime; opening a session does.
"""

from __future__ import annotations

from sepfactor.measure.accuracy import Accuracy, compare_sessions
from sepfactor.measure.metrics import OutputComparison, OutputMeter
from sepfactor.measure.profile import NodeTime, profile_nodes
from sepfactor.measure.proportions import Share, TargetComparison, TopK
from sepfactor.measure.session import Environment, Runtime, environment, open_session, run
from sepfactor.measure.timing import Ratio, Timing, interleave, ratio, summarise

__all__ = [
    "Accuracy",
    "Environment",
    "NodeTime",
    "OutputComparison",
    "OutputMeter",
    "Ratio",
    "Runtime",
    "Share",
    "TargetComparison",
    "Timing",
    "TopK",
    "compare_sessions",
    "environment",
    "interleave",
    "open_session",
    "profile_nodes",
    "ratio",
    "run",
    "summarise",
]
