"""Every result, defined once: frozen, typed to the leaf, and what the JSON and its schemas are made from.

What is measured is returned as these types, what is shown is made of them, and what ``--json`` wrote is
read back into them. They know nothing of how they came about, nor of how they are shown.
"""

from __future__ import annotations

from sepfactor.results.accuracy import (
    Accuracy,
    Histogram,
    OutputDifference,
    Share,
    Target,
    TopK,
)
from sepfactor.results.base import SCHEMA_VERSION, Document, Json
from sepfactor.results.context import Data, Environment, ImageSettings, MemoryUse
from sepfactor.results.documents import Bench, BenchRow, Comparison, Inspection, LayoutTimes, Planning, Report
from sepfactor.results.layers import (
    Budget,
    EightBits,
    FrontPoint,
    Layer,
    LayerInspection,
    LimitResult,
    Picture,
    StageRow,
    Totals,
    Tuning,
)
from sepfactor.results.provenance import Provenance
from sepfactor.results.quality import OF_LABELLED_BOXES, JudgedOn, OutputTask, Quality, QualityKind
from sepfactor.results.tidied import Equality, RewriteRow, Tidied
from sepfactor.results.timing import Clock, Ratio, Speed, Timing

__all__ = [
    "OF_LABELLED_BOXES",
    "SCHEMA_VERSION",
    "Accuracy",
    "Bench",
    "BenchRow",
    "Budget",
    "Clock",
    "Comparison",
    "Data",
    "Document",
    "EightBits",
    "Environment",
    "Equality",
    "FrontPoint",
    "Histogram",
    "ImageSettings",
    "Inspection",
    "Json",
    "JudgedOn",
    "Layer",
    "LayerInspection",
    "LayoutTimes",
    "LimitResult",
    "MemoryUse",
    "OutputDifference",
    "OutputTask",
    "Picture",
    "Planning",
    "Provenance",
    "Quality",
    "QualityKind",
    "Ratio",
    "Report",
    "RewriteRow",
    "Share",
    "Speed",
    "StageRow",
    "Target",
    "Tidied",
    "Timing",
    "TopK",
    "Totals",
    "Tuning",
]
