"""The report in one sentence."""

from __future__ import annotations

import pytest

from sepfactor.report.model import Speed
from sepfactor.report.verdict import measured, samples, speed_line, verdict
from tests.report.samples import DATA, KEPT, OUTPUT, TOP, report, rich_report


def of(**output: object) -> str:
    return verdict(rich_report(accuracy={"outputs": [OUTPUT | output]}))


def test_speed_and_accuracy() -> None:
    assert of(top1=TOP | {"p_value": 0.01}) == (
        "1.84× faster (95 % interval 1.81–1.88), top-1 90.0 → 87.5 % on 40 held-out samples"
    )


def test_what_may_be_chance_is_called_so() -> None:
    assert of(top1=TOP).endswith("on 40 held-out samples, a change that may be chance")
    assert "chance" not in of(top1=TOP | {"drop": 0.0})


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({"target": {"reference_psnr_db": 32.04, "candidate_psnr_db": 31.5}}, "32.0 dB → 31.5 dB"),
        ({"agreement": 0.975}, "same answer on 97.50 % on 40"),
        ({}, "output off by 1.23 % (SNR 38.2 dB)"),
        ({"relative_error": None, "nonfinite": 3}, "but output logits is NOT FINITE"),
        ({"mismatched": 1}, "another shape"),
    ],
)
def test_other_outputs(output: dict[str, object], words: str) -> None:
    assert words in of(**output)


def test_the_worst_output_speaks_for_all() -> None:
    outputs = [OUTPUT, OUTPUT | {"name": "boxes", "relative_error": 0.2, "snr_db": 14.0}]
    assert "20.00 %" in verdict(rich_report(accuracy={"outputs": outputs}))


def test_synthetic_images_claim_no_accuracy() -> None:
    said = verdict(rich_report(data=DATA | {"synthetic": True}))
    assert "on 40 synthetic images, so no accuracy is claimed" in said


def test_what_tidying_gained_is_told_apart() -> None:
    def speed(prepared: float, factored: str) -> Speed:
        runs = {"original": 6.0, "prepared": prepared, "result": 2.0}
        return Speed(
            runs={name: {"median_ms": ms} for name, ms in runs.items()},
            speedup={"verdict": "3.00× faster (95 % interval 2.9–3.1)"},
            factorisation={"verdict": factored},
        )

    both = speed(2.4, "1.20× faster (95 % interval 1.1–1.3)")
    assert speed_line(both) == (
        "3.00× faster (95 % interval 2.9–3.1): tidying the graph alone 2.50×, "
        "factoring alone 1.20× (95 % interval 1.1–1.3)"
    )
    assert verdict(rich_report(speed=both)).startswith(f"{speed_line(both)}; ")
    none = speed_line(speed(2.0, "no measurable change (0.98–1.03)"))
    assert none.endswith("alone 3.00×, factoring alone no measurable change (0.98–1.03)")
    slower = speed_line(speed(1.8, "1.10× slower (95 % interval 1.05–1.15)"))
    assert "factoring alone 1.10× slower" in slower


def test_not_timed() -> None:
    assert verdict(rich_report(speed=None)).startswith("1.82× fewer multiplications (not timed), ")


def test_nothing_replaced() -> None:
    none = report().totals.model_copy(update={"replaced": 0})
    assert verdict(report(layers=(KEPT,), totals=none)) == "Nothing of a[b].onnx was worth replacing"


def test_a_lower_case_verdict_starts_a_sentence() -> None:
    run = {"median_ms": 2.0, "low_ms": 1.9, "high_ms": 2.1, "rounds": 30}
    speed = Speed(
        runs={"original": run, "result": run}, speedup={"verdict": "no measurable change (0.98–1.03)"}
    )
    assert verdict(rich_report(speed=speed)).startswith("No measurable change (0.98–1.03), ")


def test_samples() -> None:
    assert samples(rich_report(data=DATA | {"preprocessing": {"scale": 1}})) == "40 held-out images"
    assert samples(rich_report(data=DATA | {"judged_on": DATA["description"], "samples": 1})) == "1 sample"


def test_how_it_was_measured() -> None:
    said = measured(rich_report())
    for word in ("onnxruntime 1.0", "[any] one", "1 thread", "x.npz: 40 samples", "80 samples", "Seed 7"):
        assert word in said
