"""Numbers as people read them, and the report in words."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.console import Console, RenderableType

from sepfactor.report.model import Bench, BenchRow, Inspection, Layer, LayerInspection, Report, Speed, Totals
from sepfactor.report.text import (
    bench_view,
    count,
    decibel,
    error,
    inspection_view,
    milliseconds,
    output_line,
    percent,
    report_view,
)

ENVIRONMENT = {"threads": 1, "onnxruntime": "1.0", "provider": "CPU", "processor": "[any] one"}
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
}


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
KEPT = layer(name="head.last", reason="put back: it measured no faster")


def report(**fields: Any) -> Report:
    common: dict[str, Any] = {
        "sepfactor_version": "0",
        "model": "a[b].onnx",
        "output": "[/c].onnx",
        "options": {},
        "environment": ENVIRONMENT,
        "data": {"judged_on": "x.npz: 40 samples", "synthetic": False},
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
        "accuracy": {"outputs": [OUTPUT]},
        "speed": None,
    }
    return Report(**common | fields)


def shown(view: RenderableType, width: int = 160) -> str:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, highlight=False).print(view)
    return file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (999_600, "1 M"),
        (1_234_567, "1.23 M"),
        (5e9, "5 G"),
    ],
)
def test_counts(value: float | None, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0745, "0.0745"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1234")]
)
def test_milliseconds(value: float | None, text: str) -> None:
    assert milliseconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0 %"), (1e-9, "1.0e-07 %"), (0.012345, "1.23 %"), (0.99994, "99.99 %")),
        *((0.99999, "100 %"), (1, "100 %"), (math.nan, "nan %")),
    ],
)
def test_percentages(value: float, text: str) -> None:
    assert percent(value) == text


def test_nothing_lost_is_called_lossless() -> None:
    assert error(1e-8, exact=True) == "lossless"
    assert error(0.05, exact=False) == "5.00 %"
    assert error(None, exact=False) == "–"


def test_decibels() -> None:
    assert decibel(None) == decibel(math.inf) == "∞ dB"
    assert decibel(31.44) == "31.4 dB"


class TestOutputs:
    def test_a_map(self) -> None:
        assert output_line(OUTPUT) == "off by 1.23 %, SNR 38.2 dB, PSNR 44.0 dB, cosine 0.99992"

    def test_class_scores(self) -> None:
        top1 = {"reference": {"value": 0.9}, "candidate": {"value": 0.875}, "drop": 0.025}
        line = output_line(OUTPUT | {"agreement": 0.975, "kl": 0.0031, "top1": top1})
        assert "same answer on 97.50 % of 40, KL 0.0031" in line
        assert "top-1 90.00 % → 87.50 % (drop 2.50 points)" in line
        assert "PSNR" not in line

    def test_equal(self) -> None:
        line = output_line(OUTPUT | {"relative_error": 0.0, "snr_db": None, "psnr_db": None, "cosine": 1.0})
        assert line == "off by 0 %, SNR ∞ dB, PSNR ∞ dB, cosine 1.00000"

    def test_no_longer_finite(self) -> None:
        assert "NOT FINITE in 7 values" in output_line(OUTPUT | {"relative_error": None, "nonfinite": 7})

    def test_of_another_shape(self) -> None:
        assert "shape differs" in output_line(OUTPUT | {"mismatched": 2})

    def test_against_the_truth(self) -> None:
        target = {"reference_psnr_db": 32.0, "candidate_psnr_db": 31.5}
        assert "against the target 32.0 dB → 31.5 dB" in output_line(OUTPUT | {"target": target})


class TestReport:
    @pytest.mark.parametrize("width", [80, 160])
    def test_replaced_come_before_kept_and_both_before_the_sum(self, width: int) -> None:
        text = shown(report_view(report()), width)
        places = [text.index(word) for word in ("body.first", "lossless", "head.last", "1 of 2 convolutions")]
        assert places == sorted(places)

    def test_what_is_in_it_at_full_width(self) -> None:
        text = shown(report_view(report()))
        for word in (
            *("3→16 5×5", "16×16", "separable-depthwise 1", "307 k → 30.7 k", "1.2 k → 120", "1.25 → 0.25"),
            *(
                "4.87×",
                "put back: it measured no faster",
                "a[b].onnx → [/c].onnx",
                "614 k → 338 k (1.82× fewer)",
            ),
            *("0.15 MB → 9.0 kB", "Output logits", "x.npz: 40 samples", "[any] one, 1 thread"),
        ):
            assert word in text

    def test_speed(self) -> None:
        run = {"median_ms": 2.0, "low_ms": 1.9, "high_ms": 2.1, "rounds": 30}
        speed = Speed(
            runs={"original": run, "prepared": run, "result": run},
            speedup={"low": 1.9, "verdict": "2.00× faster"},
            factorisation={"low": 1.4, "verdict": "1.50× faster"},
        )
        text = shown(report_view(report(speed=speed)))
        assert "2.00× faster; of that, factoring alone: 1.50× faster" in text
        assert "prepared 2.00 ms (1.90–2.10)" in text
        assert "30 interleaved runs" in text

    def test_notes_stand_out(self) -> None:
        assert "! mind this" in shown(report_view(report(notes=("mind this",))))

    def test_nothing_replaced(self) -> None:
        text = shown(report_view(report(layers=(KEPT,), accuracy=None, output=None)))
        assert "not written" in text
        assert "Replaced  " not in text.splitlines()[0]

    def test_a_layer_that_never_ran(self) -> None:
        bare = Layer(name="idle", output="z", weight_shape=(), reason="it did not run")
        assert "it did not run" in shown(report_view(report(layers=(bare,))))

    def test_infinities_are_null_in_json(self) -> None:
        text = report(accuracy={"outputs": [OUTPUT | {"snr_db": math.inf}]}).to_json()
        assert "Infinity" not in text
        assert '"snr_db": null' in text


def test_inspection() -> None:
    rows = (
        LayerInspection(
            name="a",
            output="y",
            weight_shape=(16, 3, 5, 5),
            share=0.25,
            ranks={"spatial-vertical": ((1,), (2,), (4,)), "trim": ((), (), ())},
            full_ranks={"spatial-vertical": (15,), "trim": ()},
        ),
        LayerInspection(name="b", output="z", weight_shape=(), refusals={"x": "one", "y": "two", "z": "two"}),
    )
    inspection = Inspection(
        sepfactor_version="0",
        model="m",
        environment=ENVIRONMENT,
        data={"description": "synthetic"},
        energy_shares=(0.9, 0.99, 0.999),
        layers=rows,
        operators={"Conv": 3.0, "Add": 1.0},
    )
    text = shown(inspection_view(inspection))
    for words in (
        "90 / 99 / 99.9 %",
        "1 / 2 / 4 of 15",
        "trim: exact",
        "25.0 %",
        "two",
        "Conv 75 %, Add 25 %",
    ):
        assert words in text
    assert "one\n" not in text.replace(" ", "").replace("[any]one", "")
    empty = inspection.model_copy(update={"operators": {}, "layers": rows[1:]})
    assert "two" in shown(inspection_view(empty))


def test_bench() -> None:
    timing = {"median_ms": 2.0, "low_ms": 1.9, "high_ms": 2.1, "rounds": 30.0}
    bench = Bench(
        sepfactor_version="0",
        environment=ENVIRONMENT | {"threads": 0},
        data={"description": "synthetic"},
        rows=(
            BenchRow(model="a[b].onnx", timing=timing),
            BenchRow(model="c.onnx", timing=timing, speedup={"verdict": "no measurable change (0.98–1.03)"}),
        ),
    )
    text = shown(bench_view(bench))
    for words in ("a[b].onnx", "baseline", "1.900–2.100", "no measurable change", "own number of threads"):
        assert words in text
