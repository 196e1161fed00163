"""Documents to show, made up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sepfactor.codes import Reason
from sepfactor.report.png import data_uri
from sepfactor.results import (
    Accuracy,
    Bench,
    BenchRow,
    Comparison,
    Data,
    Environment,
    Equality,
    FrontPoint,
    Inspection,
    Layer,
    LayerInspection,
    LayoutTimes,
    OutputDifference,
    Picture,
    Planning,
    Ratio,
    Report,
    RewriteRow,
    Speed,
    Tidied,
    Timing,
    Totals,
)

OUTPUT: dict[str, Any] = {
    "name": "logits",
    "samples": 40,
    "relative_error": 0.0123,
    "snr_db": 38.2,
    "psnr_db": 44.0,
    "cosine": 0.99992,
    "nonfinite": 0,
    "mismatched": 0,
    "agreement": None,
    "kl": None,
    "top1": None,
    "top5": None,
    "target": None,
    "shape": (10,),
    "max_abs": 0.1,
}
"""Of an output of no classes; see :func:`output`."""


HISTOGRAM: dict[str, Any] = {
    "edges": (1e-3, 1e-2 / 10**0.5, 1e-2, 1e-1 / 10**0.5),
    "counts": (1, 0, 900),
    "equal": 99,
    "within_99": 1e-1 / 10**0.5,
}
TOP: dict[str, Any] = {
    "reference": {"value": 0.9, "low": 0.77, "high": 0.96},
    "candidate": {"value": 0.875, "low": 0.74, "high": 0.95},
    "drop": 0.025,
    "drop_low": -0.05,
    "drop_high": 0.1,
    "p_value": 1.0,
    "verdict": {
        "code": "by-chance",
        "text": "may be chance: 95 % interval −5.00 to 10.00 points, McNemar p = 1",
    },
    "lost": 1,
    "gained": 0,
}
DOT = data_uri(np.zeros((8, 8), np.uint8))
"""A black square."""

ENVIRONMENT = Environment(
    onnxruntime="1.0",
    onnx="1.0",
    numpy="2.0",
    sepfactor="0",
    processor="[any] one",
    physical_cores=None,
    logical_cores=2,
    usable_cores=2,
    threads=1,
    provider="CPU",
    platform="Linux",
    python="3.11",
)
DATA = Data(
    description="x.npz: 120 samples",
    fitted_on=80,
    judged_on="x.npz: 40 samples",
    synthetic=False,
    samples=40,
    labels=True,
    targets=False,
    seed=7,
    preprocessing=None,
)


def data(**fields: Any) -> Data:
    """Some data, other than ``DATA`` in these fields."""
    return DATA.model_copy(update=fields)


def accuracy(*outputs: dict[str, Any]) -> Accuracy:
    """Of outputs that differ from ``OUTPUT`` in these fields."""
    found = tuple(OutputDifference.model_validate(OUTPUT | fields) for fields in outputs)
    return Accuracy(outputs=found, samples=40, with_labels=40, classifier=found[0].name)


def timing(milliseconds: float) -> Timing:
    """Of runs that take about as long as this."""
    return Timing(median_ms=milliseconds, low_ms=0.95 * milliseconds, high_ms=1.05 * milliseconds, rounds=30)


def layer(**fields: Any) -> Layer:
    common: dict[str, Any] = {
        "output": "y",
        "weight_shape": (16, 3, 5, 5),
        "strides": (1, 1),
        "map_size": (16, 16),
        "macs_before": 307_200,
        "macs_after": 307_200,
        "parameters_before": 1200,
        "parameters_after": 1200,
        "milliseconds_before": 1.25,
    }
    return Layer(**common | fields)


REPLACED = layer(
    name="body.first",
    replaced=True,
    scheme="separable-depthwise",
    rank=(1,),
    exact=True,
    macs_after=30_720,
    parameters_after=120,
    milliseconds_after=0.25,
    trial_speedup=4.87,
    trial_interval=(4.8, 4.9),
    weight_error=1e-8,
    output_error=1e-8,
)
KEPT = layer(name="head.last", reason=Reason("no-faster", "put back: it measured no faster"))


def report(**fields: Any) -> Report:
    common: dict[str, Any] = {
        "sepfactor_version": "0",
        "model": "a[b].onnx",
        "output": "[/c].onnx",
        "options": {},
        "environment": ENVIRONMENT,
        "data": data(fitted_on=0, description="x.npz: 40 samples"),
        "layers": (REPLACED, KEPT),
        "totals": Totals(
            convolutions=2,
            replaced=1,
            macs_before=614_400,
            macs_after=337_920,
            parameters_before=2400,
            parameters_after=1320,
            bytes_before=150_000,
            bytes_after=9_000,
        ),
        "accuracy": accuracy({}),
        "speed": None,
    }
    return Report(**common | fields)


def rich_report(**fields: Any) -> Report:
    """With something in every part of it."""
    spectrum = {"spatial-vertical": ((1, 0.9), (4, 0.5), (15, 0.0)), "channel-out": ((1, 0.8), (16, 0.0))}
    common: dict[str, Any] = {
        "data": DATA,
        "layers": (
            REPLACED.model_copy(update={"spectrum": spectrum}),
            KEPT.model_copy(update={"spectrum": {"channel-out": ((1, 0.7), (8, 0.0))}}),
            layer(name="middle", replaced=True, scheme="spatial-vertical", rank=(4,), **FITTED),
        ),
        "accuracy": accuracy({"agreement": 0.975, "top1": TOP, "errors": HISTOGRAM}),
        "speed": Speed(ratio=1.84, low=1.81, high=1.88, original=timing(3.68), result=timing(2.0)),
        "front": (
            FrontPoint(label="mild", speedup=1.3, interval=(1.25, 1.36), drop=0.001),
            FrontPoint(label="strong", speedup=1.84, interval=(1.81, 1.88), drop=0.004, chosen=True),
            FrontPoint(label="stronger", speedup=2.4, drop=0.02),
        ),
        "pictures": (Picture(sample=3, output="logits", input=DOT, classes=(4, 9), label=4),),
        "notes": ("mind this",),
    }
    return report(**common | fields)


def tidied() -> Speed:
    """Of a file that tidying alone made faster than factoring did."""
    return Speed(
        ratio=2.64,
        low=2.6,
        high=2.7,
        original=timing(5.28),
        prepared=timing(2.08),
        result=timing(2.0),
        tidying=Ratio(ratio=2.54, low=2.5, high=2.6),
        factoring=Ratio(ratio=1.04, low=1.02, high=1.06),
    )


def planning(**fields: Any) -> Planning:
    """A front of three plans, each a file; the second is beaten by the third."""
    common: dict[str, Any] = {
        "sepfactor_version": "0",
        "model": "a[b].onnx",
        "options": {"seed": 0},
        "environment": ENVIRONMENT,
        "data": DATA,
        "budget": None,
        "front": (
            FrontPoint(label="same", speedup=1.3, interval=(1.25, 1.36), snr_db=60.0),
            FrontPoint(label="same", speedup=1.5, interval=(1.4, 1.6), snr_db=40.0),
            FrontPoint(label="same", speedup=2.4, snr_db=50.0),
        ),
        "plans": ("a.plan-1.json", "a.plan-2.json", "a.plan-3.json"),
    }
    return Planning(**common | fields)


FITTED: dict[str, Any] = {
    "milliseconds_after": 0.5,
    "macs_after": 100_000,
    "parameters_after": 400,
    "weight_error": 0.4,
    "output_error": 0.05,
    "unfitted_error": 0.3,
    "fitted_error": 0.06,
}


def inspection() -> Inspection:
    """Of a layer that can be factored and one that cannot."""
    one, two = Reason("a", "one"), Reason("b", "two")
    refusals = {"x": one, "y": two, "z": two}
    rows = (
        LayerInspection(
            name="a",
            output="y",
            weight_shape=(16, 3, 5, 5),
            share=0.25,
            ranks={"spatial-vertical": ((1,), (2,), (4,)), "trim": ((), (), ())},
            full_ranks={"spatial-vertical": (15,), "trim": ()},
        ),
        LayerInspection(name="b", output="z", weight_shape=(), refusals=refusals),
    )
    return Inspection(
        sepfactor_version="0",
        model="m",
        environment=ENVIRONMENT,
        data=DATA,
        energy_shares=(0.9, 0.99, 0.999),
        layers=rows,
        operators={"Conv": 3.0, "Add": 1.0},
        layouts=LayoutTimes(blocked=3.0, reorders=0.2, plain=0.8),
        rewrites=(RewriteRow(rule="prelu", does="something", times=3),),
    )


def bench() -> Bench:
    """Of two models."""
    same = Ratio(ratio=1.0, low=0.98, high=1.03)
    return Bench(
        sepfactor_version="0",
        environment=ENVIRONMENT.model_copy(update={"threads": 0}),
        data=DATA,
        rows=(
            BenchRow(model="a[b].onnx", timing=timing(2.0)),
            BenchRow(model="c.onnx", timing=timing(2.0), speedup=same),
        ),
    )


def rewritten() -> Tidied:
    """Of a network with a rule that is kept and one that is not."""
    faster = Ratio(ratio=1.5, low=1.4, high=1.6, clock="cpu")
    slower = Ratio(ratio=0.8, low=0.7, high=0.9, clock="cpu")
    reason = Reason("slower", "the network is slower with it")
    return Tidied(
        sepfactor_version="0",
        model="a[b].onnx",
        output="c.onnx",
        is_changed=True,
        environment=ENVIRONMENT,
        data=DATA,
        rules=(
            RewriteRow(rule="hard-swish", does="one", times=2, saves_ms=1.0, speedup=faster),
            RewriteRow(rule="prelu", does="two", times=1, reason=reason, saves_ms=-0.5, speedup=slower),
        ),
        outputs=(
            Equality(name="same", snr_db=math.inf, rounding_snr_db=math.inf, max_abs=0.0, max_ulps=0.0),
            Equality(name="y[0]", snr_db=117.0, rounding_snr_db=111.0, max_abs=1e-6, max_ulps=3.0),
        ),
        original=timing(3.0),
        result=timing(2.0),
        speedup=faster,
        seconds=4.0,
    )


def comparison() -> Comparison:
    """Of two classifiers."""
    return Comparison(
        sepfactor_version="0",
        reference="a[b].onnx",
        candidate="c.onnx",
        environment=ENVIRONMENT,
        data=DATA,
        accuracy=accuracy({"agreement": 0.975, "kl": 0.01, "top1": TOP, "errors": HISTOGRAM}),
    )
